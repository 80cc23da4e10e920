"""Run OCI images with a Docker Engine, through the docker SDK (extra ``docker``)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from nbrw_builder.docker_client import KIND, connect, reference
from nbrw_builder.engine import WORK_DIRECTORY, CacheMount, RunRequest, cache_mount
from nbrw_builder.errors import HostError
from nbrw_builder.oci_load import config_digest, docker_archive
from nbrw_runtime.errors import UsageError


class DockerEngine:
    """A Docker Engine, found as the docker command finds it (``DOCKER_HOST``, the usual socket)."""

    name = "docker"

    def missing(self, kind: str) -> str | None:
        """See :class:`nbrw_builder.engine.Engine`."""
        if kind == "sif":
            return "does not read SIF"
        try:
            connect().close()
        except HostError as error:
            return str(error)
        return None

    def run(self, request: RunRequest) -> int:
        """See :class:`nbrw_builder.engine.Engine`. The container is removed at the end.

        An ordinary user's container runs under the user's own ids, so that what it writes to the
        work directory is the user's.
        """
        import docker

        client = connect()
        try:
            container = self._create(client, request)
            try:
                return _follow(container)
            finally:
                with contextlib.suppress(docker.errors.APIError):
                    container.remove(force=True)
        except docker.errors.DockerException as error:
            raise HostError(f"run {request.image.path} with docker: {error}") from error
        finally:
            client.close()

    def _create(self, client: Any, request: RunRequest) -> Any:
        import docker

        image, cache = _load(client, request), cache_mount(request)
        if cache.source:
            try:
                return self._create_with(client, request, image, cache)
            except docker.errors.APIError:
                # The engine cannot see the caller's home (root of another machine, on NFS).
                cache = CacheMount(None, "", {})
        return self._create_with(client, request, image, cache)

    def _create_with(self, client: Any, request: RunRequest, image: str, cache: CacheMount) -> Any:
        import docker

        user = f"{os.getuid()}:{os.getgid()}" if os.getuid() else None
        places = {WORK_DIRECTORY: str(request.directory)}
        if cache.source:
            places[cache.target] = str(cache.source)
        return client.containers.create(
            image,
            list(request.arguments),
            mounts=[docker.types.Mount(at, source, type="bind") for at, source in places.items()],
            working_dir=WORK_DIRECTORY,
            user=user,
            environment={
                **request.variables,
                **cache.variables,
                **({"HOME": "/tmp"} if user else {}),
            },
            # An engine can be set up without its usual network.
            network_mode="bridge" if client.networks.list(names=["bridge"]) else "none",
            init=True,
        )


def _load(client: Any, request: RunRequest) -> str:
    """The image's id in the engine, loaded if it is not there."""
    import docker

    path, kind = request.image.path, request.image.kind
    if kind == KIND:
        try:
            return str(client.images.get(reference(path)).id)
        except docker.errors.ImageNotFound:
            raise UsageError(f"run {path}: the Docker Engine has no such image") from None
    known = str(config_digest(path, kind))
    try:
        return client.images.get(known).id
    except docker.errors.ImageNotFound:
        pass
    loaded = client.images.load(docker_archive(path, kind))
    # An engine with the containerd store names images by their manifest.
    return next((image.id for image in loaded if image.id == known), loaded[0].id)


def _follow(container: Any) -> int:
    """Start the container and pass its output on until it ends."""
    output = container.attach(stream=True, logs=True, demux=True)
    with _signals_to(container):
        container.start()
        for out, err in output:
            _pass_on(out, sys.stdout)
            _pass_on(err, sys.stderr)
        return int(container.wait()["StatusCode"])


@contextlib.contextmanager
def _signals_to(container: Any) -> Iterator[None]:
    """Meanwhile Ctrl-C and requests to end reach the container's program, not us."""
    import docker

    def pass_on(number: int, frame: object) -> None:
        # It may have ended by itself meanwhile.
        with contextlib.suppress(docker.errors.APIError):
            container.kill(signal.Signals(number).name)

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pass_on(data: bytes | None, stream: Any) -> None:
    if data:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
