"""Where all ways into Dask meet: tasks whose results are known are loaded, others are stored.

`Client._graph_to_futures` receives what submit, map, compute, persist and get are to do, of
delayed, bag, array and dataframe. There the graph is rewritten; the keys stay what they are. If
anything goes wrong, Dask gets what it would have got.
"""

from __future__ import annotations

import contextlib
import functools
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime import task_scatter, task_ship
from nbrw_runtime.dask_tasks import load_function
from nbrw_runtime.digest import Digest
from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter, Refusal
from nbrw_runtime.task_index import TaskIndex, has_changed
from nbrw_runtime.task_plan import TaskPlan, Unknown, plan_tasks
from nbrw_runtime.task_shuffle import without_shuffles

#: Keys of nbrw's own tasks begin so.
OWN_PREFIX = "nbrw-"
_METHOD = "_graph_to_futures"
_ELSEWHERE = "the client was given the address of its scheduler instead of the cluster"
_ASYNCHRONOUS = "the client is asynchronous, or used from its event loop (as joblib does)"
_HERE = "the workers are in the notebook's process, which may change their data"


@dataclass
class TaskCounts:
    """What became of a cell's tasks; ``misses`` are reasons why tasks ran, with their number."""

    loaded: int = 0
    run: int = 0
    needless: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    saved: float = 0.0  # seconds that the loaded tasks took

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "loaded": self.loaded,
            "run": self.run,
            "needless": self.needless,
            "misses": dict(self.misses.most_common()),
            "saved": round(self.saved, 3),
        }


