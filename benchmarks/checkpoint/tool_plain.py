"""No tool at all; also what tools have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Tool:
    """One way of keeping a notebook's state. This one keeps nothing."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.place = place

    def attach(self, shell: Any, notebook: Any) -> None:
        """Before the first cell; hooks registered here are timed."""

    def after(self, shell: Any, number: int, cell: Any) -> None:
        """After each cell; timed."""

    def settle(self, number: int) -> None:
        """After that; not timed."""

    def finish(self, shell: Any) -> None:
        """After the last cell; timed."""

    def not_kept(self) -> list[str]:
        """What the tool said that it could not keep."""
        return []

    def stored(self) -> int:
        """Bytes kept for restoring the state after any cell."""
        return 0

    def prepare(self, shell: Any, notebook: Any) -> None:
        """Before a restore in a new process; not timed."""

    def restore(self, shell: Any, name: str) -> None:
        """Bring a name (empty: all) back into the namespace; timed."""
        raise NotImplementedError(self.name)

    def confirm(self, shell: Any) -> None:
        """Wait until it is sure that what came back is right; timed apart."""


def size_of(*places: Path) -> int:
    """The sizes of all files there, together."""
    found = [path for place in places for path in (place, *place.rglob("*"))]
    return sum(path.lstat().st_size for path in found if path.is_file())
