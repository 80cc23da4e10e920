"""The commands `scheduler` and `worker` of an image, without an image: its recipe is enough."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.recipe import Environment, Recipe, write_recipe
from notebook_helper import environment

KERNEL = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@contextlib.contextmanager
def running(words: list[str], logs: Path, name: object, **options: object):
    """A process that runs while the block lasts; its ``log`` is in the directory ``logs``."""
    log = logs / f"{name}-{len(os.listdir(logs))}.log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, **options)
    process.log = log
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Image:
    """A recipe in a file; ``digest`` tells one image from another."""

    def __init__(self, place: Path, title: str) -> None:
        author = Environment(sys.executable, str(place / "author"), KERNEL)
        data = write_recipe(Recipe(NOTEBOOK, (), (), author, title=title))
        self.path = place / f"{title}.json"
        self.path.write_bytes(data)
        self.digest = str(digest_bytes(data))

    def options(self, work: Path) -> dict:
        """How its commands are started in a work directory."""
        variables = environment(NBRW_RECIPE=str(self.path), XDG_CACHE_HOME=str(work / ".cache"))
        return {"cwd": work, "env": variables, "stdin": subprocess.DEVNULL}

    def run(self, work: Path, *argv: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        words = [sys.executable, "-m", "nbrw_runtime", *map(str, argv)]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=60, **self.options(work)
        )

    def started(self, work: Path, *argv: object):
        """A command that runs while the block lasts; its log is in the work directory."""
        words = [sys.executable, "-m", "nbrw_runtime", *map(str, argv)]
        return running(words, work, argv[0], **self.options(work))

    @contextlib.contextmanager
    def scheduler(self, work: Path, *argv: object):
        """A scheduler on this machine alone; yields what its file says."""
        file = work / "scheduler.json"
        words = ("--host", "127.0.0.1", "--port", 0, "--scheduler-file", file, *argv)
        with self.started(work, "scheduler", *words) as process:
            yield wait_for(lambda: said(file), process)
        file.unlink(missing_ok=True)


def said(file: Path) -> dict | None:
    """What a scheduler wrote, once it has."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def wait_for(look, process=None, seconds: float = 60):
    """What ``look`` gives once it is true; an error if it never is, or the process has ended."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        log = process.log.read_text() if process is not None else ""
        assert process is None or process.poll() is None, log
        assert time.monotonic() < deadline, f"nothing in {seconds} s\n{log}"
        time.sleep(0.05)
    return found


def children(pid: int) -> set[int]:
    """Processes below a process."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            words = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            for child in map(int, words):
                found |= {child} | children(child)
    return found


def alive(pids) -> set[int]:
    """Those of these processes that still run."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
    return found
