"""The Docker Engine, through the docker SDK (extra ``docker``), and names of images in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbrw_builder.errors import HostError
from nbrw_runtime.errors import UsageError

KIND = "docker-daemon"
#: Why other engines do not run what is in one.
IN_AN_ENGINE = "does not read images in a Docker Engine"
_PREFIX = KIND + ":"
# Source: distribution/reference, "Grammar".
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9.-]+(?::[0-9]+)?"
_NAME = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?")


def is_reference(path: str | Path) -> bool:
    """Whether it names an image in an engine: ``docker-daemon:NAME[:TAG]``."""
    return str(path).startswith(_PREFIX)


def reference(path: str | Path) -> str:
    """The name with its tag (``latest`` if none is given). Raises UsageError if it is none."""
    name = str(path).removeprefix(_PREFIX)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"use {path}: `{name}` is no name of an image; give one such as "
            "docker-daemon:climate:v1, in small letters"
        )
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def connect() -> Any:
    """A client of the engine that the docker command would use (``DOCKER_HOST``, the usual socket).

    Raises HostError: no SDK, no engine, no permission.
    """
    try:
        import docker
    except ImportError:
        raise HostError("the docker SDK is not installed (`pip install 'nbrw[docker]'`)") from None
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        if "Permission denied" in str(error) or "PermissionError" in str(error):
            raise HostError(
                "the Docker Engine's socket is not yours to use; ask for the group `docker` "
                "(`sudo usermod -aG docker $USER`, then log in again), or use podman"
            ) from error
        raise HostError(f"no Docker Engine answers: {error}") from error
    return client
