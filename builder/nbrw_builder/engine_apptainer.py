"""Run images with Apptainer, or SingularityCE.

The program is started directly: spython knows it only under the name ``singularity``, merges what
it prints and drops its exit code. It serves to ask whether the program works.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from spython.utils import check_install

from nbrw_builder.docker_client import IN_AN_ENGINE, KIND
from nbrw_builder.engine import RunRequest, hint_at
from nbrw_builder.errors import HostError
from nbrw_builder.foreground import run_foreground
from nbrw_builder.oci_load import transport_name

_PREFIX = {"sif": "", "oci-dir": "oci:", "oci-tar": "oci-archive:"}
# Their meaning in `--bind` cannot be quoted.
_SPECIAL = (":", ",")


class ApptainerEngine:
    """Apptainer or SingularityCE, whichever is on PATH."""

    name = "apptainer"

    def missing(self, kind: str) -> str | None:
        """See :class:`nbrw_builder.engine.Engine`."""
        if kind == KIND:
            return IN_AN_ENGINE
        program = _program()
        if program is None:
            return "not installed (https://apptainer.org/docs/admin/latest/installation.html)"
        if not check_install(program):
            return f"`{program} --version` fails"
        return None

    def run(self, request: RunRequest) -> int:
        """See :class:`nbrw_builder.engine.Engine`."""
        program = _program()
        if program is None:
            raise HostError(f"run {request.image.path}: apptainer is {self.missing('sif')}")
        return hint_at(self.name, run_foreground(command(program, request)), (255,))


def command(program: str, request: RunRequest) -> list[str]:
    """The argument vector that runs an image."""
    kind = request.image.kind
    argv = [program, "--quiet", "run"]
    if kind != "sif":
        # The runscript of a converted image gives its arguments to a shell a second time.
        argv.append("--no-eval")
    if request.contain is not None:
        argv += ["--cleanenv", "--contain", "--workdir", str(request.contain)]
    for name, text in request.variables.items():
        argv += ["--env", f"{name}={text}"]
    directory = str(request.directory)
    # Apptainer mounts the current directory by itself, but where it cannot it only warns.
    if directory != "/" and not _is_special(directory):
        argv += ["--bind", directory, "--pwd", directory]
    # What repeats keep is below the home directory, which Apptainer mounts, unless this says so.
    cache = os.environ.get("NBRW_CACHE_DIR", "")
    if (
        request.contain is None
        and Path(cache).is_absolute()
        and Path(cache).is_dir()
        and not _is_special(cache)
    ):
        argv += ["--bind", cache]
    path = Path(request.image.path).absolute()
    name = _PREFIX[kind] + (transport_name(path) if kind == "oci-dir" else str(path))
    return [*argv, name, *request.arguments]


def _is_special(path: str) -> bool:
    return any(mark in path for mark in _SPECIAL)


def _program() -> str | None:
    return next(filter(shutil.which, ("apptainer", "singularity")), None)
