"""Images into a Docker Engine: one stream, no tar on disk, layers made again on the way."""

from __future__ import annotations

import contextlib
import queue
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from nbrw_builder.docker_client import connect
from nbrw_builder.errors import BuildError, HostError
from nbrw_builder.image import Image, blob_path
from nbrw_builder.layer import Layer, tar_header
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes

_CHUNK = 1 << 20
_WAITING = 8  # chunks between who makes the tar and who sends it


def write_docker(image: Image, progress: Callable[[str], None]) -> Digest:
    """Load the image into the engine, under the name in its configuration; the image's id there.

    Layers are not compressed, as they do not travel. On an error the engine has no new image.
    Raises HostError, BuildError, IntegrityError.
    """
    client = connect()
    import docker

    try:
        with contextlib.closing(docker_stream(image, progress)) as stream:
            loaded = client.images.load(stream)
        known = str(digest_bytes(image.config_bytes()))
        found = client.images.get(image.config.name)
        # An engine with the containerd store names images by their manifest.
        if found.id != known and found.id not in [other.id for other in loaded]:
            raise BuildError(f"load {image.config.name}: the engine has {found.id}, not {known}")
        return Digest(found.id)
    except docker.errors.DockerException as error:
        raise HostError(f"load {image.config.name} into the Docker Engine: {error}") from error
    except OSError as error:
        raise HostError(
            f"load {image.config.name} into the Docker Engine: the connection broke: {error}; is "
            "its disk full?"
        ) from error
    finally:
        client.close()


def docker_stream(image: Image, progress: Callable[[str], None]) -> Generator[bytes, None, None]:
    """The bytes of a tar as `docker save` makes them, each layer once.

    Raises what making a layer's tar raises.
    """
    config = image.config_bytes()
    names = [blob_path(layer.diff_id) for layer in image.layers]
    place = blob_path(digest_bytes(config))
    manifest = [{"Config": place, "RepoTags": [image.config.name], "Layers": names}]
    for name in ("blobs/", "blobs/sha256/"):
        yield tar_header(name, tarfile.DIRTYPE, 0o755)
    for name, data in (("manifest.json", canonical_json(manifest)), (place, config)):
        yield tar_header(name, tarfile.REGTYPE, 0o644, len(data)) + data + _padding(len(data))
    for name, layer in dict(zip(names, image.layers, strict=True)).items():
        progress(f"send {layer.name}")
        yield tar_header(name, tarfile.REGTYPE, 0o644, layer.size)
        yield from _tar_of(layer)
        yield _padding(layer.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_of(layer: Layer) -> Iterator[bytes]:
    """A layer's tar in chunks, made by a thread that is never far ahead."""
    made: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
    gone = threading.Event()
    sink = _Sink(made, gone)

    def make() -> None:
        try:
            layer.write_tar(sink)
            sink.flush()
            sink.put(None)
        except _Gone:
            pass
        except BaseException as error:
            with contextlib.suppress(_Gone):
                sink.put(error)

    thread = threading.Thread(target=make, name="nbrw-tar", daemon=True)
    thread.start()
    try:
        while (found := made.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        gone.set()
        thread.join()


class _Gone(Exception):
    """Nobody takes the chunks any more."""


class _Sink:
    """Gathers what is written to chunks."""

    def __init__(self, out: queue.Queue[Any], gone: threading.Event) -> None:
        self._out = out
        self._gone = gone
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        if len(self._held) >= _CHUNK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        if self._held:
            self.put(bytes(self._held))
            self._held.clear()

    def put(self, item: bytes | BaseException | None) -> None:
        while not self._gone.is_set():
            with contextlib.suppress(queue.Full):
                self._out.put(item, timeout=0.2)
                return
        raise _Gone


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def check_engine() -> None:
    """Raise HostError unless an engine answers."""
    connect().close()
