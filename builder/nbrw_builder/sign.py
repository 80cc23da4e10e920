"""`nbrw sign`, and what `nbrw verify` and `nbrw run` say of signatures."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbrw_builder.docker_client import KIND
from nbrw_builder.errors import HostError, ProcessError
from nbrw_builder.foreground import run_foreground
from nbrw_builder.image_file import ImageFile, OciImage, SifImage, open_image
from nbrw_builder.oci_load import manifest_digest
from nbrw_builder.oci_signature import check_oci, sign_oci
from nbrw_builder.process import find_program, run
from nbrw_builder.sif_signature import SifFile, SifSignature, check_pem, sign_sif
from nbrw_builder.signature import (
    INVALID,
    UNCHECKED,
    VALID,
    Signature,
    SignatureError,
    statement,
)
from nbrw_builder.signing_keys import COSIGN_MARKS, PublicKey, private_key, public_key, read_key
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import FormatError, StorageError, UsageError


def signatures(
    image: ImageFile, keys: Sequence[PublicKey] = (), check: bool = True
) -> list[Signature]:
    """What is known of an image's signatures. Those with PEM keys are checked with ``keys``, PGP's
    by Apptainer with the caller's keyring; without ``check`` nothing is checked and little is read.

    Raises what reading the image raises.
    """
    if isinstance(image, OciImage):
        with image.blobs() as blobs:
            try:
                return check_oci(blobs, str(image.path), keys if check else ())
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError(f"read {image.path}: its index is malformed") from error
    if image.kind != "sif":
        return []
    with open(image.path, "rb") as stream:
        file = SifFile(stream, str(image.path))
        return [
            _check_pgp(image.path, file, found, check)
            if found.is_pgp
            else check_pem(file, found, keys, check)
            for found in file.signatures
        ]


def _check_pgp(path: Path, file: SifFile, found: SifSignature, check: bool) -> Signature:
    by = f"PGP {found.fingerprint}" if found.fingerprint else ""
    if not check:
        return Signature("PGP", UNCHECKED, by)
    wrong = file.disagreement(_clear_text(found.data), found.group)
    if wrong:
        return Signature("PGP", INVALID, by, wrong)
    program = next(filter(shutil.which, ("apptainer", "singularity")), None)
    if program is None:
        return Signature("PGP", UNCHECKED, by, "Apptainer, which checks it, is not installed")
    said = _apptainer_says(program, path)
    known = {str(key.get("Fingerprint", "")).upper(): key for key in said}
    key = known.get(found.fingerprint)
    if not found.fingerprint or key is None or not key.get("KeyCheck"):
        detail = f"`{program} verify` does not know its key; get it with `{program} key pull`"
        return Signature("PGP", UNCHECKED, by, detail)
    by = f"{key.get('Name', '')} {by}".strip()
    if not key.get("DataCheck"):
        return Signature("PGP", INVALID, by, f"`{program} verify` says so")
    return Signature("PGP", VALID, by)


def _apptainer_says(program: str, path: Path) -> list[dict[str, Any]]:
    """The signers in `apptainer verify --json`; none if it verifies nothing."""
    try:
        said = json.loads(run([program, "verify", "--local", "--json", str(path)], ok=(0, 255)))
        return [found["Signer"] for found in said.get("SignerKeys") or []]
    except (ProcessError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _clear_text(data: bytes) -> bytes:
    """What a clear-signed message says (RFC 4880, section 7)."""
    body = data.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return re.sub(rb"^- ", b"", body, flags=re.MULTILINE)


def require(image: ImageFile, paths: Sequence[Path]) -> list[Signature]:
    """All signatures; one must be valid by one of these keys, and none invalid.

    Raises SignatureError, which says what is there instead; UsageError, HostError.
    """
    found = signatures(image, [public_key(path) for path in paths])
    bad = [item for item in found if item.state == INVALID]
    named = [item for item in found if item.state == VALID and item.kind != "PGP"]
    if bad or not named:
        raise SignatureError(
            f"check the signature of {image.path}: {statement(found)}; get the image and the key "
            "again from who made it"
        )
    return found


def run_identity(image: ImageFile) -> str:
    """The digest of what signatures are of: what is unpacked of an image with this digest, and was
    checked against the image, is what was signed. Raises what reading the image raises.
    """
    if isinstance(image, SifImage):
        return str(digest_bytes(image.summary_bytes()))
    if isinstance(image, OciImage):
        with image.blobs() as blobs:
            return str(manifest_digest(blobs, str(image.path)))
    return ""


def sign_image(path: str | Path, key: Path | None = None) -> None:
    """Sign an image: a SIF with a PEM key, or with the caller's PGP key by Apptainer; an OCI
    directory in cosign's format, with a PEM key or cosign's own.

    Raises UsageError, HostError, BuildError, FormatError, StorageError.
    """
    image = open_image(path)
    if image.kind == KIND:
        raise UsageError(f"sign {path}: a Docker Engine keeps no signatures; sign an OCI directory")
    if image.kind == "oci-tar":
        raise UsageError(
            f"sign {path}: a tar is not signed; make it an OCI directory "
            f"(`skopeo copy oci-archive:{path} oci:DIRECTORY:latest`) and sign that"
        )
    if key is None:
        if image.kind != "sif":
            raise UsageError(f"sign {path}: name a private key with --key")
        _sign_by_apptainer(image.path)
        return
    if any(mark in read_key(key, "sign with") for mark in COSIGN_MARKS):
        if image.kind == "sif":
            raise UsageError(f"sign {path}: {key} is of cosign's own form; a SIF wants a PEM key")
        with _storage_errors(path):
            sign_oci(image.path, lambda payload: _by_cosign(key, payload))
        return
    signer = private_key(key)
    with _storage_errors(path):
        if image.kind == "sif":
            sign_sif(image.path, signer)
        else:
            sign_oci(image.path, signer.sign)


def _sign_by_apptainer(path: Path) -> None:
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None:
        raise HostError(
            f"sign {path}: PGP keys are Apptainer's affair, which is not installed; give a PEM key "
            "with --key (`openssl genpkey -algorithm ed25519 -out key.pem`)"
        )
    status = run_foreground([program, "sign", str(path)])
    if status:
        raise HostError(
            f"sign {path}: `{program} sign` ended with {status}; `{program} key newpair` "
            "makes a key"
        )


def _by_cosign(key: Path, payload: bytes) -> bytes:
    """A signature by the program cosign; it asks for the password, or reads $COSIGN_PASSWORD."""
    find_program("cosign")
    with tempfile.TemporaryDirectory(prefix="nbrw-cosign-") as scratch:
        message, out = Path(scratch, "payload"), Path(scratch, "signature")
        message.write_bytes(payload)
        argv = ["cosign", "sign-blob", "--yes", "--key", str(key), "--tlog-upload=false"]
        # Its newer form of signatures has no place for a payload that others read.
        argv += ["--use-signing-config=false", "--new-bundle-format=false"]
        status = run_foreground([*argv, "--output-signature", str(out), str(message)])
        if status or not out.is_file():
            raise HostError(
                f"sign with {key}: cosign ended with {status}; a PEM key needs no cosign "
                "(`openssl genpkey -algorithm ed25519 -out key.pem`)"
            )
        return base64.b64decode(out.read_bytes())


@contextlib.contextmanager
def _storage_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"sign {path}: {error.strerror or error}; it must be a place that you may write to"
        ) from error
