"""The files that a cell left changed, in the store: those that the tracer saw, and workers' own."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbrw_runtime.checkpoint import Omitted, StoredFile
from nbrw_runtime.result_paths import is_result
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.stored_file import stored
from nbrw_runtime.versions import FILE_PREFIX

if TYPE_CHECKING:
    from nbrw_runtime.worker_window import Window


@dataclass(frozen=True)
class CellFiles:
    """``written`` is where the tracer leaves each cell's list (empty: not traced)."""

    written: str
    store: DirectoryStore
    author_cwd: str

    def left_by(
        self, number: int, window: Window | None = None
    ) -> tuple[tuple[StoredFile, ...], tuple[str, ...], tuple[Omitted, ...]]:
        """Files of a cell in the store, paths that it removed, and what could not be stored.

        ``window`` has what workers elsewhere left. Raises StorageError.
        """
        listed = self._listed(number)
        written, removed = dict.fromkeys(listed["written"]), set(listed["removed"])
        if window is not None:
            written |= dict.fromkeys(sorted(window.written))
            removed = (removed | window.removed) - written.keys()
        files, unstored = [], []
        for path in filter(is_result, written):
            try:
                found = self._stored(path, window)
            except OSError as error:
                reason = f"it could not be read: {error.strerror or error}"
                unstored.append(Omitted(FILE_PREFIX + path, "file", reason))
                continue
            if found is not None:
                files.append(found)
        return tuple(files), tuple(sorted(filter(is_result, removed))), tuple(unstored)

    def _listed(self, number: int) -> dict[str, list[str]]:
        if self.written:
            with contextlib.suppress(FileNotFoundError):
                return dict(json.loads((Path(self.written) / f"{number}.json").read_bytes()))
        return {"written": [], "removed": []}

    def _stored(self, path: str, window: Window | None) -> StoredFile | None:
        if window is not None and path in window.written and not window.is_here(path):
            return window.store(path, self.store)
        if os.path.isdir(path) and not path.startswith(f"{self.author_cwd}/"):
            return None  # libraries leave empty ones in all kinds of places
        status = os.lstat(path)
        target = os.readlink(path) if os.path.islink(path) else ""
        return stored(path, status.st_mode, target, self.store, lambda: self.store.put_file(path))
