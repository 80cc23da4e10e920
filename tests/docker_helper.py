"""A Docker Engine of the tests' own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def docker_engine() -> Iterator[str]:
    """Start one; gives its address. Raises RuntimeError, with its log, if it does not start."""
    # Not pytest's directory: a socket's path holds at most 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="nbrw-docker-"))
    engine = None
    try:
        for driver in ("overlay2", "vfs"):
            engine = _start(place, driver)
            if _answers(place, engine):
                break
            engine.terminate()
            engine.wait(60)
        else:
            raise RuntimeError(f"dockerd does not start: {(place / 'log').read_text()[-500:]}")
        yield f"unix://{place}/s"
    finally:
        if engine is not None:
            engine.terminate()
            engine.wait(60)
        _unmount(place)
        shutil.rmtree(place)


def _unmount(place: Path) -> None:
    """What an engine leaves mounted below its directories."""
    mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
    for mount in sorted((m for m in mounts if m.startswith(f"{place}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=True)


def _start(place: Path, driver: str) -> subprocess.Popen[bytes]:
    argv = ["dockerd", "-H", f"unix://{place}/s", "--data-root", f"{place}/data"]
    argv += ["--exec-root", f"{place}/exec", "--pidfile", f"{place}/pid"]
    argv += ["--iptables=false", "--bridge=none", "--storage-driver", driver]
    with open(place / "log", "wb") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)


def _answers(place: Path, engine: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and engine.poll() is None:
        if (place / "s").exists() and "API listen" in (place / "log").read_text():
            return True
        time.sleep(0.1)
    return False