class TaskCache:
    """The tasks of one kernel. ``index`` has what is known of them; None: all run, and are stored.

    ``root`` is the store that workers write to, ``spool`` a directory of this kernel's where they
    say so, ``software`` directories whose files are none of a task's inputs.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        directory: str,
        root: str,
        spool: str,
        software: Sequence[str],
        index: TaskIndex | None = None,
    ) -> None:
        self._fingerprinter = Fingerprinter(namespace, directory)
        self._root = root
        self._spool = spool
        self._software = tuple(software)
        self._index = index
        self._known: dict[Any, Fingerprint | Refusal] = {}
        self._sound: dict[Any, bool] = {}
        self._shipped: weakref.WeakSet[Any] = weakref.WeakSet()
        self.counts = TaskCounts()
        self.notes: list[str] = []
        self.is_local = False  # tasks of this cell ran in this process

    def start_cell(self) -> TaskCounts:
        """Count anew; returns what will have the counts."""
        self.counts = TaskCounts()
        return self.counts

    def restored(self, key: Any, digest: Digest, local: Digest) -> None:
        """A future of the author's came back, with the author's value."""
        self._known[key] = Fingerprint(digest, local, (), (), ())
        self._sound[key] = True

    def fingerprint_of(self, key: Any) -> Fingerprint | None:
        """That of a task of this kernel, if its result is the one that the fingerprint had before.

        (One that ran in a repeat may have come to something else, by chance.)
        """
        found = self._known.get(key)
        return found if isinstance(found, Fingerprint) and self._sound.get(key) else None

    def rewritten(self, client: Any, expr: Any, keys: Sequence[Any]) -> Any:
        """The same to Dask, with loads, and with tasks that store what they give."""
        from dask._task_spec import convert_legacy_graph

        if any(str(key).startswith(OWN_PREFIX) for key in keys) or not hasattr(expr, "_parameters"):
            return expr
        graph = convert_legacy_graph(dict(expr.__dask_graph__()))
        if len(graph) == 1 and any(_is_own(node) for node in graph.values()):
            return expr  # a future that is restored
        annotations = expr.__dask_annotations__() if hasattr(expr, "__dask_annotations__") else {}
        shuffles = without_shuffles(graph)
        found = self._fingerprinter.fingerprints(shuffles.graph, self._known)
        inputs = {key: list(node.dependencies) for key, node in graph.items()}
        passive = _passive(graph)
        plan = self._plan(keys, inputs, found, passive | shuffles.stateful)
        if client not in self._shipped:
            task_ship.ship(client, self._root, self._spool, self._software)
            self._shipped.add(client)
        new = self._nodes(graph, found, plan, shuffles.stateful)
        for key in new:
            self._known[key] = found[key]
            self._sound[key] = plan.sound.get(key, False) if self._index is not None else True
        self._count(graph, plan, passive)
        return _expression(new, annotations)

    def rewritten_local(
        self, graph: Mapping[Any, Any], keys: Sequence[Any]
    ) -> tuple[dict[Any, Any], Mapping[Any, Fingerprint | Refusal]]:
        """The graph of one of Dask's own schedulers, rewritten, and its tasks' fingerprints.

        There are no futures, and its keys mean nothing to any other graph.
        """
        task_ship.module().configure(*self.orders)
        found = self._fingerprinter.fingerprints(graph, {})
        inputs = {key: list(node.dependencies) for key, node in graph.items()}
        passive = _passive(graph)
        plan = self._plan(keys, inputs, found, passive)
        new = self._nodes(graph, found, plan, set())
        self._count(graph, plan, passive)
        self.is_local = True
        return new, found

    def scattered(self, data: Mapping[Any, Any]) -> None:
        """The notebook gave the cluster these data, by key."""
        from dask._task_spec import DataNode

        nodes = {key: DataNode(key, value) for key, value in data.items()}
        self._known.update(self._fingerprinter.fingerprints(nodes, {}))
        self._sound.update(dict.fromkeys(nodes, True))

    def changed_since(
        self, graph: Mapping[Any, Any], found: Mapping[Any, Fingerprint | Refusal]
    ) -> list[Any]:
        """Tasks of whose ingredients one is not what it was when the fingerprints were made."""
        now = self._fingerprinter.fingerprints(graph, {})
        return [key for key in graph if _text(now[key]) != _text(found[key])]

    @property
    def orders(self) -> tuple[str, str, tuple[str, ...]]:
        """What ``configure`` of `task_worker.py` is told."""
        return self._root, self._spool, self._software

    def _plan(
        self,
        keys: Sequence[Any],
        inputs: Mapping[Any, Sequence[Any]],
        found: Mapping[Any, Fingerprint | Refusal],
        passive: set[Any],
    ) -> TaskPlan:
        if self._index is None:
            return TaskPlan(run=list(inputs))
        texts = {key: _text(f) for key, f in found.items()}
        changed = functools.lru_cache(maxsize=None)(has_changed)  # (many tasks, the same files)
        return plan_tasks(keys, inputs, texts, self._index.find, changed, self._sound, passive)

    def _nodes(
        self,
        graph: Mapping[Any, Any],
        found: Mapping[Any, Fingerprint | Refusal],
        plan: TaskPlan,
        stateful: set[Any],
    ) -> dict[Any, Any]:
        from dask._task_spec import Dict, Task, TaskRef

        module = task_ship.module()
        new: dict[Any, Any] = {}
        for key, record in plan.load.items():
            assert self._index is not None
            new[key] = Task(key, module.load, self._index.place(record))
        for key in plan.run:
            node = new[key] = graph[key]
            mine = found[key]
            text = _text(mine)
            if self._index is not None or key in stateful:
                continue
            if isinstance(text, str) and type(node) is Task:
                ticket = (text, _label(key))
                values = Dict({other: TaskRef(other) for other in node.dependencies})
                new[key] = Task(key, module.run, ticket, module.Box(node), values)
        return new

    def _count(self, graph: Mapping[Any, Any], plan: TaskPlan, passive: set[Any]) -> None:
        counts = self.counts
        run = [key for key in plan.run if key not in passive]
        counts.loaded += len(plan.load)
        counts.run += len(run)
        counts.needless += len(graph.keys() - passive) - len(plan.load) - len(run)
        counts.saved += sum(record.seconds for record in plan.load.values())
        if self._index is not None:
            counts.misses.update(plan.misses(passive))

    def note(self, text: str) -> None:
        """Something went wrong; said once."""
        if text not in self.notes:
            self.notes.append(text)


def _expression(graph: dict[Any, Any], annotations: Mapping[str, Mapping[Any, Any]]) -> Any:
    from dask._expr import HLGExpr, LLGExpr

    if not annotations:
        # Without a token Dask would make one of the whole graph.
        return LLGExpr(graph, _determ_token=uuid.uuid4().hex)
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


def patch(client: type, cache_of: Callable[[], TaskCache | None]) -> None:
    """Have clients of this class ask a cache first; once is enough."""
    original: Callable[..., Any] = getattr(client, _METHOD)
    if hasattr(original, "_nbrw"):
        return

    @functools.wraps(original)
    def _graph_to_futures(self: Any, expr: Any, keys: Any, *args: Any, **options: Any) -> Any:
        cache = cache_of()
        keys = list(keys)
        new = expr
        if cache is not None and not options.get("actors"):
            try:
                reason = _why_not(self)
                if reason:
                    cache.note(f"results of tasks are not kept: {reason}")
                else:
                    new = cache.rewritten(self, expr, keys)
            except Exception as error:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")
        if new is expr:
            return original(self, expr, keys, *args, **options)
        with _without_warning():
            return original(self, new, keys, *args, **options)

    _graph_to_futures._nbrw = True  # type: ignore[attr-defined]
    setattr(client, _METHOD, _graph_to_futures)
    task_scatter.patch(client, cache_of)


def _why_not(client: Any) -> str:
    """Why a client's tasks are left alone; empty: its scheduler is in this process, where it finds
    our functions, one may wait for it, and what workers hold is theirs alone.
    """
    if client.asynchronous:
        return _ASYNCHRONOUS
    scheduler = getattr(getattr(client, "cluster", None), "scheduler", None)
    if type(scheduler).__name__ != "Scheduler":
        return _ELSEWHERE
    return _HERE if str(getattr(scheduler, "address", "")).startswith("inproc") else ""


@contextlib.contextmanager
def _without_warning() -> Iterator[None]:
    """A graph is larger when it is written out: the notebook must not be blamed for that."""
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        yield


def _is_own(node: Any) -> bool:
    return getattr(node, "func", None) is load_function()


def _passive(graph: Mapping[Any, Any]) -> set[Any]:
    from dask._task_spec import Alias, DataNode

    return {key for key, node in graph.items() if isinstance(node, (Alias, DataNode))}


def _text(found: Fingerprint | Refusal) -> str | Unknown:
    if isinstance(found, Refusal):
        return Unknown(found.reason)
    if found.outside:
        return Unknown(f"it takes {', '.join(found.outside)} from outside")
    return found.digest.hex


def _label(key: Any) -> str:
    from dask.utils import key_split

    return str(key_split(key))
