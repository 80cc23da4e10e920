"""Images in a Docker Engine, read through the docker SDK; no container is ever started."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nbrw_builder.docker_client import KIND, connect, reference
from nbrw_builder.errors import HostError
from nbrw_builder.extract import find_members, unpack_layer
from nbrw_builder.image_members import matcher
from nbrw_builder.layer import HashingWriter
from nbrw_builder.validate import check_digest, check_recipe
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError, NotFoundError, UsageError
from nbrw_runtime.recipe import RECIPE_PATH

_LARGEST = 1 << 22  # bytes of a document in a saved image


@dataclass(frozen=True)
class DockerImage:
    """An image in an engine; ``path`` is what names it, as ``docker-daemon:climate:v1``."""

    path: Path
    kind: str = KIND

    @property
    def size(self) -> int:
        """The bytes that the engine says it takes."""
        with self._image() as (_, image):
            return int(image.attrs.get("Size", 0))

    @property
    def identity(self) -> Digest:
        """Its id in the engine."""
        with self._image() as (_, image):
            return Digest(image.id)

    def recipe_bytes(self) -> bytes:
        """See :class:`nbrw_builder.image_file.ImageFile`."""
        import docker

        with self._image() as (client, image):
            # An engine gives files of containers only; this one is never started.
            container = client.containers.create(image.id, ["help"])
            try:
                chunks, _ = container.get_archive(RECIPE_PATH)
                with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                    stream = tar.extractfile(tar.getmembers()[0])
                    return stream.read() if stream else b""
            except docker.errors.NotFound:
                raise NotFoundError(
                    f"read {self.path}: it has no recipe; nbrw did not make this image"
                ) from None
            finally:
                container.remove(force=True)

    def members(self, patterns: Sequence[str]) -> dict[str, bytes]:
        """See :class:`nbrw_builder.image_file.ImageFile`."""
        saved = self._saved(matcher(patterns))
        return {path: data for layer in saved.layers for path, data in layer.members.items()}

    def extract(self, root: Path) -> None:
        """See :class:`nbrw_builder.image_file.ImageFile`."""
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as spool, self._image() as (_, image):
            for chunk in image.save():
                spool.write(chunk)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as tar:
                (manifest,) = json.loads(_file(tar, "manifest.json").read())
                for name in manifest["Layers"]:
                    with tarfile.open(fileobj=_file(tar, name), mode="r|*") as layer:
                        unpack_layer(layer, root, str(self.path))

    def verify(self) -> None:
        """See :class:`nbrw_builder.image_file.ImageFile`: what the engine gives out is read."""
        saved = self._saved(lambda path: False)
        diff_ids = saved.config["rootfs"]["diff_ids"]
        if len(diff_ids) != len(saved.layers):
            raise FormatError(f"read {self.path}: its configuration names other layers")
        names = [
            step.get("created_by", "").removeprefix("nbrw ") for step in saved.config["history"]
        ]
        for name, want, layer in zip(names, diff_ids, saved.layers, strict=True):
            check_digest(f"the tar of layer {name}", want, layer.digest, str(self.path))
        layers = list(zip(names, diff_ids, strict=True))
        check_recipe(self.recipe_bytes(), layers, str(self.path))

    @contextlib.contextmanager
    def _image(self) -> Iterator[tuple[Any, Any]]:
        name = reference(self.path)
        client = connect()
        import docker

        try:
            yield client, client.images.get(name)
        except docker.errors.ImageNotFound:
            raise UsageError(
                f"open {self.path}: the Docker Engine has no image {name}; `docker images` lists "
                "those it has"
            ) from None
        except docker.errors.DockerException as error:
            raise HostError(f"read {self.path} from the Docker Engine: {error}") from error
        finally:
            client.close()

    def _saved(self, matches: Callable[[str], bool]) -> _Saved:
        """One pass over what `docker save` gives: layers in any order, documents among them."""
        layers: dict[str, _Layer] = {}
        documents: dict[str, bytes] = {}
        links: dict[str, str] = {}
        with self._image() as (_, image):
            stream: Any = _Stream(image.save())
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.issym():
                        links[member.name] = _joined(member.name, member.linkname)
                    file: Any = tar.extractfile(member) if member.isfile() else None
                    if file is None:
                        continue
                    if member.size <= _LARGEST:
                        data = documents[member.name] = file.read()
                        file = io.BytesIO(data)
                    if not member.name.endswith(".json"):
                        layers[member.name] = _read_layer(file, matches)
        try:
            (manifest,) = json.loads(documents["manifest.json"])
            config = documents[manifest["Config"]]
            named = [links.get(name, name) for name in manifest["Layers"]]
            return _Saved(json.loads(config), tuple(layers[name] for name in named))
        except (KeyError, ValueError, TypeError) as error:
            raise FormatError(
                f"read {self.path}: not as `docker save` has it: {error!r}"
            ) from error


@dataclass(frozen=True)
class _Layer:
    digest: str
    members: dict[str, bytes]


@dataclass(frozen=True)
class _Saved:
    """The configuration, and layers lowest first."""

    config: dict[str, Any]
    layers: tuple[_Layer, ...]


def _read_layer(file: IO[bytes], matches: Callable[[str], bool]) -> _Layer:
    """The digest of a layer's tar, and its files that match; of another file the digest alone."""
    hashing: Any = _Hashing(file)
    found: dict[str, bytes] = {}
    with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=hashing, mode="r|") as tar:
        found.update(find_members(tar, matches))
    while hashing.read(1 << 20):
        continue
    return _Layer(str(hashing.sink.digest), found)


class _Hashing:
    """A stream whose bytes are hashed on the way."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sink = HashingWriter(None)

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.sink.write(data)
        return data


class _Stream:
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def read(self, size: int) -> bytes:
        parts, have = [self._held], len(self._held)
        while have < size and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self._held = data[size:]
        return data[:size]


def _file(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise FormatError(f"read a saved image: {name} is no file")
    return stream


def _joined(name: str, link: str) -> str:
    """Where a link in a tar leads: older engines save equal layers once."""
    parts = name.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)
