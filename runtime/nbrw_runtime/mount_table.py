"""``/proc/self/mountinfo``, as proc(5) describes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_CODES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


@dataclass(frozen=True)
class Mount:
    """One mount: what directory ``root`` of which ``device`` is seen at ``point``, the ``kind`` of
    its file system, and the ``options`` of both."""

    point: str
    root: str
    device: str
    kind: str
    options: tuple[str, ...]


def read_mounts(text: str) -> list[Mount]:
    """All mounts, in order: of two on one point the later one is seen."""
    found = []
    for line in text.splitlines():
        first, _, second = line.partition(" - ")
        head, tail = first.split(" "), second.split(" ")
        if len(head) >= 6 and len(tail) >= 3:
            options = (*head[5].split(","), *tail[2].split(","))
            found.append(Mount(_plain(head[4]), _plain(head[3]), head[2], tail[0], options))
    return found


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that a real path is on."""
    best = None
    for mount in mounts:
        if is_below(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_below(path: str, top: str) -> bool:
    """Whether a path is ``top`` or lies below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def _plain(text: str) -> str:
    for code, mark in _CODES:
        text = text.replace(code, mark)
    return text
