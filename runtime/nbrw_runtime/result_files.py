"""Results as files below ``results/<environment>/<key>/<digest>.json``, each named by its bytes.

They appear whole or not at all, and after the blobs that they name. Their mtime is when they were
used last; the file system's own atime is often switched off.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError, IntegrityError
from nbrw_runtime.result import Result, read_result, write_result
from nbrw_runtime.store import storage_errors

_KEY = re.compile(r"[0-9a-f]{8,128}\Z")
_NAME = re.compile(r"[0-9a-f]{64}\.json\Z")
_TEMPORARY = ".new-"


@dataclass(frozen=True)
class Kept:
    """A result and the file that it is kept in."""

    result: Result
    path: Path


class ResultFiles:
    """The files below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, environment: Digest, key: str) -> Path:
        """Where the results of this key are. Raises ValueError if it is none."""
        if not _KEY.match(key):
            raise ValueError(f"not a key: {key!r}")
        return self.root / environment.hex / key

    def names(self, directory: Path) -> list[Path]:
        """The results in one directory, used last first."""
        found = []
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if _NAME.match(name):
                    with contextlib.suppress(OSError):
                        path = directory / name
                        found.append((-path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def __iter__(self) -> Iterator[Path]:
        """All results."""
        for environment in _listed(self.root):
            for directory in _listed(environment):
                yield from self.names(directory)

    def unfinished(self) -> list[Path]:
        """What writers that were killed have left."""
        return sorted(self.root.glob(f"*/*/{_TEMPORARY}*"))

    def read(self, path: Path) -> Kept:
        """Raises OSError, FormatError (of another version too) or IntegrityError."""
        data = path.read_bytes()
        want, got = Digest.from_hex(path.stem), digest_bytes(data)
        if want != got:
            raise IntegrityError(f"result {path.name}", str(want), str(got), str(path.parent))
        result = read_result(data, str(path))
        place = (result.environment.hex, result.key)
        if place != (path.parent.parent.name, path.parent.name):
            raise FormatError(f"read {path}: it is the result of another cell")
        return Kept(result, path)

    def write(self, result: Result) -> Kept:
        """Publish a result; one with the same identity gives way. Raises StorageError."""
        data = write_result(result)
        directory = self.directory(result.environment, result.key)
        path = directory / f"{digest_bytes(data).hex}.json"
        with storage_errors(self.root):
            directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=directory)
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(name).rename(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            for changed in (directory, directory.parent, self.root):
                sync_directory(changed)
        self._replaced(result, path)
        return Kept(result, path)

    def used(self, path: Path) -> None:
        """It was used just now. What cannot be noted is used least, that is all."""
        with contextlib.suppress(OSError):
            os.utime(path)

    def remove(self, path: Path) -> None:
        """Forget a result; it may be gone already."""
        with contextlib.suppress(OSError):
            path.unlink()

    def tidy(self) -> None:
        """Remove empty directories."""
        for environment in _listed(self.root):
            for directory in (*_listed(environment), environment):
                with contextlib.suppress(OSError):
                    directory.rmdir()

    def _replaced(self, result: Result, path: Path) -> None:
        for other in self.names(path.parent):
            if other != path:
                with contextlib.suppress(OSError, FormatError, IntegrityError):
                    if self.read(other).result.identity == result.identity:
                        self.remove(other)


def sync_directory(path: Path) -> None:
    """Have the names in a directory outlast a power failure, where the file system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
