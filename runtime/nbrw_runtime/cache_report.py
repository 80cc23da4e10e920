"""What the `cache` commands say, for people and programs: format ``nbrw.cache``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.records import to_json
from nbrw_runtime.units import human_size

CACHE_VERSION = 1
_UNITS = ((604800.0, "weeks"), (86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


@dataclass(frozen=True)
class CacheItem:
    """A line for the user: ``size`` in bytes, ``used`` in seconds since the epoch, (0: not
    known), of how many ``parts`` it consists, and whether somebody uses it now."""

    kind: str
    name: str
    size: int
    used: float = 0.0
    parts: int = 1
    busy: bool = False


@dataclass(frozen=True)
class Removed:
    """What a pruning removed, and why not more."""

    kind: str
    items: int = 0
    size: int = 0
    skipped: str = ""


def as_json(path: str, **parts: Iterable[Any]) -> dict[str, Any]:
    """The document; sizes in bytes, ``used`` in seconds since the epoch (left out: not known)."""
    values = {name: [to_json(part) for part in found] for name, found in parts.items()}
    return {"format": "nbrw.cache", "version": CACHE_VERSION, "path": path, **values}


def rows(items: Sequence[CacheItem], now: float) -> list[tuple[str, str, str, str, str]]:
    """A table of items: kind, name, parts, size, used; its head first."""
    found = [("kind", "name", "parts", "size", "used")]
    for item in sorted(items, key=lambda item: (item.kind, -item.used, item.name)):
        used = "now" if item.busy else age(now - item.used) if item.used else ""
        found.append((item.kind, item.name, str(item.parts), human_size(item.size), used))
    return found


def total(items: Sequence[CacheItem], path: str) -> str:
    """The line below the table."""
    size = human_size(sum(item.size for item in items))
    return f"{size} in {path}" if items else f"nothing is kept in {path}"


def list_text(items: Sequence[CacheItem], path: str, now: float) -> str:
    """The table as plain text."""
    if not items:
        return total(items, path)
    table = rows(items, now)
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    lines = []
    for row in table:
        cells = [
            text.rjust(width) if column in (2, 3) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, total(items, path)])


def removed_text(removed: Sequence[Removed]) -> str:
    """What a pruning did, a line for each kind that it did something to."""
    lines = [
        f"{done.kind}: removed {done.items}, {human_size(done.size)}"
        for done in removed
        if done.items or done.size
    ]
    lines += [f"{done.kind}: {done.skipped}" for done in removed if done.skipped]
    return "\n".join(lines) or "nothing to remove"


def checked_text(said: Sequence[str]) -> str:
    """What a check found."""
    return "\n".join(said) or "all digests hold"


def age(seconds: float) -> str:
    """A time that has passed, in one unit."""
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
