"""What container engines need to take an OCI image: its identity, and a tar that they load."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbrw_builder.image import PREDEFINED
from nbrw_builder.oci_read import Blobs, DirectoryBlobs, TarBlobs, image_entry
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError, IntegrityError, NotFoundError

_CHUNK = 1 << 20


def config_digest(path: Path, kind: str) -> Digest:
    """The digest of the image's configuration: its id in the stores of Docker and podman.

    Raises FormatError, NotFoundError or IntegrityError.
    """
    if kind == "oci-dir":
        return Digest(_manifest(DirectoryBlobs(path), str(path))["config"]["digest"])
    with tarfile.open(path) as tar:
        return Digest(_manifest(TarBlobs(tar, str(path)), str(path))["config"]["digest"])


def manifest_digest(blobs: Blobs, where: str) -> Digest:
    """The digest that a layout says the manifest of its image has. Raises as above."""
    try:
        entry = image_entry(_read(blobs, "index.json"))
        return Digest(entry["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"read {where}: not an OCI image that nbrw reads: {error!r}") from error


def transport_name(path: Path) -> str:
    """The layout as skopeo, podman and Apptainer name it after ``oci:``.

    Where its index has more than the image they want to be told its tag. What is wrong with a
    layout is theirs to say.
    """
    where = str(path)
    try:
        index = _read(DirectoryBlobs(path), "index.json")
        if len(index["manifests"]) > 1:
            return f"{where}:{image_entry(index)['annotations'][PREDEFINED + 'ref.name']}"
    except (NotFoundError, ValueError, KeyError, TypeError):
        pass
    return where


def docker_archive(path: Path, kind: str) -> Iterator[bytes]:
    """The bytes of a tar that `docker load` takes.

    A tar of ours is one already. A layout directory becomes one on the way: Docker wants a
    ``manifest.json`` that points to the blobs.
    """
    if kind == "oci-tar":
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
        return
    manifest = _manifest(DirectoryBlobs(path), str(path))
    layers = [_blob(layer["digest"]) for layer in manifest["layers"]]
    config = _blob(manifest["config"]["digest"])
    data = json.dumps([{"Config": config, "RepoTags": None, "Layers": layers}]).encode()
    yield _header("manifest.json", len(data)) + data + _padding(len(data))
    # Each once: a tar with two members of one name is refused.
    for name in dict.fromkeys([config, *layers]):
        yield from _member(path / name, name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(path: Path, name: str) -> Iterator[bytes]:
    size = path.stat().st_size
    yield _header(name, size)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
    yield _padding(size)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT if size < 1 << 33 else tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _blob(digest: str) -> str:
    return "blobs/sha256/" + Digest(digest).hex


def _manifest(blobs: Blobs, where: str) -> Any:
    try:
        value = _read(blobs, "index.json")
        while "manifests" in value:
            digest = Digest(image_entry(value)["digest"])
            value = _read(blobs, _blob(str(digest)), digest)
        value["config"]["digest"], value["layers"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(f"read {where}: not an OCI image that nbrw reads: {error!r}") from error
    return value


def _read(blobs: Blobs, name: str, digest: Digest | None = None) -> Any:
    with blobs.file(name) as stream:
        data = stream.read()
    if digest and digest_bytes(data) != digest:
        raise IntegrityError(name, str(digest), str(digest_bytes(data)), "the image")
    return json.load(io.BytesIO(data))
