"""The kinds of things that nbrw keeps: what each holds, how it is made smaller and checked.

Results of repeats are the kind that images know; the builder adds its own (`cache_kinds` there).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from nbrw_runtime.cache_lock import CacheLock
from nbrw_runtime.cache_place import results_root, size_limit
from nbrw_runtime.cache_report import CacheItem, Removed
from nbrw_runtime.cache_usage import KeptResult, Usage, check, prune, usage
from nbrw_runtime.errors import StorageError


class CacheKind(Protocol):
    """One kind. ``prune`` removes what was used longest ago until ``limit`` bytes are left (None:
    the usual limit), and what was not used for ``longest`` seconds; nothing that is in use.
    ``check`` reads what has digests, removes what is corrupt, and has a sentence for each.
    Raises StorageError where something cannot be removed or read at all.
    """

    @property
    def name(self) -> str: ...

    def items(self) -> list[CacheItem]: ...

    def prune(self, limit: int | None = None, longest: float | None = None) -> Removed: ...

    def check(self) -> list[str]: ...


class Results:
    """Results of repeats."""

    name = "results"

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = variables
        self.root = results_root(variables)

    def items(self) -> list[CacheItem]:
        """One for each notebook and environment; what nothing names, and what is spoilt, apart."""
        found = usage(self.root)
        groups: dict[tuple[str, str], list[KeptResult]] = {}
        for kept in found.results:
            result = kept.kept.result
            groups.setdefault((result.title, result.environment.hex[:8]), []).append(kept)
        items = [
            CacheItem(
                self.name,
                f"{title or 'a notebook'} ({environment})",
                found.size_of(group),
                max(kept.used for kept in group),
                len(group),
            )
            for (title, environment), group in groups.items()
        ]
        return items + self._rest(found)

    def _rest(self, found: Usage) -> list[CacheItem]:
        unneeded = set(found.blobs) - found.needed()
        parts = len(unneeded) + len(found.spoilt) + len(found.foreign) + len(found.unfinished)
        if not parts:
            return []
        size = sum(found.blobs[blob] for blob in unneeded)
        return [CacheItem(self.name, "what no result needs (yet)", size, parts=parts)]

    def prune(self, limit: int | None = None, longest: float | None = None) -> Removed:
        """See :class:`CacheKind`."""
        if not self.root.is_dir():
            return Removed(self.name)
        lock = self._lock()
        try:
            if not lock.make_exclusive():
                why = lock.reach or "a repeat is at work"
                return Removed(self.name, skipped=f"nothing is removed from {self.root}: {why}")
            found = usage(self.root)
            if limit is None:
                facts = os.statvfs(self.root)
                free = facts.f_bavail * facts.f_frsize
                limit = size_limit(free, found.size, self._variables)[0]
            done = prune(found, limit, longest)
            return Removed(self.name, done.results, done.size)
        finally:
            lock.close()

    def check(self) -> list[str]:
        """See :class:`CacheKind`."""
        if not self.root.is_dir():
            return []
        lock = self._lock()
        try:
            return check(usage(self.root))
        finally:
            lock.close()

    def _lock(self) -> CacheLock:
        try:
            return CacheLock(self.root / "lock")
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                f"lock {self.root}: {reason}; wait for the programs that use it, or make it yours"
            ) from error


def to_go(
    items: Iterable[tuple[float, int, Path]], limit: int, longest: float | None
) -> list[tuple[int, Path]]:
    """Of things (used, size, path) those that go, used longest ago first, with their sizes."""
    found = sorted(items)
    left = sum(size for _, size, _ in found)
    oldest = None if longest is None else time.time() - longest
    going = []
    for used, size, path in found:
        if left <= limit and (oldest is None or used >= oldest):
            break
        going.append((size, path))
        left -= size
    return going
