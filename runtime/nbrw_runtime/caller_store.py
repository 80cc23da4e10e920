"""The caller's store: what repeats computed, kept for later ones. `docs/format/result.md`.

<root>/blobs/sha256/<hex>                        a `DirectoryStore`
<root>/results/<environment>/<key>/<hex>.json    format ``nbrw.result``, by `result_files.py`
<root>/lock                                      shared by repeats, exclusive to who removes

A result is published after its blobs. A repeat that is killed leaves at most blobs that nothing
names, which the next tidying removes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbrw_runtime.cache_lock import CacheLock
from nbrw_runtime.cache_place import results_root, size_limit
from nbrw_runtime.cache_usage import blobs_size, prune, remove_blob, usage
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import (
    FormatError,
    IntegrityError,
    NbrwError,
    NotFoundError,
    StorageError,
)
from nbrw_runtime.result import Result
from nbrw_runtime.result_files import Kept, ResultFiles, sync_directory
from nbrw_runtime.store import DirectoryStore, StackedStore

_REMEDY = "set NBRW_CACHE_DIR to a directory of yours that can be written"


class CallerStore:
    """The store while one repeat uses it; made by :func:`open_caller_store`.

    ``blobs`` takes what is stored in any case. ``why_not`` says why no results are kept, and is
    empty if they are. ``notes`` are sentences for the user. No method raises for what is wrong
    with the store, nor for what is in it.
    """

    def __init__(self, blobs: DirectoryStore, why_not: str = "") -> None:
        self.blobs = blobs
        self.why_not = why_not
        self._readable = not why_not
        self.notes: list[str] = []
        self.changed = False  # whether results were published or removed
        self.image = StackedStore(())  # whose blobs results may need, too
        self._files = ResultFiles(blobs.root.parent / "results")

    def find(self, environment: Digest, key: str) -> list[Kept]:
        """What is kept under this key, used last first; only whole results."""
        if not self._readable:
            return []
        found = []
        for path in self._files.names(self._files.directory(environment, key)):
            try:
                kept = self._files.read(path)
            except FileNotFoundError:
                continue  # another repeat has replaced it
            except (OSError, FormatError, IntegrityError) as error:
                self.notes.append(f"a kept result was passed over: {error}")
                continue
            missing = [blob for blob in kept.result.checkpoint.blobs if blob not in self.blobs]
            if missing:
                self.notes.append(f"a kept result was dropped: {missing[0]} is missing")
                self._files.remove(path)
                continue
            found.append(kept)
        return found

    def keep(self, result: Result) -> Kept | None:
        """Publish a result, with blobs that only the image has; None, with a note, if it cannot."""
        if self.why_not:
            return None
        self.changed = True
        try:
            for blob in result.checkpoint.blobs:
                if blob not in self.blobs:
                    self.blobs.put_file(self.image.path(blob))
        except (IntegrityError, NotFoundError) as error:
            self.notes.append(f"the result of cell {result.checkpoint.cell} is not kept: {error}")
            return None
        except (OSError, StorageError) as error:
            self._cannot(error)
            return None
        sync_directory(self.blobs.root / "sha256")
        try:
            return self._files.write(result)
        except StorageError as error:
            self._cannot(error)
            return None

    def _cannot(self, error: Exception) -> None:
        self.why_not = f"results are not kept: {error}"
        self.notes.append(self.why_not)

    def used(self, kept: Kept) -> None:
        """It was restored: those used longest ago are removed first."""
        self._files.used(kept.path)

    def drop(self, kept: Kept) -> list[Digest]:
        """Forget a result that could not be restored, and its blobs that are corrupt (returned)."""
        self.changed = True
        self._files.remove(kept.path)
        corrupt = []
        for blob in kept.result.checkpoint.blobs:
            try:
                self.blobs.path(blob)
            except IntegrityError as error:
                corrupt.append(blob)
                self.notes.append(f"removed: {error}")
                remove_blob(self.blobs, blob)
            except (NbrwError, OSError) as error:  # nothing to remove
                self.notes.append(f"a kept result was dropped: {error}")
        return corrupt


@contextlib.contextmanager
def open_caller_store(
    scratch: Path, variables: Mapping[str, str] | None = None, hidden: str = ""
) -> Iterator[CallerStore]:
    """The caller's store, while the block lasts; then it is pruned, unless another repeat uses it.

    Where it cannot be used, blobs go below ``scratch`` and ``why_not`` says so. Opened before the
    process enters other namespaces, as directories that are made afterwards may not last.
    ``hidden`` is a directory in whose place another one will be seen there.
    """
    found = _prepared(variables, hidden)
    if isinstance(found, str):
        yield CallerStore(DirectoryStore(scratch / "kept" / "blobs"), found)
        return
    root, lock = found
    try:
        store = CallerStore(DirectoryStore(root / "blobs"))
        note = size_limit(0, 0, variables)[1]
        store.notes += [note] if note else []
        if lock.reach:
            _without_locks(store, root, lock.reach, variables)
        before = _stamp(root)
        yield store
        if (store.changed or _stamp(root) != before) and lock.make_exclusive():
            _tidy(root, variables)
    finally:
        lock.close()


def _prepared(variables: Mapping[str, str] | None, hidden: str) -> tuple[Path, CacheLock] | str:
    """The directory and its lock, or why there is none."""
    if size_limit(1 << 60, 0, variables)[0] == 0:
        return "results are not kept: NBRW_CACHE_SIZE is 0"
    try:
        root = results_root(variables)
        if hidden and os.path.realpath(root).startswith(os.path.join(hidden, "")):
            return (
                f"results are not kept: the cache {root} is below the author's working directory, "
                "whose place the work directory takes; name another with NBRW_CACHE_DIR"
            )
        return root, _opened(root)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        place = getattr(error, "filename", None) or "its directory"
        return f"results are not kept: the cache cannot be used ({place}: {reason}); {_REMEDY}"


def _opened(root: Path) -> CacheLock:
    """Make the directories and lock them. Raises OSError, also if they are not to be trusted."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat()
    # What is kept is executed when it is loaded.
    if os.geteuid() not in (0, status.st_uid) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(1, "others may write to it; make it yours alone", str(root))
    for name in ("blobs/sha256", "results"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if not os.access(root / "results", os.W_OK):
        raise PermissionError(13, "it cannot be written", str(root))
    try:
        return CacheLock(root / "lock")
    except TimeoutError as error:
        raise OSError(16, str(error), str(root)) from error


def _without_locks(
    store: CallerStore, root: Path, why: str, variables: Mapping[str, str] | None
) -> None:
    kept = usage(root)
    limit, _ = size_limit(_free(root), kept.size, variables)
    text = f"nothing is removed from {root}, as {why}"
    if kept.size > limit:
        store.why_not = (
            f"results are not kept: {text}, and it is full; when no repeat runs, delete it"
        )
        text = store.why_not
    store.notes.append(text)


def _tidy(root: Path, variables: Mapping[str, str] | None) -> None:
    with contextlib.suppress(OSError):
        size = blobs_size(root)  # quick to find out, and nearly all there is
        limit = size_limit(_free(root), size, variables)[0]
        if size > limit:
            prune(usage(root), limit)


def _free(root: Path) -> int:
    facts = os.statvfs(root)
    return facts.f_bavail * facts.f_frsize


def _stamp(root: Path) -> int:
    """Changes when a blob is stored."""
    return (root / "blobs" / "sha256").stat().st_mtime_ns
