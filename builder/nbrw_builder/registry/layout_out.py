"""What was pulled to its place: an OCI directory, a tar or a SIF, which appears whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbrw_builder.files import temporary_file
from nbrw_builder.image import PREDEFINED, blob_path
from nbrw_builder.image import index_bytes as index_of
from nbrw_builder.oci_layout import LAYOUT, is_layout, write_tar
from nbrw_builder.oci_signature import IMAGE_MARKS, KIND, marked
from nbrw_builder.partial_image import PARTIAL_FROM, PARTIAL_PLAIN, PARTIAL_SOURCE
from nbrw_builder.registry.descriptor import Manifest, is_image
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.referrers import Referrer
from nbrw_runtime.digest import Digest, canonical_json


def index_bytes(
    manifest: Manifest,
    reference: Reference,
    about: Sequence[Referrer] = (),
    start: int | None = None,
    plain_http: bool = False,
) -> bytes:
    """The ``index.json`` of a layout of this image; ``about``: what refers to it; ``start``: of
    what --from N needs of it.
    """
    notes = {"io.containerd.image.name": reference.name}
    entries = [marked(found.entry) for found in about]
    if reference.tag:
        notes[PREDEFINED + "ref.name"] = reference.tag
    elif entries:
        # skopeo, podman and Apptainer choose by it among several manifests.
        notes[PREDEFINED + "ref.name"] = manifest.digest.hex[:12]
    if any(found.kind == KIND for found in about):
        notes |= IMAGE_MARKS
    if start is not None:
        notes[PARTIAL_FROM] = str(start)
        if plain_http:
            notes[PARTIAL_PLAIN] = "true"
        notes[PARTIAL_SOURCE] = str(reference.at(manifest.digest))
    entry = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.data),
        "annotations": notes,
    }
    return index_of([entry, *entries])


def write_layout(
    out: Path,
    manifest: Manifest,
    about: Sequence[Referrer],
    index: bytes,
    files: Mapping[Digest, Path],
    work: Path,
) -> None:
    """Make, or bring up to date, the OCI directory ``out``; ``files`` are moved into it.

    Blobs first, index last; then blobs go that the image does not have. A new directory is made in
    ``work``, on the same file system, and appears whole. Raises OSError.
    """
    fresh = not is_layout(out)
    root = work / "layout" if fresh else out
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for digest, path in files.items():
        path.rename(root / blob_path(digest))
    manifests = [manifest, *(found.manifest for found in about)]
    for found in manifests:
        _replace(root / blob_path(found.digest), found.data)
    _replace(root / "oci-layout", LAYOUT)
    _replace(root / "index.json", index)
    if fresh:
        root.rename(out)
        return
    keep = {found.digest.hex for found in manifests}
    keep |= {blob.digest.hex for found in manifests for blob in found.blobs}
    for path in blobs.iterdir():
        if path.name not in keep:
            with contextlib.suppress(OSError):
                path.unlink()


def write_archive_of(
    out: Path,
    manifest: Manifest,
    index: bytes,
    files: Mapping[Digest, Path],
    reference: Reference,
) -> None:
    """A tar that is an OCI layout and, of an image, a `docker save` at once. Raises OSError."""
    last = {"index.json": index}
    if is_image(manifest):
        note = {
            "Config": blob_path(manifest.config.digest),
            "RepoTags": [reference.name] if reference.tag else None,
            "Layers": [blob_path(layer.digest) for layer in manifest.layers],
        }
        last["manifest.json"] = canonical_json([note])
    small = {"oci-layout": LAYOUT, blob_path(manifest.digest): manifest.data}
    write_tar(out, small, {blob_path(digest): path for digest, path in files.items()}, last)


def move_file(path: Path, out: Path, mode: int) -> None:
    """Have a file take the name ``out``. Raises OSError."""
    mask = os.umask(0o022)
    os.umask(mask)
    path.chmod(mode & ~mask)
    path.rename(out)


def remove(work: Path) -> None:
    """The directory of a pull that is done."""
    shutil.rmtree(work, ignore_errors=True)


def _replace(path: Path, data: bytes) -> None:
    with temporary_file(path) as stream:
        stream.write(data)
