"""A file's, directory's or link's record in a checkpoint, and its content in the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from nbrw_runtime.checkpoint import StoredFile
from nbrw_runtime.digest import Digest
from nbrw_runtime.store import DirectoryStore


def stored(
    path: str,
    mode: int,
    target: str,
    store: DirectoryStore,
    put: Callable[[], tuple[Digest, int]],
) -> StoredFile:
    """``target`` is what a link names; ``put`` stores a file's content: its digest and size."""
    if stat.S_ISLNK(mode):
        return StoredFile(path, store.put(os.fsencode(target)), len(target), 0o777, target)
    if stat.S_ISDIR(mode):
        return StoredFile(path, store.put(b""), 0, stat.S_IMODE(mode), directory=True)
    digest, size = put()
    return StoredFile(path, digest, size, stat.S_IMODE(mode))
