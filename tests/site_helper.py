"""The target site of ``tests/site`` for tests: Apptainer and Slurm, ordinary users, no Python.

The site is started if need be and left running: it is shared by test runs on one machine
(``tests/site/down`` stops it).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).with_name("site")
AUTHOR = "ada"  # her home has the path that the author of an image has elsewhere


@dataclass(frozen=True)
class Site:
    """A running site. ``share`` is the host's path of the folder that is ``/share`` there."""

    share: Path

    def run(
        self,
        *argv: str,
        user: str = "alice",
        machine: str = "login",
        check: bool = True,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the user's home; output and errors are kept apart, as text."""
        done = subprocess.run(
            [str(SCRIPTS / "run"), "--on", machine, "--as", user, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def put(self, *sources: str | Path, dest: str) -> None:
        """Copy files or folders of the host into the site, owned by alice."""
        self._script("put", *map(str, sources), dest)

    def cut(self, machine: str) -> None:
        """Pull a machine's network cable."""
        self._script("cut", machine)

    def kill(self, machine: str) -> None:
        """Pull a machine's power cable."""
        self._script("kill", machine)

    def mend(self, machine: str) -> None:
        """Undo ``cut`` or ``kill`` and wait until the machine is usable."""
        self._script("mend", machine)

    def registry(self, command: str, *argv: str) -> None:
        """``up``, ``down`` or ``exec PROGRAM...`` (a host program in the site's network)."""
        self._script("registry", command, *argv)

    @staticmethod
    def _script(name: str, *argv: str) -> None:
        _call([str(SCRIPTS / name), *argv])


def site_directory() -> Path:
    """Where the site keeps its state; the same rule as in ``tests/site/lib.sh``."""
    return Path(os.environ.get("TARGET_SITE_DIR") or cache_directory() / "site")


def cache_directory() -> Path:
    """Where what is installed for the site lies; the same rule as in ``tests/site/lib.sh``."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TARGET_SITE_CACHE") or base / "target-site")


def why_not() -> str | None:
    """What keeps this machine from having a site, or None."""
    if os.geteuid() != 0:
        return "the target site needs root (it makes namespaces and mounts inside them)"
    return None


def start_site() -> Site:
    """The running site; installs and starts it if need be (minutes the first time)."""
    _call([str(SCRIPTS / "up")])
    return Site(site_directory() / "share")


def _call(argv: Sequence[str]) -> None:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1900,
        env={**os.environ, "TARGET_SITE_QUIET": ""},
    )
    if done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout}")
