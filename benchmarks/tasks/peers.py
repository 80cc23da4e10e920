"""Environments of other caches of tasks, and their runs in new processes of these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TIMEOUT = 3600.0
_DASK = "dask[distributed]==2026.8.0"


@dataclass(frozen=True)
class Peer:
    """``wanted`` is what is installed, ``alone`` what then is without what it asks for."""

    name: str
    tool: str
    environment: str
    wanted: tuple[str, ...]
    alone: tuple[str, ...] = ()


_CACHES = ("parsl==2026.10.26", "joblib==1.6.0", "numpy", "pandas")
_GRAPHCHAIN = ("joblib==1.5.3", "lz4", "fs", "fs-s3fs", "setuptools<81", "numpy", "pandas")
PEERS = (
    Peer("joblib.Memory 1.6.0", "joblib", "caches", _CACHES),
    Peer("Parsl 2026.10.26", "parsl", "caches", _CACHES),
    Peer(
        "graphchain 1.3.0, Dask 2024.8.0", "graphchain", "graphchain",
        ("graphchain==1.3.0", "dask==2024.8.0", *_GRAPHCHAIN),
    ),
    # It asks for an older Dask.
    Peer(
        "graphchain 1.3.0, Dask 2026.8.0", "graphchain", "graphchain-now",
        (_DASK, *_GRAPHCHAIN), ("graphchain==1.3.0",),
    ),
)  # fmt: skip


def install(peer: Peer, place: Path) -> Path:
    """The interpreter of the peer's environment below ``place``, made if it is not there."""
    directory = place / peer.environment
    python = directory / "bin/python"
    if not (directory / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = [python, "-m", "pip", "install", "-qqq"]
        subprocess.run([*pip, *peer.wanted], check=True, stdout=subprocess.DEVNULL)
        if peer.alone:
            command = [*pip, "--no-deps", *peer.alone]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (directory / "ready").touch()
    return python


def run(peer: Peer, python: Path, place: Path, *words: str) -> Any:
    """What `peer.py` printed for these words; ``place`` has the modules, and gets the results."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(place),  # its worker processes import the modules
        "PYTHONDONTWRITEBYTECODE": "1",  # modules change within the same second
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    command = [str(python), str(HERE / "peer.py"), peer.tool, str(place), *words]
    done = subprocess.run(
        command,
        env=variables,
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        sys.exit(f"{peer.name} failed: {done.stderr[-800:]}")
    return json.loads(done.stdout.splitlines()[-1])
