"""Images as OCI layout directories and as one tar that Docker reads too.

Source: OCI image-spec v1.1, "Image Layout Specification".
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nbrw_builder.cache import prune, read_note, remember, remembered
from nbrw_builder.compress import GZIP_LEVEL, ZSTD_LEVEL, compressor
from nbrw_builder.files import copy_into, temporary_directory, temporary_file
from nbrw_builder.image import PREDEFINED, Image, LayerBlob, blob_path, index_bytes
from nbrw_builder.layer import HashingWriter, Layer, tar_header
from nbrw_builder.oci_read import DirectoryBlobs
from nbrw_builder.oci_referrers import Artifact, ArtifactBlob, files_of, kept
from nbrw_builder.sbom import FORMATS
from nbrw_builder.sbom_layer import sboms_of
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes, digest_file
from nbrw_runtime.errors import UsageError

LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
_LEVELS = {"gzip": GZIP_LEVEL, "zstd": ZSTD_LEVEL, "none": 0}
_KEEP_BYTES = 20 << 30
_KEEP_FILES = 400
_TITLE = PREDEFINED + "title"
_BLOBS = Path("blobs") / "sha256"


@dataclass(frozen=True)
class BlobCache:
    """Compressed layers below ``root``, so that no layer is compressed twice.

    ``root/compressed`` says which blob a diff_id became, ``root/blobs`` holds the blobs.
    """

    root: Path
    compression: str = "gzip"
    level: int | None = None

    def known(self, layer: Layer) -> LayerBlob | None:
        """The blob that this layer became in an earlier build; its bytes may be gone."""
        value = read_note(self._note(layer))
        try:
            return LayerBlob(layer, Digest(value["digest"]), value["size"], self.compression)
        except (KeyError, TypeError, ValueError):
            return None

    def path(self, digest: Digest) -> Path:
        """Where the blob is kept."""
        return self.root / "blobs" / digest.hex

    def make(self, layer: Layer) -> LayerBlob:
        """The layer's blob, compressed now unless the cache has it unspoilt."""
        note = self._note(layer)
        blob = self.known(layer)
        if blob and remembered(self.path(blob.digest), note) == blob.digest:
            remember(self.path(blob.digest), note, blob.digest)
            return blob
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        fresh = self.root / "blobs" / f"{layer.diff_id.hex}.{self.compression}"
        with temporary_file(fresh) as stream:
            sink = HashingWriter(stream)
            packed = compressor(self.compression, sink, self.level)
            layer.write_tar(packed)
            packed.finish()
        blob = LayerBlob(layer, sink.digest, sink.size, self.compression)
        fresh.rename(self.path(blob.digest))
        remember(self.path(blob.digest), note, blob.digest)
        return blob

    def prune(self) -> None:
        """Keep the blobs used last, within the limits of the cache."""
        prune(self.root / "blobs", _KEEP_BYTES, _KEEP_FILES)

    def _note(self, layer: Layer) -> Path:
        level = _LEVELS.get(self.compression, 0) if self.level is None else self.level
        name = f"{layer.diff_id.hex}.{self.compression}-{level}.json"
        return self.root / "compressed" / name


def has_blob(path: Path, digest: Digest, size: int) -> bool:
    """Whether a file has these very bytes."""
    try:
        return path.stat().st_size == size and digest_file(path)[0] == digest
    except OSError:
        return False


def is_layout(path: Path) -> bool:
    """Whether a directory looks like an OCI layout."""
    return (path / "oci-layout").is_file() and (path / "index.json").is_file()


def write_directory(
    image: Image, out: Path, blobs: BlobCache, progress: Callable[[str], None]
) -> Digest:
    """Write an OCI layout to the directory ``out``; returns the manifest's digest.

    An image that is there already stays readable until the new one is complete: blobs first,
    index last, then what no index names any more is removed. Blobs it already has are not written
    again. A new directory appears whole. Raises UsageError if ``out`` holds something else.
    """
    if out.is_dir() and any(out.iterdir()):
        if not is_layout(out):
            raise UsageError(
                f"write {out}: the directory is not empty and no OCI image; name another"
            )
        return _fill(image, out, blobs, progress)
    if out.is_dir():
        out.rmdir()
    with temporary_directory(out) as fresh:
        return _fill(image, fresh, blobs, progress)


