"""Which names are in an audit's kernel, and which a cell that runs needs beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.notebook import Cell
from nbrw_runtime.walk import Walk


class KernelNames:
    """Follows a walk. ``everything``: a cell needs all names that there are."""

    def __init__(self, walk: Walk, everything: bool = False) -> None:
        self._walk = walk
        self._everything = everything
        self._live: dict[str, str] = {}  # names in the kernel -> the version they are there in
        self._restored: dict[int, Checkpoint] = {}  # cell of a former audit -> what it is now
        self._imports = 0

    def restored(self, audited: int, checkpoint: Checkpoint) -> None:
        """A cell was restored: from now on its names can be had from this checkpoint."""
        self._restored[audited] = checkpoint

    def is_hidden(self, name: str) -> bool:
        """Whether a name that the kernel does not have could have been brought back."""
        return name in self._walk.now.sources and name not in self._live and not self._everything

    def request(self, cell: Cell) -> dict[str, Any]:
        """What must be there, in its present version, before the cell runs, and what must go."""
        now = self._walk.now
        wanted: dict[int, set[str]] = {}
        coming: set[str] = set()
        for name in set(now.sources) if self._everything else self._walk.needed(cell):
            audited, stored = now.sources[name]
            if self._live.get(name) == now.names[name]:
                continue
            # With all that shares its objects.
            coming.update(n for n in stored.names if now.sources.get(n) == (audited, stored))
            checkpoint = self._restored[audited]
            same = {
                other
                for found in checkpoint.objects
                if found.blob == stored.blob and name in found.names
                for other in found.names
                if other not in now.names or now.sources.get(other) == (audited, stored)
            }
            wanted.setdefault(checkpoint.cell, set()).update(same)
        drop = sorted(
            name
            for name, version in self._live.items()
            if now.names.get(name) != version and name not in coming
        )
        for name in drop:
            del self._live[name]
        self._live.update({name: now.names[name] for name in coming})
        sources = self._walk.imports[self._imports :]
        self._imports = len(self._walk.imports)
        return {
            "wanted": {str(number): sorted(names) for number, names in sorted(wanted.items())},
            "drop": drop,
            "sources": sources,
        }

    def ran(self, checkpoint: Checkpoint) -> None:
        """A cell was executed, and left this."""
        now = self._walk.now.names
        left: Iterable[str] = (
            *(name for stored in checkpoint.objects for name in stored.names),
            *(omitted.name for omitted in checkpoint.omitted),
        )
        self._live.update({name: now[name] for name in left if name in now})
        for name in checkpoint.deleted:
            self._live.pop(name, None)
