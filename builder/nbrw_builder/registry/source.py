"""What is pushed: the manifest and blobs of an OCI directory or tar and of what refers to it, or a
SIF as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nbrw_builder.image import INDEX_TYPE, blob_path
from nbrw_builder.image_file import ImageFile
from nbrw_builder.oci_read import Blobs, DirectoryBlobs, TarBlobs, image_entry
from nbrw_builder.partial_image import read_partial
from nbrw_builder.registry.descriptor import (
    EMPTY,
    Blob,
    Manifest,
    each_once,
    read_manifest,
    sif_manifest,
)
from nbrw_builder.registry.referrers import Referrer, referrers_of_layout
from nbrw_runtime.digest import Digest, digest_bytes, digest_file
from nbrw_runtime.errors import FormatError, IntegrityError, StorageError, UsageError

_SMALL = 64 << 20


@dataclass(frozen=True)
class Place:
    """Where a blob's bytes are: ``size`` bytes of a file from ``offset`` on, or ``data``."""

    path: Path
    offset: int
    size: int
    data: bytes | None = None


class Reader:
    """Reads a place from any position; closes by :meth:`close`. Raises StorageError."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._descriptor = -1
        if place.data is None:
            with _readable(place.path):
                self._descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, position: int, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        size = min(size, self._place.size - position)
        if size <= 0:
            return b""
        if self._place.data is not None:
            return self._place.data[position : position + size]
        with _readable(self._place.path):
            return os.pread(self._descriptor, size, self._place.offset + position)

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"read {path}: {error.strerror}; get the image again") from error


@dataclass(frozen=True)
class Source:
    """An image to push: its manifest, what refers to it, and where the blobs of all are."""

    path: Path
    manifest: Manifest
    places: Mapping[Digest, Place]
    referrers: tuple[Referrer, ...] = ()

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Each once, the image's first."""
        return each_once(self.manifest.blobs, *(found.blobs for found in self.referrers))


@contextlib.contextmanager
def layout_source(image: ImageFile) -> Iterator[Source]:
    """An OCI directory or tar. Raises FormatError, NotFoundError, IntegrityError."""
    partial = read_partial(image.path) if image.kind == "oci-partial" else None
    if partial is not None:
        raise UsageError(
            f"push {image.path}: layers of it were left behind; `{partial.command}` brings them"
        )
    if image.kind == "oci-dir":
        blobs = DirectoryBlobs(image.path)

        def in_directory(blob: Blob) -> Place:
            path = image.path / blob_path(blob.digest)
            with blobs.file(blob_path(blob.digest)) as stream:
                size = os.fstat(stream.fileno()).st_size
            return _place(path, 0, size, blob.size, blob.digest)

        yield _source(image.path, blobs, in_directory)
        return
    try:
        opened = tarfile.open(image.path)  # noqa: SIM115 (closed below)
    except tarfile.TarError as error:
        raise FormatError(f"read {image.path}: not a sound tar: {error}; get it again") from error
    with opened as tar:
        members = TarBlobs(tar, str(image.path))

        def in_tar(blob: Blob) -> Place:
            members.file(blob_path(blob.digest)).close()  # says what is missing
            member = tar.getmember(blob_path(blob.digest))
            return _place(image.path, member.offset_data, member.size, blob.size, blob.digest)

        yield _source(image.path, members, in_tar)


def _source(path: Path, blobs: Blobs, place: Callable[[Blob], Place]) -> Source:
    manifest, referrers = layout_manifests(blobs, str(path))
    found = Source(path, manifest, {}, referrers)
    return replace(found, places={blob.digest: place(blob) for blob in found.blobs})


def _place(path: Path, offset: int, size: int, wanted: int, digest: Digest) -> Place:
    if size != wanted:
        raise FormatError(
            f"read {path}: blob {digest} has {size} bytes, not {wanted}; get it again"
        )
    return Place(path, offset, size)


def layout_manifests(blobs: Blobs, where: str) -> tuple[Manifest, tuple[Referrer, ...]]:
    """The manifest of the one image in a layout, and those of what refers to it."""
    try:
        top = index = json.loads(_read(blobs, "index.json"))
        while True:
            entry = image_entry(index)
            digest = Digest(entry["digest"])
            data = _read(blobs, blob_path(digest))
            if digest_bytes(data) != digest:
                raise IntegrityError("the manifest", str(digest), str(digest_bytes(data)), where)
            if entry.get("mediaType") != INDEX_TYPE:
                manifest = read_manifest(data, where, str(entry.get("mediaType", "")))
                return manifest, referrers_of_layout(blobs, top, digest, where)
            index = json.loads(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: not an OCI image that nbrw reads: {error!r}") from error


def _read(blobs: Blobs, name: str) -> bytes:
    with blobs.file(name) as stream:
        return stream.read(_SMALL)


def sif_source(path: Path) -> Source:
    """A SIF as the one layer of an artifact. Its digest is found out first."""
    with _readable(path):
        digest, size = digest_file(path)
    manifest = sif_manifest(digest, size, path.name)
    config = Place(path, 0, len(EMPTY), EMPTY)
    return Source(path, manifest, {manifest.config.digest: config, digest: Place(path, 0, size)})


def hash_part(reader: Reader, end: int) -> hashlib._Hash:
    """The hasher of the first ``end`` bytes, to go on with."""
    hasher = hashlib.sha256()
    position = 0
    while position < end and (data := reader.read(position, min(1 << 20, end - position))):
        hasher.update(data)
        position += len(data)
    return hasher
