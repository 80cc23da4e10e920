"""Where all ways into Dask meet: tasks whose results are known are loaded, others are stored.

`Client._graph_to_futures` receives what submit, map, compute, persist and get are to do, of
delayed, bag, array and dataframe. There the graph is rewritten; the keys stay what they are. If
anything goes wrong, Dask gets what it would have got.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime import dask_doze, task_scatter, task_ship, task_virtual
from nbrw_runtime.dask_tasks import load_function
from nbrw_runtime.digest import Digest
from nbrw_runtime.notebook_classes import NotebookClasses
from nbrw_runtime.task_cutoff import DATA, Facts, candidates
from nbrw_runtime.task_explain import Explained, Explainer
from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter, Refusal
from nbrw_runtime.task_index import TaskIndex, has_changed
from nbrw_runtime.task_plan import TaskPlan, Unknown, plan_tasks, why_not_valid
from nbrw_runtime.task_reasons import classes
from nbrw_runtime.task_shuffle import without_shuffles
from nbrw_runtime.task_virtual import Load

#: Keys of nbrw's own tasks begin so.
OWN_PREFIX = "nbrw-"
_LOAD_PREFIX = "nbrw-load-"
_PROCESS, _numbers = uuid.uuid4().hex, itertools.count()
_CANDIDATES = 4  # results that a task may turn out to have
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
    same: int = 0  # of those loaded: their inputs ran, and came to what they were
    bytes: int = 0  # of the results that were known to be loaded before any task ran
    explained: Explained = field(default_factory=Explained)

    def spare(self, reason: str, seconds: float) -> None:
        """A task that was to run for this reason was loaded instead."""
        self.same += 1
        self.loaded += 1
        self.run -= 1
        self.misses[reason] -= 1
        self.saved += seconds

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "loaded": self.loaded,
            "run": self.run,
            "needless": self.needless,
            "same": self.same,
            "misses": classes({why: n for why, n in self.misses.items() if n > 0}),
            "saved": round(self.saved, 3),
            "bytes": self.bytes,
            **self.explained.as_json(),
        }


@dataclass
class Rewritten:
    """What is left for Dask: a graph (None: nothing), and the keys wanted of it; the rest of the
    keys are known: ``virtual`` has how to load them. ``tasks`` are the keys of the graph.
    """

    expr: Any
    keys: list[Any]
    tasks: list[Any]
    virtual: dict[Any, Load]


@dataclass(frozen=True)
class Job:
    """A graph, what is known of its tasks, and what becomes of them."""

    graph: Mapping[Any, Any]
    found: Mapping[Any, Fingerprint | Refusal]
    plan: TaskPlan
    stateful: set[Any]
    inputs: Mapping[Any, Sequence[Any]]


class TaskCache:
    """The tasks of one kernel. ``index`` has what is known of them; None: all run.

    ``root`` is the store that workers write to, ``spool`` a directory of this kernel's where they
    say so, ``software`` directories whose files are none of a task's inputs. ``keeps``: the results
    of tasks that run are stored.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        directory: str,
        root: str,
        spool: str,
        software: Sequence[str],
        index: TaskIndex | None = None,
        keeps: bool = True,
    ) -> None:
        self._fingerprinter = Fingerprinter(namespace, directory)
        self._orders = (root, spool, tuple(software))
        self.index = index
        self._keeps = keeps
        self._known: dict[Any, Fingerprint | Refusal] = {}
        self._sound: dict[Any, bool] = {}
        self._shipped: weakref.WeakSet[Any] = weakref.WeakSet()
        self._facts: dict[str, Facts] = {}
        self._doubtful: dict[str, tuple[str, str]] = {}  # tasks that may be spared: label, reason
        self.explainer = Explainer(
            self._fingerprinter.ingredients, index.records if index else tuple, time.thread_time
        )
        self.counts = self.start_cell()
        self.notes: list[str] = []
        self.is_local = False  # tasks of this cell ran in this process
        self.classes = NotebookClasses(namespace, self._fingerprinter.of_class)
        if index is not None:
            index.foreign = self.classes.why_not

    def start_cell(self) -> TaskCounts:
        """Count anew; returns what will have the counts."""
        self.counts = TaskCounts(explained=self.explainer.start_cell())
        return self.counts

    def facts(self) -> dict[str, Facts]:
        """What is known of the tasks that ran since the last call, by fingerprint."""
        found, self._facts = self._facts, {}
        return found

    def spare(self, tasks: dict[str, float]) -> None:
        """These tasks did not run; the dictionary is emptied."""
        for text, seconds in tasks.items():
            label, reason = self._doubtful.get(text, ("", ""))
            self.counts.spare(reason, seconds)
            self.explainer.spared(label, reason)
        tasks.clear()
        self._doubtful.clear()

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

    def ship(self, client: Any) -> None:
        """Have a client's workers know our functions, also those that are yet to come."""
        if client not in self._shipped:
            task_ship.ship(client, *self._orders)
            self._shipped.add(client)

    def prepare(self, client: Any) -> None:
        """Tasks of ours are about to go to a cluster."""
        self.ship(client)
        dask_doze.start(client.cluster)

    def rewritten(self, client: Any, expr: Any, keys: Sequence[Any]) -> Rewritten | None:
        """The same, with loads, and with tasks that store what they give; None: as it is."""
        from dask._task_spec import convert_legacy_graph

        if any(str(key).startswith(OWN_PREFIX) for key in keys) or not hasattr(expr, "_parameters"):
            return None
        graph = convert_legacy_graph(dict(expr.__dask_graph__()))
        if len(graph) == 1 and any(_is_own(node) for node in graph.values()):
            return None  # a future that is restored
        annotations = expr.__dask_annotations__() if hasattr(expr, "__dask_annotations__") else {}
        for key in task_virtual.loads_of(client, graph):
            del graph[key]  # as Dask does not compute anew what it has
        shuffles = without_shuffles(graph)
        found = self._fingerprinter.fingerprints(shuffles.graph, self._known)
        inputs = {key: list(node.dependencies) for key, node in graph.items()}
        loads = task_virtual.loads_of(client, {*keys, *itertools.chain(*inputs.values())})
        passive = _passive(graph)
        plan = self._plan(keys, inputs, found, passive | shuffles.stateful)
        job = Job(graph, found, plan, shuffles.stateful, inputs)
        if self.index is not None:
            place = task_ship.module().load
            loads.update(
                (key, Load(place, (self.index.place(record),), record.fingerprint))
                for key, record in plan.load.items()
            )
        virtual = self._virtual(client, keys, graph, loads)
        left = [key for key in keys if key not in virtual]
        new = self._nodes(job, left, loads)
        for key in (*plan.run, *plan.load):
            self._known[key] = found[key]
            self._sound[key] = plan.sound.get(key, False) if self.index is not None else True
        self._count(graph, plan, passive)
        return Rewritten(_expression(new, annotations) if left else None, left, list(new), virtual)

    def rewritten_local(
        self, graph: Mapping[Any, Any], keys: Sequence[Any]
    ) -> tuple[dict[Any, Any], Mapping[Any, Fingerprint | Refusal]]:
        """The graph of one of Dask's own schedulers, rewritten, and its tasks' fingerprints.

        There are no futures, and its keys mean nothing to any other graph.
        """
        from dask._task_spec import Dict, Task, TaskRef

        module = task_ship.module()
        module.configure(*self.orders)
        found = self._fingerprinter.fingerprints(graph, {})
        inputs = {key: list(node.dependencies) for key, node in graph.items()}
        passive = _passive(graph)
        plan = self._plan(keys, inputs, found, passive)
        job = Job(graph, found, plan, set(), inputs)
        new: dict[Any, Any] = {}
        for key, record in plan.load.items():
            assert self.index is not None
            new[key] = Task(key, module.load, self.index.place(record))
        for key in plan.run:
            new[key] = graph[key]
            # In a repeat the watch cannot tell what such tasks do from what the kernel does.
            made = self._wrapped(job, key, False) if self.index is None else None
            if made is not None:
                values = Dict({other: TaskRef(other) for other in inputs[key]})
                new[key] = Task(key, *made, module.Box(graph[key]), values)
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
        return self._orders

    def _plan(
        self,
        keys: Sequence[Any],
        inputs: Mapping[Any, Sequence[Any]],
        found: Mapping[Any, Fingerprint | Refusal],
        passive: set[Any],
    ) -> TaskPlan:
        index = self.index
        if index is None:
            return TaskPlan(run=list(inputs))
        texts = {key: _text(f) for key, f in found.items()}
        changed = functools.lru_cache(maxsize=None)(has_changed)  # (many tasks, the same files)
        return plan_tasks(
            keys, inputs, texts, index.find, changed, self._sound, passive, index.lost
        )

    def _virtual(
        self, client: Any, keys: Sequence[Any], graph: Mapping[Any, Any], loads: Mapping[Any, Load]
    ) -> dict[Any, Load]:
        """Those that are known, and that the cluster need not have."""
        if self.index is None or not task_virtual.can_have(client):
            return {}
        known = task_virtual.loads_of(client, keys)
        virtual = {}
        for key in keys:
            load = loads.get(_target(key, graph))
            if load is not None and (key in known or key not in client.futures):
                virtual[key] = load
        return virtual

    def _nodes(self, job: Job, keys: Sequence[Any], loads: Mapping[Any, Load]) -> dict[Any, Any]:
        """The graph that gives ``keys``. What is loaded for other tasks has a name of its own."""
        from dask._task_spec import Dict, Task, TaskRef

        new: dict[Any, Any] = {}
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key in new:
                continue
            if key in loads:
                new[key] = loads[key].task(key)
                continue
            if key not in job.graph:
                continue  # a future
            node = job.graph[key]
            made = self._wrapped(job, key, not loads.keys().isdisjoint(job.inputs[key]))
            if made is None:
                new[key] = node
                todo += job.inputs[key]
                continue
            mine = {}
            for other in job.inputs[key]:
                name = other
                if other in loads:
                    name = _LOAD_PREFIX + loads[other].name[:32]
                    new[name] = loads[other].task(name)
                else:
                    todo.append(other)
                mine[other] = TaskRef(name)
            function, ticket, *more = made
            new[key] = Task(key, function, ticket, task_ship.module().Box(node), Dict(mine), *more)
        return new

    def _wrapped(self, job: Job, key: Any, renamed: bool) -> tuple[Any, ...] | None:
        """What runs around a task: a function, a ticket, and more; None: nothing."""
        from dask._task_spec import Task

        if type(job.graph[key]) is not Task or key in job.stateful:
            return None
        found, module = job.found[key], task_ship.module()
        text = _text(found)
        ticket, places = ("", ""), []
        if isinstance(text, str) and isinstance(found, Fingerprint):
            if self._keeps:
                inputs = tuple(self._input(other, job) for other in found.inputs)
                self._facts[text] = Facts(found.local.hex, inputs)
                ticket = (text, _label(key))
                if self.index is None:
                    self.explainer.note(ticket[1], text, job.graph[key], job.graph)
            if self.index is not None:
                places = self._candidates(self.index, job, found)
        if places:
            self._doubtful[str(text)] = (_label(key), job.plan.reasons[key])
            return module.run_unless, ticket, places
        return (module.run, ticket) if ticket[0] or renamed else None

    def _input(self, key: Any, job: Job) -> str:
        """The fingerprint of an input, as a record has it."""
        from dask._task_spec import DataNode

        found = job.found.get(key) or self._known[key]
        assert isinstance(found, Fingerprint)
        return DATA * isinstance(job.graph.get(key), DataNode) + found.digest.hex

    def _candidates(self, index: TaskIndex, job: Job, found: Fingerprint) -> list[tuple[Any, ...]]:
        """Results that are a task's if its inputs come to the same: see `task_cutoff.py`."""
        records = index.like(found.local.hex) if found.inputs else []
        if not records:
            return []
        contents = []
        for other in found.inputs:
            text = self._input(other, job)
            if not text.startswith(DATA):
                text = index.content(text) if other in job.plan.load else ""
            contents.append((other, text))
        places: list[tuple[Any, ...]] = []
        for candidate in candidates(records, contents, index.content):
            record = candidate.record
            if not why_not_valid(record, has_changed) and not index.lost(record):
                places.append((dict(candidate.expected), index.place(record), record.fingerprint))
            if len(places) == _CANDIDATES:
                break
        return places

    def _count(self, graph: Mapping[Any, Any], plan: TaskPlan, passive: set[Any]) -> None:
        counts = self.counts
        run = [key for key in plan.run if key not in passive]
        counts.loaded += len(plan.load)
        counts.run += len(run)
        counts.needless += len(graph.keys() - passive) - len(plan.load) - len(run)
        counts.saved += sum(record.seconds for record in plan.load.values())
        if self.index is not None:
            counts.misses.update(plan.misses(passive))
            counts.bytes += sum(record.size for record in plan.load.values())
            self._explain(graph, plan, run, graph.keys() - passive - plan.load.keys() - set(run))

    def _explain(
        self, graph: Mapping[Any, Any], plan: TaskPlan, run: Sequence[Any], needless: set[Any]
    ) -> None:
        for key in plan.load:
            self.explainer.loaded(_label(key))
        for key in needless:
            self.explainer.needless(_label(key))
        for key in run:
            found = self._known.get(key)
            text = found.digest.hex if self._keeps and isinstance(found, Fingerprint) else ""
            self.explainer.ran(_label(key), plan.reasons[key], graph[key], graph, text)

    def all_notes(self) -> list[str]:
        """What went wrong, each said once."""
        return [*self.notes, *(self.index.notes if self.index is not None else ())]

    def note(self, text: str) -> None:
        """Something went wrong; said once."""
        if text not in self.notes:
            self.notes.append(text)


