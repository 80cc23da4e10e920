"""Tasks that run in the notebook's own process can change what a cell would see.

A task may change an object of the notebook, and its result may share memory with one. In a repeat
neither would happen if the result were loaded, so what is found out here is never used again.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nbrw_runtime import task_ship
from nbrw_runtime.mutables import is_mutable

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache

_CHANGES = "it changes something outside: an object of the notebook that it uses"
_SHARES = "its result shares memory with an object of the notebook, or with another result"


class Guard:
    """Looks at the tasks of one graph after they ran. ``found`` are their fingerprints from before,
    ``stored`` the tickets of those whose results are stored.
    """

    def __init__(
        self,
        cache: TaskCache,
        graph: Mapping[Any, Any],
        found: Mapping[Any, Any],
        stored: Mapping[Any, Any],
    ) -> None:
        self._cache = cache
        self._graph = graph
        self._found = found
        self._stored = stored

    def look(self, keys: Any, values: Any) -> None:
        """Mark what must not be used again. ``values`` are the results of ``keys``."""
        try:
            for key in self._cache.changed_since(self._graph, self._found):
                self._mark(key, _CHANGES)
            for key in self._sharing(dict(_pairs(keys, values))):
                self._mark(key, _SHARES)
        except Exception as error:
            # Nobody knows then: not one of them is used again.
            for key in self._stored:
                self._mark(key, f"what it did was not found out: {type(error).__name__}: {error}")

    def _mark(self, key: Any, reason: str) -> None:
        while type(self._graph.get(key)).__name__ == "Alias":
            key = self._graph[key].target
        if key in self._stored:
            task_ship.module().note_unsafe(self._stored[key], reason)

    def _sharing(self, results: Mapping[Any, Any]) -> set[Any]:
        """The keys of results that share something mutable."""
        holders: dict[int, Any] = {}
        sharing: set[Any] = set()
        kept: list[Any] = []  # what is met stays, so that an id is one object's
        for key, value in results.items():
            for place in _places([value], kept):
                other = holders.setdefault(place, key)
                if other != key:
                    sharing |= {key, other}
        if holders:
            for place in _places(self._graph.values(), kept):
                if place in holders:
                    sharing.add(holders[place])
        return sharing


def _pairs(keys: Any, values: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(keys, list):
        yield keys, values
    elif values is not None:
        for key, value in zip(keys, values, strict=True):
            yield from _pairs(key, value)


def _places(values: Iterable[Any], kept: list[Any]) -> set[int]:
    """Ids of the mutable objects, and of the owners of memory, that one reaches from values."""
    found: set[int] = set()
    pickler = _pickler(found, kept)
    for value in values:
        try:
            pickler.dump(value)
        except Exception:
            continue  # it was met as far as pickle takes it; such a result is not stored
    for identity, (_, obj) in pickler.memo.copy().items():
        kept.append(obj)
        if is_mutable(obj) and not type(obj).__module__.startswith("dask."):
            found.add(identity)
    return found


def _pickler(found: set[int], kept: list[Any]) -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            owner = _owner(obj)
            if owner is not None:
                found.add(id(owner))
                kept.append(owner)
                if not obj.dtype.hasobject:
                    return int, ()  # its content does not matter
            return super().reducer_override(obj)

    return Pickler(io.BytesIO(), protocol=5)


def _owner(obj: Any) -> Any:
    """The object whose memory an array uses."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(obj, numpy.ndarray):
        return None
    while getattr(obj, "base", None) is not None:
        obj = obj.base
    return obj
