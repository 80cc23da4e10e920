"""What refers to an image in an OCI layout: artifacts with a ``subject``, named by its index.

Source: OCI image-spec 1.1, "Image Manifest" (artifacts, subject), "Image Index".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrw_builder.image import MANIFEST_TYPE, blob_path, descriptor
from nbrw_builder.oci_read import Blobs, image_entry, is_referrer, read_small
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes
from nbrw_runtime.errors import FormatError, NbrwError

EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class ArtifactBlob:
    """One part of an artifact."""

    media_type: str
    data: bytes
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """What is said of an image. ``marks`` are annotations of its descriptor in the index.

    ``own`` is the manifest of one that was there already, and stays to the byte; ``config`` the
    bytes of its configuration.
    """

    kind: str
    blobs: tuple[ArtifactBlob, ...]
    marks: dict[str, str] = field(default_factory=dict)
    own: bytes = b""
    config: bytes = EMPTY

    def manifest(self, subject: dict[str, Any]) -> bytes:
        """Its manifest; ``subject`` is the descriptor of the image."""
        if self.own:
            return self.own
        kept = {name: subject[name] for name in ("mediaType", "digest", "size")}
        layers = []
        for blob in self.blobs:
            layer = descriptor(blob.media_type, digest_bytes(blob.data), len(blob.data))
            layers.append(layer | ({"annotations": blob.annotations} if blob.annotations else {}))
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": self.kind,
                "config": descriptor(_EMPTY_TYPE, digest_bytes(EMPTY), len(EMPTY)),
                "layers": layers,
                "subject": kept,
            }
        )

    def entry(self, subject: dict[str, Any]) -> dict[str, Any]:
        """Its descriptor in the index."""
        data = self.manifest(subject)
        found = descriptor(MANIFEST_TYPE, digest_bytes(data), len(data))
        found["artifactType"] = self.kind
        return found | ({"annotations": self.marks} if self.marks else {})


def files_of(artifacts: Iterable[Artifact], subject: dict[str, Any]) -> dict[str, bytes]:
    """The blobs of a layout that artifacts need, by name."""
    found = {}
    for artifact in artifacts:
        parts = (blob.data for blob in artifact.blobs)
        for data in (artifact.config, artifact.manifest(subject), *parts):
            found[blob_path(digest_bytes(data))] = data
    return found


def referrers(blobs: Blobs, where: str) -> tuple[Artifact, ...]:
    """The artifacts whose subject is the image in a layout.

    Raises FormatError, NotFoundError, and IntegrityError for a blob without its digest.
    """
    try:
        index = json.loads(read_small(blobs, "index.json"))
        subject = image_entry(index)["digest"]
        found = []
        for entry in filter(is_referrer, index["manifests"]):
            own = read_small(blobs, Digest(entry["digest"]), where)
            manifest = json.loads(own)
            if manifest.get("subject", {}).get("digest") == subject:
                parts = tuple(_blob(blobs, layer, where) for layer in manifest["layers"])
                marks = dict(entry.get("annotations", {}))
                config = read_small(blobs, Digest(manifest["config"]["digest"]), where)
                found.append(Artifact(str(entry["artifactType"]), parts, marks, own, config))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: what refers to its image is malformed") from error
    return tuple(found)


def _blob(blobs: Blobs, layer: dict[str, Any], where: str) -> ArtifactBlob:
    data = read_small(blobs, Digest(layer["digest"]), where)
    return ArtifactBlob(str(layer["mediaType"]), data, dict(layer.get("annotations", {})))


def kept(
    blobs: Blobs, manifest: Digest, without: Sequence[str]
) -> tuple[tuple[Artifact, ...], dict[str, str]]:
    """What a layout that is written again keeps: artifacts of the very same image, but for those of
    the kinds ``without``, and the annotations of its descriptor. A layout that cannot be read has
    none.
    """
    try:
        entry = image_entry(json.loads(read_small(blobs, "index.json")))
        if entry["digest"] != str(manifest):
            return (), {}
        found = tuple(found for found in referrers(blobs, "") if found.kind not in without)
        return found, dict(entry.get("annotations", {}))
    except (NbrwError, ValueError, KeyError, TypeError, AttributeError):
        return (), {}
