"""Reading an OCI layout from a directory or a tar, each blob checked against its digest."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import zstandard

from nbrw_builder.image import INDEX_TYPE, OWN, blob_path
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError, IntegrityError, NotFoundError

_SMALL = 64 << 20


@dataclass(frozen=True)
class LayerRef:
    """A layer as the manifest names it; ``size`` is that of the compressed blob in bytes."""

    digest: Digest
    size: int
    media_type: str
    name: str = ""


@dataclass(frozen=True)
class OciDocuments:
    """What manifest and configuration say: layers and diff_ids, lowest first."""

    layers: tuple[LayerRef, ...]
    diff_ids: tuple[Digest, ...]

    def without(self, left: Callable[[LayerRef], bool]) -> OciDocuments:
        """The same but for these layers."""
        kept = [pair for pair in zip(self.layers, self.diff_ids, strict=True) if not left(pair[0])]
        return OciDocuments(tuple(pair[0] for pair in kept), tuple(pair[1] for pair in kept))


class Blobs(Protocol):
    """The files of an OCI layout. Reading raises NotFoundError if one is missing."""

    def file(self, name: str) -> IO[bytes]: ...

    def layer(self, layer: LayerRef) -> Any:
        """A context manager: the layer's tar, decompressed while reading."""
        ...


class DirectoryBlobs:
    """A layout that is a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def file(self, name: str) -> IO[bytes]:
        """Open a file of the layout."""
        try:
            return open(self._root / name, "rb")
        except FileNotFoundError:
            raise NotFoundError(f"read {self._root}: {name} is missing; get it again") from None

    @contextmanager
    def layer(self, layer: LayerRef) -> Iterator[tarfile.TarFile]:
        """See :class:`Blobs`."""
        with self.file(blob_path(layer.digest)) as raw, _tar(raw, layer) as tar:
            yield tar


class TarBlobs:
    """A layout in a tar."""

    def __init__(self, tar: tarfile.TarFile, where: str) -> None:
        self._tar = tar
        self._where = where

    def file(self, name: str) -> IO[bytes]:
        """Open a file of the layout."""
        try:
            found = self._tar.extractfile(name)
        except KeyError:
            found = None
        except tarfile.TarError as error:
            raise FormatError(f"read {self._where}: not a sound tar: {error}") from error
        if found is None:
            raise NotFoundError(f"read {self._where}: {name} is missing; get it again")
        return found

    @contextmanager
    def layer(self, layer: LayerRef) -> Iterator[tarfile.TarFile]:
        """See :class:`Blobs`."""
        with self.file(blob_path(layer.digest)) as raw, _tar(raw, layer) as tar:
            yield tar


@contextmanager
def _tar(raw: IO[bytes], layer: LayerRef) -> Iterator[tarfile.TarFile]:
    with decompressed(raw, layer) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        yield tar


@contextmanager
def decompressed(raw: IO[bytes], layer: LayerRef) -> Iterator[IO[bytes]]:
    """The bytes of a layer's tar."""
    if layer.media_type.endswith("gzip"):
        with gzip.open(raw) as stream:
            yield stream  # type: ignore[misc]
    elif layer.media_type.endswith("zstd"):
        with zstandard.ZstdDecompressor().stream_reader(raw) as reader:
            yield reader  # type: ignore[misc]
    else:
        yield raw


def read_documents(blobs: Blobs, where: str) -> OciDocuments:
    """Index, manifest and configuration of the one image in a layout.

    Raises FormatError, NotFoundError, and IntegrityError for a document without its digest.
    """
    try:
        layout = json.loads(read_small(blobs, "oci-layout"))["imageLayoutVersion"]
        if layout != "1.0.0":
            raise FormatError(
                f"read {where}: OCI layout version {layout}, this nbrw reads 1.0.0; use a newer"
            )
        index = json.loads(read_small(blobs, "index.json"))
        while True:
            entry = image_entry(index)
            document = _document(blobs, entry, where)
            if entry["mediaType"] != INDEX_TYPE:
                break
            index = document
        config = _document(blobs, document["config"], where)
        layers = tuple(
            LayerRef(
                Digest(layer["digest"]),
                int(layer["size"]),
                str(layer["mediaType"]),
                layer.get("annotations", {}).get(OWN + "layer.name", ""),
            )
            for layer in document["layers"]
        )
        diff_ids = tuple(Digest(text) for text in config["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: not an OCI image that nbrw reads: {error!r}") from error
    if len(layers) != len(diff_ids):
        raise FormatError(f"read {where}: manifest and configuration name other layers")
    return OciDocuments(layers, diff_ids)


def image_entry(index: dict[str, Any]) -> dict[str, Any]:
    """The descriptor of the one image that an index names, beside what refers to it (signatures,
    bills of materials). Raises ValueError if it is not one.
    """
    found = [entry for entry in index["manifests"] if not is_referrer(entry)]
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} images, not one")
    return dict(found[0])


def is_referrer(entry: dict[str, Any]) -> bool:
    """Whether a descriptor in an index is that of an artifact, and not of an image."""
    return "artifactType" in entry


def read_small(blobs: Blobs, name: str | Digest, where: str = "") -> bytes:
    """A small file of a layout; a blob is checked. Raises NotFoundError, IntegrityError."""
    digest = name if isinstance(name, Digest) else None
    with blobs.file(str(name) if digest is None else blob_path(digest)) as stream:
        data = stream.read(_SMALL)
    if digest is not None and digest_bytes(data) != digest:
        raise IntegrityError("a document", str(digest), str(digest_bytes(data)), where)
    return data


def _document(blobs: Blobs, entry: dict[str, Any], where: str) -> dict[str, Any]:
    return dict(json.loads(read_small(blobs, Digest(entry["digest"]), where)))
