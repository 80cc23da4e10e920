"""Which files a cell left changed, from the calls that the tracer sees; and what it overwrote.

The tracer calls :meth:`FileChanges.touch` before a call that makes, changes or removes a name.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from nbrw_runtime.window import left_by_window

_PRESERVE_LIMIT = 2 << 30  # bytes; a larger file is not copied, and the trace says so
_WATCHED_LIMIT = 2000


class FileChanges:
    """Names touched since the last cell's end, and files whose old content must be kept."""

    def __init__(self, preserved: Path, gap: Callable[[str], None]) -> None:
        self._preserved = preserved
        self._gap = gap
        self._touched: dict[str, bool] = {}  # path -> it existed before the window
        self._read: set[str] = set()
        self._ours: set[str] = set()  # written by the traced processes at some time
        self._known: dict[str, tuple[int, ...]] = {}  # facts of ours at the last end

    def read(self, path: str) -> None:
        """A regular file is read."""
        if path not in self._ours:
            self._read.add(path)

    def touch(self, path: str, existed: bool) -> None:
        """A name is about to be made, changed or removed."""
        self._touched.setdefault(path, existed)

    def wrote(self, path: str) -> None:
        """The traced processes have made or changed a file of this name."""
        self._ours.add(path)

    def preserve(self, path: str, status: os.stat_result, by_name_only: bool) -> str | None:
        """Keep the content of a file read before that is about to change; the copy's name.

        ``by_name_only``: the name goes, the content is not written to, so that a link suffices.
        """
        if path not in self._read or path in self._ours or not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > _PRESERVE_LIMIT:
            self._gap(
                f"{path} was changed after it was read, and is too large to be kept as it was"
            )
            return None
        try:
            self._preserved.mkdir(exist_ok=True)
            name = f"{status.st_dev:x}-{status.st_ino:x}-{status.st_ctime_ns:x}"
            target = self._preserved / name
            if not target.exists():
                if by_name_only:
                    try:
                        os.link(path, target)
                        return name
                    except OSError:
                        pass
                shutil.copyfile(path, target)
            return name
        except OSError as error:
            self._gap(f"{path} was changed after it was read, and could not be kept: {error}")
            return None

    def moved(self, source: str, target: str) -> None:
        """A directory was renamed: the files below it have new names."""
        for directory, _, names in os.walk(target):
            for name in names:
                new = os.path.join(directory, name)
                old = source + new[len(target) :]
                self.touch(old, self._touched.get(old, True))
                self.touch(new, False)
                self.wrote(new)

    def end_window(self) -> dict[str, list[str]]:
        """What the window left: ``written`` and ``removed`` paths; then a new window begins."""
        self._watch()
        left = left_by_window(self._touched)
        self._touched = {}
        for path in left["written"]:
            self._note(path)
        return left

    def _watch(self) -> None:
        """A file that stays open, or its mode, may change without another call that is seen."""
        for path, known in list(self._known.items())[-_WATCHED_LIMIT:]:
            try:
                status = os.stat(path)
            except OSError:
                continue
            if _facts(status) != known:
                self._touched.setdefault(path, True)

    def _note(self, path: str) -> None:
        try:
            status = os.stat(path)
        except OSError:
            return
        if stat.S_ISDIR(status.st_mode):
            return
        self._known[path] = _facts(status)


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
