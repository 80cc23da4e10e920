"""The files that workers elsewhere left changed in a cell, and how they get into the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_runtime.checkpoint import StoredFile
from nbrw_runtime.digest import Digest
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.stored_file import stored
from nbrw_runtime.worker_files import WorkerFiles


@dataclass(frozen=True)
class Left:
    """A file that a worker wrote: who can hand it over, its size and its mtime in ns."""

    files: WorkerFiles
    facts: tuple[int, ...]


@dataclass
class Window:
    """What workers left changed."""

    written: dict[str, Left] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    def add(self, batch: Mapping[str, Any], files: WorkerFiles) -> None:
        """One witness's answer."""
        for path in batch["written"]:
            self.written[path] = Left(files, tuple(batch["facts"].get(path, ())))
            self.removed.discard(path)
        for path in batch["removed"]:
            self.removed.add(path)
            self.written.pop(path, None)

    def is_here(self, path: str) -> bool:
        """Whether this machine has the file that the worker wrote."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == self.written[path].facts

    def store(self, path: str, store: DirectoryStore) -> StoredFile:
        """Bring a file that is not. Raises Lost (the worker has ended), OSError, StorageError."""
        files = self.written[path].files
        mode, target = files.look(path)
        with tempfile.TemporaryDirectory(prefix="nbrw-worker-") as place:
            copy = Path(place) / "content"

            def put() -> tuple[Digest, int]:
                files.fetch(path, copy)
                return store.put_file(copy)

            return stored(path, mode, target, store, put)
