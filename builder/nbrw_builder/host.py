"""What the author's host says of files, behind a contract, so that rules are tested by tables."""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from nbrw_runtime.digest import Digest, digest_file


class Host(Protocol):
    """A file system; paths are absolute. What is missing or forbidden is None or empty."""

    def lstat(self, path: str) -> os.stat_result | None: ...

    def stat(self, path: str) -> os.stat_result | None: ...

    def readlink(self, path: str) -> str: ...

    def realpath(self, path: str) -> str: ...

    def listdir(self, path: str) -> list[str]: ...

    def read(self, path: str, limit: int = -1) -> bytes: ...

    def digest(self, path: str) -> Digest | None: ...


class RealHost:
    """The machine this runs on."""

    def __init__(self) -> None:
        self._real_directory = lru_cache(maxsize=None)(os.path.realpath)

    def lstat(self, path: str) -> os.stat_result | None:
        """Facts of a name, links not followed."""
        try:
            return os.lstat(path)
        except (OSError, ValueError):
            return None

    def stat(self, path: str) -> os.stat_result | None:
        """Facts of what a name leads to."""
        try:
            return os.stat(path)
        except (OSError, ValueError):
            return None

    def readlink(self, path: str) -> str:
        """The text of a symbolic link."""
        return os.readlink(path)

    def realpath(self, path: str) -> str:
        """The path without symbolic links."""
        directory, name = os.path.split(path)
        joined = os.path.join(str(self._real_directory(directory)), name)
        found = self.lstat(joined)
        if found is not None and stat.S_ISLNK(found.st_mode):
            return os.path.realpath(joined)
        return joined

    def listdir(self, path: str) -> list[str]:
        """Sorted names in a directory."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def read(self, path: str, limit: int = -1) -> bytes:
        """The first ``limit`` bytes of a file, or all."""
        try:
            with open(path, "rb") as stream:
                return stream.read(limit)
        except OSError:
            return b""

    def digest(self, path: str) -> Digest | None:
        """The digest of a regular file."""
        try:
            return digest_file(path)[0] if Path(path).is_file() else None
        except OSError:
            return None
