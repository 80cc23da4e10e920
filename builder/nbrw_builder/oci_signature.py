"""Signatures of OCI images as cosign makes them with keys: simple signing payloads, by a referrer.

Source: sigstore/cosign, specs/SIGNATURE_SPEC.md; pkg/oci/layout (annotation ``kind``).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nbrw_builder.files import temporary_file
from nbrw_builder.image import blob_path
from nbrw_builder.oci_read import Blobs, DirectoryBlobs, image_entry, is_referrer, read_small
from nbrw_builder.oci_referrers import Artifact, ArtifactBlob, files_of, referrers
from nbrw_builder.signature import INVALID, UNCHECKED, VALID, Signature, no_key
from nbrw_builder.signing_keys import PublicKey
from nbrw_runtime.digest import Digest, canonical_json

KIND = "application/vnd.dev.cosign.artifact.sig.v1+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_MARKS = {"kind": "dev.cosignproject.cosign/sigs"}
#: Annotations of a signed image in the index of a layout.
IMAGE_MARKS = {"kind": "dev.cosignproject.cosign/image"}

#: Signs a payload; the signature's bytes.
Signer = Callable[[bytes], bytes]


def check_oci(blobs: Blobs, where: str, keys: Sequence[PublicKey]) -> list[Signature]:
    """What is known of the signatures in a layout. Raises what reading it raises."""
    index = json.loads(read_small(blobs, "index.json"))
    subject = str(image_entry(index)["digest"])
    # That the manifest has this digest is read, not believed.
    read_small(blobs, Digest(subject), where)
    artifacts = referrers(blobs, where)
    found = [_checked(blob, subject, keys) for blob in _signatures(artifacts)]
    for artifact in artifacts:
        if artifact.kind.startswith(_BUNDLE):
            found.append(Signature("cosign", UNCHECKED, detail="a bundle: use `cosign verify`"))
    return found


def _signatures(artifacts: Sequence[Artifact]) -> list[ArtifactBlob]:
    """Each once: a registry still has the manifest of before one was added."""
    found = {
        (blob.data, blob.annotations.get(_SIGNATURE)): blob
        for artifact in artifacts
        if artifact.kind == KIND
        for blob in artifact.blobs
    }
    return list(found.values())


def _checked(blob: ArtifactBlob, subject: str, keys: Sequence[PublicKey]) -> Signature:
    try:
        signature = base64.b64decode(blob.annotations[_SIGNATURE], validate=True)
    except (KeyError, ValueError):
        return Signature("cosign", UNCHECKED, detail="it is of a form that nbrw does not know")
    if _subject(blob.data) != subject:
        return Signature("cosign", INVALID, detail="it is of another image")
    for key in keys:
        if key.valid(signature, blob.data):
            return Signature("cosign", VALID, key.words)
    return Signature("cosign", UNCHECKED, detail=no_key(keys))


def _subject(payload: bytes) -> str:
    """The digest of the image that a payload is about; empty if it is none."""
    try:
        critical = json.loads(payload)["critical"]
        return str(critical["image"]["docker-manifest-digest"]) if critical["type"] == _TYPE else ""
    except (ValueError, KeyError, TypeError):
        return ""


def sign_oci(root: Path, sign: Signer) -> None:
    """Add a signature to an OCI directory; the image's own bytes stay as they are.

    The index is written last. `cosign verify --local-image` finds it, as the index has the marks
    that `cosign save` makes. Raises what reading raises, OSError.
    """
    blobs = DirectoryBlobs(root)
    index = json.loads(read_small(blobs, "index.json"))
    subject = image_entry(index)
    payload = canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": _name(subject)},
                "image": {"docker-manifest-digest": subject["digest"]},
                "type": _TYPE,
            },
            "optional": None,
        }
    )
    text = base64.b64encode(sign(payload)).decode()
    made = ArtifactBlob(_PAYLOAD, payload, {_SIGNATURE: text})
    artifacts = referrers(blobs, str(root))
    # cosign looks at one manifest, which has all signatures.
    signatures = Artifact(KIND, (*_signatures(artifacts), made), _MARKS)
    old = [entry for entry in index["manifests"] if entry.get("artifactType") == KIND]
    others = [entry for entry in index["manifests"] if is_referrer(entry) and entry not in old]
    marked = {**subject, "annotations": {**subject.get("annotations", {}), **IMAGE_MARKS}}
    for name, data in files_of([signatures], subject).items():
        if not (root / name).is_file():
            with temporary_file(root / name) as stream:
                stream.write(data)
    entries = [marked, *others, signatures.entry(subject)]
    with temporary_file(root / "index.json") as stream:
        stream.write(canonical_json({**index, "manifests": entries}))
    for entry in old:
        os.unlink(root / blob_path(Digest(entry["digest"])))


def marked(entry: dict[str, Any]) -> dict[str, Any]:
    """A referrer's descriptor, with the marks by which cosign finds signatures in a layout."""
    if entry["artifactType"] != KIND:
        return entry
    return {**entry, "annotations": {**entry.get("annotations", {}), **_MARKS}}


def _name(subject: dict[str, Any]) -> str:
    name = str(subject.get("annotations", {}).get("io.containerd.image.name", ""))
    return name.rpartition(":")[0] or name
