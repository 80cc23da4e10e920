"""Graphs of Dask's: what is in them, and one made anew."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.dask_tasks import load_function

_PROCESS, _numbers = uuid.uuid4().hex, itertools.count()


def expression(graph: dict[Any, Any], annotations: Mapping[str, Mapping[Any, Any]]) -> Any:
    """What Dask's clients are given: this graph, with annotations by name and key."""
    from dask._expr import HLGExpr, LLGExpr

    if not annotations:
        # Without a token Dask would make one of the whole graph.
        return LLGExpr(graph, _determ_token=f"{_PROCESS}-{next(_numbers)}")
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    groups: dict[tuple[tuple[str, str], ...], dict[Any, Any]] = {}
    values: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for key, node in graph.items():
        mine = {name: by_key[key] for name, by_key in annotations.items() if key in by_key}
        kind = tuple(sorted((name, repr(value)) for name, value in mine.items()))
        groups.setdefault(kind, {})[key] = node
        values[kind] = mine
    names = {kind: f"nbrw-layer-{number}" for number, kind in enumerate(groups)}
    layer_of = {key: names[kind] for kind, nodes in groups.items() for key in nodes}
    layers = {
        names[kind]: MaterializedLayer(nodes, annotations=values[kind] or None)
        for kind, nodes in groups.items()
    }
    dependencies = {
        names[kind]: {
            layer_of[other]
            for node in nodes.values()
            for other in node.dependencies
            if other in layer_of and layer_of[other] != names[kind]
        }
        for kind, nodes in groups.items()
    }
    return HLGExpr(HighLevelGraph(layers, dependencies))


def is_own(node: Any) -> bool:
    """Whether a node loads the value of a restored future."""
    return getattr(node, "func", None) is load_function()


def passive_keys(graph: Mapping[Any, Any]) -> set[Any]:
    """The keys that stand for data or another key."""
    from dask._task_spec import Alias, DataNode

    return {key for key, node in graph.items() if isinstance(node, (Alias, DataNode))}


def target(key: Any, graph: Mapping[Any, Any]) -> Any:
    """What a key stands for."""
    from dask._task_spec import Alias

    while isinstance(graph.get(key), Alias):
        key = graph[key].target
    return key


def label(key: Any) -> str:
    """What Dask calls tasks with such a key."""
    from dask.utils import key_split

    return str(key_split(key))
