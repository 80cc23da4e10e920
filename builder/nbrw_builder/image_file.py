"""Images on disk, whatever their kind: what is inside, and whether it is sound."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import zstandard

from nbrw_builder import sif
from nbrw_builder.docker_client import is_reference, reference
from nbrw_builder.errors import ProcessError
from nbrw_builder.extract import find_member, find_members, unpack_layer
from nbrw_builder.image_members import matcher, of_squashfs
from nbrw_builder.oci_read import Blobs, DirectoryBlobs, OciDocuments, TarBlobs, read_documents
from nbrw_builder.partial_image import PartialImage, complete_tree, read_partial
from nbrw_builder.process import run
from nbrw_builder.sif_image import RECIPE_OBJECT, SUMMARY_OBJECT, read_summary
from nbrw_builder.squashfs import read_back
from nbrw_builder.validate import check_digest, check_oci, check_recipe
from nbrw_runtime.digest import Digest, digest_bytes, digest_json, digest_stream
from nbrw_runtime.errors import FormatError, IntegrityError, NotFoundError, UsageError
from nbrw_runtime.recipe import RECIPE_PATH


class ImageFile(Protocol):
    """An image on disk or in a Docker Engine; ``size`` is in bytes.

    ``kind`` is ``sif``, ``oci-dir``, ``oci-tar``, ``docker-daemon``, or ``oci-partial``: a
    directory with layers left behind.
    """

    @property
    def path(self) -> Path: ...

    @property
    def kind(self) -> str: ...

    @property
    def size(self) -> int: ...

    def recipe_bytes(self) -> bytes:
        """The recipe, checked against its digest. Raises NotFoundError if it has none."""
        ...

    @property
    def identity(self) -> Digest:
        """Of what it unpacks to."""
        ...

    def members(self, patterns: Sequence[str]) -> dict[str, bytes]:
        """Regular files of the root file system by path, see :mod:`nbrw_builder.image_members`.

        Checkpoints are not looked at.
        """
        ...

    def extract(self, root: Path) -> None:
        """Unpack the root file system into the directory ``root``, made if missing."""
        ...

    def verify(self) -> None:
        """Read every byte. Raises IntegrityError or FormatError unless the image is sound."""
        ...


def open_image(path: str | Path) -> ImageFile:
    """The image at a path. Raises UsageError if it is none, FormatError if it is malformed."""
    path = Path(path)
    if is_reference(path):
        from nbrw_builder.docker_image import DockerImage

        reference(path)
        return DockerImage(path)
    if path.is_dir():
        if not (path / "oci-layout").is_file():
            raise UsageError(f"open {path}: the directory is not an OCI image (no oci-layout)")
        return OciImage(path, "oci-partial" if read_partial(path) else "oci-dir")
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise UsageError(f"open {path}: {error.strerror}; name an image") from error
    if head[32:41] == b"SIF_MAGIC":
        return SifImage(path)
    if head[257:262] == b"ustar":
        return OciImage(path, "oci-tar")
    raise UsageError(f"open {path}: not an image; nbrw reads .sif, OCI directories and OCI tars")


@dataclass(frozen=True)
class SifImage:
    """A SIF."""

    path: Path
    kind: str = "sif"

    @property
    def size(self) -> int:
        """The file's bytes."""
        return self.path.stat().st_size

    def summary_bytes(self) -> bytes:
        """The object that has the digests of all layers, and of the file system."""
        return self._object(SUMMARY_OBJECT)

    def recipe_bytes(self) -> bytes:
        """See :class:`ImageFile`."""
        summary = read_summary(self.summary_bytes(), str(self.path))
        recipe = self._object(RECIPE_OBJECT)
        check_digest("the recipe", summary["recipe"], str(digest_bytes(recipe)), str(self.path))
        return recipe

    @property
    def identity(self) -> Digest:
        """See :class:`ImageFile`."""
        return digest_bytes(self.recipe_bytes())

    def members(self, patterns: Sequence[str]) -> dict[str, bytes]:
        """See :class:`ImageFile`; needs unsquashfs."""
        return of_squashfs(self.path, self._root().offset, patterns)

    def extract(self, root: Path) -> None:
        """See :class:`ImageFile`; needs unsquashfs."""
        body = self._root()
        argv = ["unsquashfs", "-no-progress", "-no-xattrs", "-force", "-dest", str(root)]
        run([*argv, "-offset", str(body.offset), str(self.path)])

    def verify(self) -> None:
        """See :class:`ImageFile`."""
        where = str(self.path)
        summary = read_summary(self.summary_bytes(), where)
        body = self._root()
        with open(self.path, "rb") as stream:
            stream.seek(body.offset)
            digest, size = digest_stream(_Part(stream, body.size))  # type: ignore[arg-type]
        check_digest("the file system", summary["squashfs"]["digest"], str(digest), where)
        if size != summary["squashfs"]["size"]:
            raise FormatError(f"read {where}: its file system has not the size it says")
        layers = [(layer["name"], layer["diff_id"]) for layer in summary["layers"]]
        check_recipe(self.recipe_bytes(), layers, where)

    def decode(self) -> None:
        """Decompress all of the file system: it may have been damaged when it was made.

        Raises FormatError, HostError (no unsquashfs).
        """
        try:
            read_back(self.path, self._root().offset)
        except ProcessError as error:
            raise FormatError(
                f"read {self.path}: its file system is damaged although its digest holds, so it "
                f"was made so ({' '.join(error.tail.split())}); build it anew with this nbrw"
            ) from error

    def _objects(self) -> tuple[sif.SifObject, ...]:
        with open(self.path, "rb") as stream:
            return sif.decode(stream, self.size, str(self.path))[1]

    def _root(self) -> sif.SifObject:
        for item in self._objects():
            if item.primary:
                return item
        raise FormatError(f"read {self.path}: the SIF has no squashfs root file system")

    def _object(self, name: str) -> bytes:
        for item in self._objects():
            if item.name == name:
                with open(self.path, "rb") as stream:
                    stream.seek(item.offset)
                    return stream.read(item.size)
        raise NotFoundError(f"read {self.path}: it has no {name}; nbrw did not make this image")