def _expression(graph: dict[Any, Any], annotations: Mapping[str, Mapping[Any, Any]]) -> Any:
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


def patch(client: type, cache_of: Callable[[], TaskCache | None]) -> None:
    """Have clients of this class ask a cache first; once is enough."""
    original: Callable[..., Any] = getattr(client, _METHOD)
    if hasattr(original, "_nbrw"):
        return

    def submit(self: Any, graph: dict[Any, Any]) -> Any:
        cache = cache_of()
        if cache is not None:
            cache.prepare(self)
        with _without_warning():
            return original(self, _expression(graph, {}), list(graph), {"collections": []})

    @functools.wraps(original)
    def _graph_to_futures(self: Any, expr: Any, keys: Any, *args: Any, **options: Any) -> Any:
        cache = cache_of()
        keys = list(keys)
        new = None
        if cache is not None and not options.get("actors"):
            try:
                reason = _why_not(self)
                if reason:
                    cache.note(f"results of tasks are not kept: {reason}")
                else:
                    new = cache.rewritten(self, expr, keys)
            except Exception as error:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")
        if new is None:
            if self.cluster is not None:
                dask_doze.start(self.cluster)
            task_virtual.materialise(self, task_virtual.loads_of(self))
            return original(self, expr, keys, *args, **options)
        assert cache is not None
        made = {}
        if new.expr is not None:
            cache.prepare(self)
            order = options.get("internal_priority")
            if order is not None:  # it has all tasks, and Dask knows of no others
                first = min(order.values(), default=0)
                options["internal_priority"] = dict.fromkeys(new.tasks, first) | order
            with _without_warning():
                made = original(self, new.expr, new.keys, *args, **options)
        return made | task_virtual.futures(self, new.virtual)

    _graph_to_futures._nbrw = True  # type: ignore[attr-defined]
    setattr(client, _METHOD, _graph_to_futures)
    setattr(client, task_virtual.SUBMIT, submit)
    start = client.__init__  # type: ignore[misc]

    @functools.wraps(start)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        start(self, *args, **options)
        cache = cache_of()
        # Now, as nobody may wait for the event loop later on, with the client's lock held.
        if cache is not None and not _why_not(self) and self.status == "running":
            try:
                cache.ship(self)
            except Exception as error:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")

    client.__init__ = __init__  # type: ignore[misc]
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


def _target(key: Any, graph: Mapping[Any, Any]) -> Any:
    """What a key stands for."""
    from dask._task_spec import Alias

    while isinstance(graph.get(key), Alias):
        key = graph[key].target
    return key


def _text(found: Fingerprint | Refusal) -> str | Unknown:
    if isinstance(found, Refusal):
        return Unknown(found.reason)
    if found.outside:
        return Unknown(f"it takes {', '.join(found.outside)} from outside")
    return found.digest.hex


def _label(key: Any) -> str:
    from dask.utils import key_split

    return str(key_split(key))
