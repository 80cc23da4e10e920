"""Run OCI images with podman, through its command line (it has no daemon to talk to)."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbrw_builder.docker_client import IN_AN_ENGINE, KIND
from nbrw_builder.engine import WORK_DIRECTORY, RunRequest, cache_mount, hint_at
from nbrw_builder.errors import HostError
from nbrw_builder.foreground import run_foreground
from nbrw_builder.oci_load import config_digest, transport_name
from nbrw_builder.process import run


class PodmanEngine:
    """podman. Without root the container's root is the caller: what it writes is the caller's."""

    name = "podman"

    def missing(self, kind: str) -> str | None:
        """See :class:`nbrw_builder.engine.Engine`."""
        if kind == KIND:
            return IN_AN_ENGINE
        if kind == "sif":
            return "does not read SIF"
        if not shutil.which("podman"):
            return "not installed (`apt-get install podman`, `dnf install podman`)"
        return None

    def run(self, request: RunRequest) -> int:
        """See :class:`nbrw_builder.engine.Engine`."""
        lacking = self.missing(request.image.kind)
        if lacking:
            raise HostError(f"run {request.image.path}: podman: {lacking}")
        return hint_at(
            self.name, run_foreground(command(self._load(request), request)), (125, 126, 127)
        )

    def _load(self, request: RunRequest) -> str:
        """The image's id in podman's store, put there if need be."""
        path = Path(request.image.path).absolute()
        known = config_digest(path, request.image.kind).hex
        if known not in run(["podman", "images", "--all", "--no-trunc", "--quiet"]):
            is_directory = request.image.kind == "oci-dir"
            name = f"oci:{transport_name(path)}" if is_directory else f"oci-archive:{path}"
            run(["podman", "pull", "--quiet", name])
        return known


def command(image: str, request: RunRequest) -> list[str]:
    """The argument vector that runs a loaded image."""
    cache = cache_mount(request)
    words = ["--mount", _bind(request.directory, WORK_DIRECTORY)]
    if cache.source:
        words += ["--mount", _bind(cache.source, cache.target)]
    for name, text in {**request.variables, **cache.variables}.items():
        words += ["--env", f"{name}={text}"]
    return [
        "podman", "run", "--rm", "--interactive", "--network", "host", *words,
        "--workdir", WORK_DIRECTORY, image, *request.arguments,
    ]  # fmt: skip


def _bind(source: Path, target: str) -> str:
    return f"type=bind,{_quoted(f'src={source}')},dst={target}"


def _quoted(text: str) -> str:
    """A field of the comma-separated values that ``--mount`` takes."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"') else text
