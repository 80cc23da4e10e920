"""The only place that starts external programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from nbrw_builder.errors import HostError, ProcessError

_TAIL = 4000
_PACKAGES = {
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "apptainer": "apptainer",
    "singularity": "singularity-container",
    "podman": "podman",
    "docker": "docker.io",
    "skopeo": "skopeo",
    "dpkg-query": "dpkg",
    "rpm": "rpm",
    "git": "git",
}


def find_program(name: str) -> str:
    """The path of a program on PATH. Raises HostError that names the package to install."""
    found = shutil.which(name)
    if found is None:
        package = _PACKAGES.get(name, name)
        raise HostError(
            f"start {name}: there is no such program on this host; install it with "
            f"`apt-get install {package}` (Debian, Ubuntu) or `dnf install {package}` (Fedora)"
        )
    return found


def run(
    argv: Sequence[str],
    *,
    feed: Callable[[BinaryIO], object] | None = None,
    cwd: str | Path | None = None,
    without: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
    grace: float = 0.0,
) -> str:
    """Run a program to its end and return its standard output as text.

    ``feed`` writes the program's standard input (empty without it). ``env`` is added to the
    environment, variables named in ``without`` are taken out of it. Statuses in ``ok`` are no
    failure. Whatever ends the call (an error in ``feed``, Ctrl-C) also ends the program and its
    children, which are a process group of their own: they are told to (SIGTERM), and killed if they
    have not ended after ``grace`` seconds.

    Raises HostError if the program is not installed, ProcessError if it fails.
    """
    find_program(argv[0])
    environment = {**os.environ, **(env or {})}
    for name in without:
        environment.pop(name, None)
    # Files, not pipes: a program that says much while it is being fed cannot block.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
        with _ended(child, grace):
            broken = _feed(child, feed) if feed else False
            status = child.wait()
        text = _read(output)
        if status not in ok or (broken and status == 0):
            tail = (_read(errors) or text)[-_TAIL:]
            raise ProcessError(argv, status, tail or ("it stopped reading" if broken else ""))
        return text


def _feed(child: subprocess.Popen[bytes], feed: Callable[[BinaryIO], object]) -> bool:
    """Write the child's input; returns whether the child stopped reading before the end."""
    assert child.stdin is not None
    try:
        feed(child.stdin)  # type: ignore[arg-type]
        child.stdin.close()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        return True
    return False


@contextlib.contextmanager
def _ended(child: subprocess.Popen[bytes], grace: float) -> Iterator[None]:
    try:
        yield
    finally:
        if child.poll() is None and grace:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if child.stdin:
                with contextlib.suppress(OSError):
                    child.stdin.close()


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")
