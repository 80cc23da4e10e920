"""P2P shuffles in a graph: what their tasks are, as far as results go.

A shuffle's transfers send data to other workers, a barrier waits for all of them, and then each
unpacks its part. Only the parts are results: a transfer that is loaded instead of run would send
nothing. For fingerprints the tasks are told by what goes in; the shuffle's id, which is another in
every process, is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACE = "<this shuffle>"


@dataclass
class Shuffles:
    """``graph`` is for fingerprints alone. ``stateful`` are the tasks that must not be stored."""

    graph: dict[Any, Any]
    stateful: set[Any] = field(default_factory=set)


def p2p_transfer(*arguments: Any) -> None:
    """Stands for a transfer."""


def p2p_barrier(*arguments: Any) -> None:
    """Stands for a barrier."""


def p2p_unpack(*arguments: Any) -> None:
    """Stands for the unpacking of a part."""


def without_shuffles(graph: Mapping[Any, Any]) -> Shuffles:
    """A graph in which the tasks of shuffles are ordinary ones."""
    found = Shuffles(dict(graph))
    barriers = [key for key, node in graph.items() if type(node).__name__ == "P2PBarrierTask"]
    if not barriers:
        return found
    from dask._task_spec import Task, TaskRef

    unpacked: dict[Any, list[Any]] = {key: [] for key in barriers}
    for key, node in graph.items():
        for barrier in unpacked:
            if barrier in node.dependencies:
                unpacked[barrier].append(key)
    for barrier in barriers:
        node = graph[barrier]
        number = str(node.spec.id)
        transfers = sorted(node.dependencies, key=_place)
        for key in transfers:
            found.graph[key] = _plain(key, graph[key], p2p_transfer, number)
        content = {
            spec.name: getattr(node.spec, spec.name)
            for spec in dataclasses.fields(node.spec)
            if spec.name != "id"
        }
        kind = f"{type(node.spec).__module__}.{type(node.spec).__qualname__}"
        found.graph[barrier] = Task(
            barrier, p2p_barrier, kind, content, *(TaskRef(key) for key in transfers)
        )
        for key in unpacked[barrier]:
            found.graph[key] = _plain(key, graph[key], p2p_unpack, number)
        found.stateful.update((barrier, *transfers))
    return found


def _plain(key: Any, node: Any, function: Any, number: str) -> Any:
    """A task with this function and the same arguments, but for the shuffle's id."""
    from dask._task_spec import Task

    if type(node) is not Task or node.kwargs.keys() - {"_data_producer"}:
        return node  # fused, or of another kind: its own functions are refused
    arguments = [_PLACE if str(arg) == number else arg for arg in node.args]
    module = f"{getattr(node.func, '__module__', '')}.{getattr(node.func, '__name__', '')}"
    return Task(key, function, module, *arguments)


def _place(key: Any) -> tuple[Any, ...]:
    return tuple(key[1:]) if isinstance(key, tuple) else (str(key),)
