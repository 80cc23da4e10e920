"""What a cell of a repeat did to the files that other cells of the audit read, or list."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbrw_runtime.checkpoint import DIRECTORY
from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import digest_file
from nbrw_runtime.workdir import WorkDirectory

#: Bytes of files that are copied in case a cell changes them, but for those that the caller has and
#: a cell of the audit wrote: these are copied in any case.
MOST = 1 << 28
_IGNORED = {"__pycache__", "dask-scratch-space", ".ipynb_checkpoints", ".nbrw-work.json"}


class FileWatch:
    """Looks at these paths, and only these, where they are in the work directory or outside it."""

    def __init__(self, work: WorkDirectory, data: Iterable[Data]) -> None:
        self._work = work
        known = list(data)
        self._paths = sorted({d.path for d in known if d.state is not DataState.LISTED})
        self._written = {d.path for d in known if d.state is DataState.WRITTEN}
        self._directories = sorted({d.path for d in known if d.state is DataState.LISTED})
        self._stamps: dict[str, tuple[int, ...] | None] = {}
        self._entries: dict[str, set[str]] = {}
        self.look()
        self._first = (self._stamps, self._entries)
        self._copies: dict[str, Path] | None = None
        self._renewed: set[str] = set()

    def begin(self, aside: Path | None) -> None:
        """Cells are gone through from the start; if any may run, files that are not
        the image's are copied to ``aside``: the caller's that the audit's wrote, and small ones."""
        self._stamps = self._stamps | {p: _stamp(self._place(p)) for p in self._renewed}
        self._renewed = set()
        if aside is None or self._copies is not None:
            return
        self._copies, left = {}, MOST
        for number, path in enumerate(self._paths):
            place, stamp = self._work.place(path), self._stamps[path]
            if place is None or stamp is None or place.is_symlink() or not place.is_file():
                continue
            counts = path not in self._written or self._work.is_ours(path)
            if self._work.is_brought(path) or (counts and stamp[1] > left):
                continue
            left -= stamp[1] if counts else 0
            aside.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                self._copies[path] = Path(shutil.copy2(place, aside / str(number)))

    def rewind(self) -> list[str]:
        """All is done again from the start: what was not there then, goes, if it is known, and
        what was is put back, here or by :meth:`WorkDirectory.open`; returns what cannot be.

        What else is new in a listed directory may be anybody's; it counts as the next cell's.
        """
        stamps, entries = self._first
        lost = []
        for path in self._paths:
            place = self._work.place(path)
            if place is None or _stamp(place) == stamps[path] or place.is_dir():
                continue
            if path in (self._copies or {}) or self._work.is_brought(path):
                self._renewed.add(path)
            elif stamps[path] is not None:
                lost.append(path)
                continue
            place.unlink(missing_ok=True)
            if self._copies and path in self._copies:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._copies[path], place)
        self._stamps, self._entries = stamps, entries
        return lost

    def look(self) -> None:
        """What is there now is known."""
        self._stamps = {path: _stamp(self._place(path)) for path in self._paths}
        self._entries = {path: _entries(self._place(path)) for path in self._directories}

    def changes(self) -> dict[str, str | None]:
        """Since the last look: author's paths that are new or changed, with their digests.

        None: it is gone. A new file in a listed directory that no cell of the audit made has
        ``new`` for a digest.
        """
        found: dict[str, str | None] = {}
        for path in self._directories:
            now = _entries(self._place(path))
            before = self._entries[path]
            found.update({os.path.join(path, name): "new" for name in now - before})
            found.update({os.path.join(path, name): None for name in before - now})
        for path in self._paths:
            place = self._place(path)
            stamp = _stamp(place)
            if stamp != self._stamps[path]:
                found[path] = None if stamp is None else _digest(place)
        self.look()
        return found

    def unknown(self, paths: Mapping[str, str | None]) -> dict[str, str | None]:
        """Those of these paths that nobody looks at here."""
        return {path: found for path, found in paths.items() if path not in self._stamps}

    def _place(self, path: str) -> Path:
        return self._work.place(path) or Path(path)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _entries(path: Path) -> set[str]:
    try:
        return {name for name in os.listdir(path) if name not in _IGNORED}
    except OSError:
        return set()


def _digest(path: Path) -> str:
    try:
        return DIRECTORY if path.is_dir() else str(digest_file(path)[0])
    except OSError as error:
        return f"unreadable: {error.strerror}"