def _fill(image: Image, root: Path, blobs: BlobCache, progress: Callable[[str], None]) -> Digest:
    (root / _BLOBS).mkdir(parents=True, exist_ok=True)
    packed = []
    for layer in image.layers:
        blob = blobs.known(layer)
        if blob is None or not has_blob(root / blob_path(blob.digest), blob.digest, blob.size):
            progress(f"compress {layer.name}")
            blob = blobs.make(layer)
            with temporary_file(root / blob_path(blob.digest)) as stream:
                copy_into(blobs.path(blob.digest), stream)
        packed.append(blob)
    documents = _documents(image, packed)
    manifest = documents[1]
    keep = {blob.digest.hex for blob in packed}
    ours = [known.media_type for known in FORMATS.values()]
    others, marks = kept(DirectoryBlobs(root), digest_bytes(manifest), ours)
    artifacts = [*_artifacts(image), *others]
    subject = image.index_entry(manifest, marks)
    small = {blob_path(digest_bytes(document)): document for document in documents}
    small |= files_of(artifacts, subject)
    for name, data in small.items():
        keep.add(Path(name).name)
        _replace(root / name, data)
    _replace(root / "oci-layout", LAYOUT)
    entries = [subject, *(artifact.entry(subject) for artifact in artifacts)]
    _replace(root / "index.json", index_bytes(entries))
    for path in (root / _BLOBS).iterdir():
        if path.name not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
    return digest_bytes(manifest)


def _artifacts(image: Image) -> list[Artifact]:
    """Bills of materials that the image has in it."""
    return [
        Artifact(
            found.format.media_type,
            (ArtifactBlob(found.format.media_type, found.data, {_TITLE: found.name}),),
        )
        for found in sboms_of(image)
    ]


def _documents(image: Image, packed: Sequence[LayerBlob]) -> tuple[bytes, bytes]:
    return image.config_bytes(), image.manifest_bytes(packed)


def _replace(path: Path, data: bytes) -> None:
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    with temporary_file(path) as stream:
        stream.write(data)


def write_archive(
    image: Image, out: Path, blobs: BlobCache, progress: Callable[[str], None]
) -> Digest:
    """Write one tar that is an OCI layout and a `docker save` at once; the manifest's digest.

    The file appears whole, or the old one stays.
    """
    packed = []
    for layer in image.layers:
        progress(f"compress {layer.name}")
        packed.append(blobs.make(layer))
    config, manifest = _documents(image, packed)
    small = {
        "oci-layout": LAYOUT,
        blob_path(digest_bytes(config)): config,
        blob_path(digest_bytes(manifest)): manifest,
    }
    large = {blob_path(blob.digest): blobs.path(blob.digest) for blob in packed}
    last = {
        "index.json": index_bytes([image.index_entry(manifest)]),
        "manifest.json": image.docker_manifest_bytes(packed),
    }
    write_tar(out, small, large, last)
    return digest_bytes(manifest)


def write_tar(
    out: Path, small: Mapping[str, bytes], large: Mapping[str, Path], last: Mapping[str, bytes]
) -> None:
    """Write a layout as a tar: documents and files by name, sorted, and what comes ``last``.

    The file appears whole, or the old one stays. Raises OSError.
    """
    with temporary_file(out) as stream:
        for name in ("blobs/", "blobs/sha256/"):
            stream.write(tar_header(name, tarfile.DIRTYPE, 0o755))
        for name, data in sorted(small.items()):
            _member(stream, name, data)
        for name, path in sorted(large.items()):
            stream.write(tar_header(name, tarfile.REGTYPE, 0o644, path.stat().st_size))
            _pad(stream, copy_into(path, stream))
        for name, data in sorted(last.items()):
            _member(stream, name, data)
        stream.write(bytes(2 * tarfile.BLOCKSIZE))


def _member(stream: BinaryIO, name: str, data: bytes) -> None:
    stream.write(tar_header(name, tarfile.REGTYPE, 0o644, len(data)) + data)
    _pad(stream, len(data))


def _pad(stream: BinaryIO, size: int) -> None:
    stream.write(bytes(-size % tarfile.BLOCKSIZE))