@dataclass(frozen=True)
class OciImage:
    """An OCI layout, as a directory or in a tar; a directory may have layers left behind."""

    path: Path
    kind: str

    @property
    def size(self) -> int:
        """The bytes of the file, or of all files of the directory."""
        if self.kind == "oci-tar":
            return self.path.stat().st_size
        return sum(found.stat().st_size for found in self.path.rglob("*") if found.is_file())

    def recipe_bytes(self) -> bytes:
        """See :class:`ImageFile`."""
        with self._open() as (blobs, documents):
            for layer in reversed(documents.layers):
                with _errors(str(self.path)), blobs.layer(layer) as tar:
                    data = find_member(tar, RECIPE_PATH)
                    if data is not None:
                        return data
        raise NotFoundError(f"read {self.path}: it has no recipe; nbrw did not make this image")

    @property
    def identity(self) -> Digest:
        """See :class:`ImageFile`; of a partial image it is another than of the whole one."""
        recipe, partial = digest_bytes(self.recipe_bytes()), self._partial()
        if partial is None:
            return recipe
        with self._open() as (_, documents):
            left = [str(layer.digest) for layer in documents.layers if partial.is_left(layer)]
        return digest_json([str(recipe), partial.command, partial.start, left])

    def members(self, patterns: Sequence[str]) -> dict[str, bytes]:
        """See :class:`ImageFile`."""
        matches = matcher(patterns)
        found: dict[str, bytes] = {}
        with self._open() as (blobs, documents):
            for layer in documents.layers:
                if layer.name.startswith("cell"):
                    continue
                with _errors(str(self.path)), blobs.layer(layer) as tar:
                    found.update(find_members(tar, matches))
        return found

    def extract(self, root: Path) -> None:
        """See :class:`ImageFile`. Nothing is ever written outside ``root``."""
        root.mkdir(parents=True, exist_ok=True)
        partial = self._partial()
        with self._open() as (blobs, documents):
            for layer in documents.layers:
                if partial and partial.is_left(layer):
                    continue
                with _errors(str(self.path)), blobs.layer(layer) as tar:
                    unpack_layer(tar, root, str(self.path))
        if partial:
            complete_tree(partial, documents.layers, self.recipe_bytes(), root)

    def _partial(self) -> PartialImage | None:
        return read_partial(self.path) if self.kind == "oci-partial" else None

    def verify(self) -> None:
        """See :class:`ImageFile`."""
        partial = self._partial()
        with self._open() as (blobs, documents), _errors(str(self.path)):
            there = documents.without(partial.is_left) if partial else documents
            check_oci(blobs, there, str(self.path))
        names = [layer.name for layer in documents.layers]
        diff_ids = [str(diff_id) for diff_id in documents.diff_ids]
        layers = list(zip(names, diff_ids, strict=True))
        check_recipe(self.recipe_bytes(), layers, str(self.path))

    @contextmanager
    def blobs(self) -> Iterator[Blobs]:
        """The files of the layout."""
        with self._open() as (blobs, _):
            yield blobs

    @contextmanager
    def _open(self) -> Iterator[tuple[Blobs, OciDocuments]]:
        where = str(self.path)
        if self.kind != "oci-tar":
            blobs: Blobs = DirectoryBlobs(self.path)
            yield blobs, read_documents(blobs, where)
            return
        try:
            opened = tarfile.open(self.path)  # noqa: SIM115 (closed below)
        except tarfile.TarError as error:
            raise FormatError(f"read {where}: not a sound tar: {error}; get it again") from error
        with opened:
            blobs = TarBlobs(opened, where)
            yield blobs, read_documents(blobs, where)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """What a decompressor or tar reader says about spoilt bytes, as our error."""

    try:
        yield
    except (tarfile.TarError, zlib.error, zstandard.ZstdError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise IntegrityError("a layer", "readable", str(error), where) from error


class _Part:
    """The next ``size`` bytes of a stream."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data
