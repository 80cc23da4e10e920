"""Graphs are rewritten: tasks whose results are known are loaded, others are stored.

Keys stay what they are. `task_client.py` and `task_local.py` are where graphs come from.
"""

from __future__ import annotations

import functools
import itertools
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbrw_runtime import dask_doze, task_ship, task_told, task_virtual
from nbrw_runtime.digest import Digest
from nbrw_runtime.gc_paused import gc_paused
from nbrw_runtime.notebook_classes import NotebookClasses
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.task_carrier import NotShipped, TaskCarrier
from nbrw_runtime.task_counts import TaskCounts
from nbrw_runtime.task_cutoff import Facts
from nbrw_runtime.task_explain import Explainer
from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter, Refusal
from nbrw_runtime.task_graph import expression, is_own, label, passive_keys, target
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_job import Job, Rewritten, is_coroutine
from nbrw_runtime.task_place import Start
from nbrw_runtime.task_placement import possible_annotations
from nbrw_runtime.task_plan import TaskPlan, plan_tasks
from nbrw_runtime.task_record import TaskRecord
from nbrw_runtime.task_refused import Refused
from nbrw_runtime.task_settings import settings_digest
from nbrw_runtime.task_shuffle import without_shuffles
from nbrw_runtime.task_virtual import Load
from nbrw_runtime.task_worker import has_changed
from nbrw_runtime.task_wrap import TaskWrapper, text_of

#: Keys of nbrw's own tasks begin so.
OWN_PREFIX = "nbrw-"
_UNSEEN = "nobody saw what its key stands for"
_TAKEN = "its key was that of another task before"
_COROUTINE = "it is a coroutine, of which nobody sees what it reads"


class TaskCache:
    """The tasks of one kernel. ``index`` has what is known of them; None: all run.

    ``root`` is the store that workers write to, ``spool`` a directory of this kernel's where they
    say so, ``software`` directories whose files are none of a task's inputs. ``keeps``: the results
    of tasks that run are stored. ``start`` is where the kernel began.
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
        start: Start | None = None,
    ) -> None:
        self._fingerprinter = Fingerprinter(namespace, directory, start)
        self._orders = (root, spool, tuple(software))
        self.index = index
        self._keeps = keeps
        self._known: dict[Any, Fingerprint | Refusal] = {}
        self._sound: dict[Any, bool] = {}
        self.carrier: TaskCarrier | None = None
        self._shipped: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._refused: dict[str, str] = {}  # by the ids of schedulers
        self._told: dict[str, task_told.Told] = {}  # likewise
        self._around = ""  # what the tasks that are looked at may depend on beside all else
        self.explainer = Explainer(
            self._ingredients, index.records if index else tuple, time.thread_time
        )
        self.counts = self.start_cell()
        self.notes: list[str] = []
        self.is_local = False  # tasks of this cell ran in this process
        self.classes = NotebookClasses(namespace, self._fingerprinter.of_class)
        if index is not None:
            index.foreign = self.classes.why_not
        self._wrapper = TaskWrapper(index, keeps, spool, self._known, self.explainer)

    def carry(self, store: DirectoryStore) -> None:
        """Fetch what workers elsewhere store; ``store`` is the one that workers write to."""
        digest_of = self._fingerprinter.digest_of_module
        self.carrier = TaskCarrier(store, self._orders, digest_of, self.note)

    def start_cell(self) -> TaskCounts:
        """Count anew; returns what will have the counts."""
        self.counts = TaskCounts(explained=self.explainer.start_cell())
        return self.counts

    def facts(self) -> dict[str, Facts]:
        """What is known of the tasks that ran since the last call, by fingerprint."""
        return self._wrapper.facts()

    def spare(self, tasks: dict[str, float]) -> None:
        """These tasks did not run; the dictionary is emptied."""
        doubtful = self._wrapper.doubtful()
        for text, seconds in tasks.items():
            label, reason = doubtful.get(text, ("", ""))
            self.counts.spare(reason, seconds)
            self.explainer.spared(label, reason)
        tasks.clear()

    def restored(self, key: Any, digest: Digest, local: Digest) -> None:
        """A future of the author's came back, with the author's value."""
        self._known[key] = Fingerprint(digest, local, (), (), ())
        self._sound[key] = True

    def forget(self, keys: Iterable[Any]) -> None:
        """These keys stand for what nobody looked at."""
        for key in keys:
            if not is_ours(key):
                self._known[key] = Refusal(_UNSEEN)
                self._sound.pop(key, None)

    def fingerprint_of(self, key: Any) -> Fingerprint | None:
        """That of a task of this kernel, if its result is the one that the fingerprint had before.

        (One that ran in a repeat may have come to something else, by chance.)
        """
        found = self._known.get(key)
        return found if isinstance(found, Fingerprint) and self._sound.get(key) else None

    def ship(self, client: Any) -> None:
        """Have a client's workers know our functions, also those that are yet to come."""
        if not self.is_shipped(client):
            if self.carrier is not None and not is_own_cluster(client):
                self.carrier.ship(client)
            else:
                task_ship.ship(client, *self._orders)
            self._shipped[client] = _scheduler(client)

    def is_shipped(self, client: Any) -> bool:
        """Whether a client's workers know our functions: then its event loop, from which joblib
        submits, is not waited for any more. (A scheduler that was started anew knows nothing.)
        """
        return self._shipped.get(client) == _scheduler(client)

    def why_not_elsewhere(self, client: Any) -> str:
        """Why the tasks of a client whose workers are none of ours are left alone; empty: they have
        our functions.
        """
        if self.carrier is None:
            return "the client was given the address of its scheduler instead of the cluster"
        scheduler = _scheduler(client)
        if scheduler not in self._refused and not self.is_shipped(client):
            try:
                self.ship(client)
            except NotShipped as error:
                self._refused[scheduler] = str(error)
            except Exception as error:
                why = f"it cannot have nbrw's functions: {type(error).__name__}: {error}"
                self._refused[scheduler] = why
        return self._refused.get(scheduler, "")

    def tell(self, client: Any, name: str, args: Sequence[Any], options: dict[str, Any]) -> None:
        """By this method, the notebook tells a client's workers something beside tasks."""
        told = self._told.setdefault(_scheduler(client), task_told.Told())
        told.add(name, args, options, self._fingerprinter.of_value)

    def has_told(self, client: Any) -> None:
        """It has told them. What neither it nor its scheduler has would be made anew."""
        for key in task_told.gone(client, self._known):
            del self._known[key]
            self._sound.pop(key, None)

    def prepare(self, client: Any) -> None:
        """Tasks of ours are about to go to a cluster."""
        self.ship(client)
        if client.cluster is not None:
            dask_doze.start(client.cluster)

    @gc_paused()
    def rewritten(self, client: Any, expr: Any, keys: Sequence[Any]) -> Rewritten | None:
        """The same, with loads, and with tasks that store what they give; None: as it is."""
        from dask._task_spec import convert_legacy_graph

        if any(map(is_ours, keys)) or not hasattr(expr, "_parameters"):
            return None
        graph = convert_legacy_graph(dict(expr.__dask_graph__()))
        if len(graph) == 1 and any(is_own(node) for node in graph.values()):
            return None  # a future that is restored
        annotations = expr.__dask_annotations__() if hasattr(expr, "__dask_annotations__") else {}
        if self.index is not None:
            annotations = possible_annotations(client, annotations, self.note)
        # Asked once: another thread may let go of one while we look.
        held = task_virtual.loads_of(client, {*graph, *keys})
        for key in graph.keys() & held.keys():
            del graph[key]  # as Dask does not compute anew what it has
        shuffles = without_shuffles(graph)
        found = self._fingerprints(client, shuffles.graph)
        elsewhere = task_virtual.is_elsewhere(client)
        job = self._job(graph, found, keys, shuffles.stateful, elsewhere)
        plan = job.plan
        loads = task_virtual.loads_of(client, {*itertools.chain(*job.inputs.values())}) | held
        if self.index is not None:
            place = task_ship.module().load
            loads.update(
                (key, Load(place, (self.index.place(record),), record.fingerprint, record.value))
                for key, record in plan.load.items()
            )
        spoilable = job.spoilable() if loads else set()
        own = (spoilable & task_virtual.loads_of(client, spoilable).keys()) - {*keys, *graph}
        if own:
            task_virtual.materialise(client, own)
            loads = {key: load for key, load in loads.items() if key not in own}
        virtual = self._virtual(client, keys, graph, loads, held)
        virtual = {key: load for key, load in virtual.items() if key not in spoilable}
        left = [key for key in keys if key not in virtual]
        new = self._wrapper.nodes(job, left, loads, spoilable.intersection(left))
        for key in (*plan.run, *plan.load):
            self._known[key] = found[key]
            self._sound[key] = plan.sound.get(key, False) if self.index is not None else True
        self._count(job)
        return Rewritten(expression(new, annotations) if left else None, left, list(new), virtual)

    @gc_paused()
    def rewritten_local(
        self, graph: Mapping[Any, Any], keys: Sequence[Any]
    ) -> tuple[dict[Any, Any], Mapping[Any, Fingerprint | Refusal]]:
        """The graph of one of Dask's own schedulers, rewritten, and its tasks' fingerprints.

        There are no futures, and its keys mean nothing to any other graph.
        """
        from dask._task_spec import Dict, Task, TaskRef

        module = task_ship.module()
        module.configure(*self.orders)
        found = self._here(graph)
        job = self._job(graph, found, keys, set())
        new: dict[Any, Any] = {}
        for key, record in job.plan.load.items():
            assert self.index is not None
            new[key] = Task(key, module.load, self.index.place(record))
        for key in job.plan.run:
            new[key] = graph[key]
            # In a repeat the watch cannot tell what such tasks do from what the kernel does.
            made = self._wrapper.wrapped(job, key, False) if self.index is None else None
            if made is not None:
                values = Dict({other: TaskRef(other) for other in job.ordered(key)})
                new[key] = Task(key, *made, module.Box(graph[key]), values)
        self._count(job)
        self.is_local = True
        return new, found

    def scattered(self, data: Mapping[Any, Any]) -> None:
        """The notebook gave the cluster these data, by key."""
        from dask._task_spec import DataNode

        nodes = {key: DataNode(key, value) for key, value in data.items()}
        found = self._fingerprinter.fingerprints(nodes, {})
        for key in found.keys() & self._known.keys():
            if not _is_same(self._known[key], found[key]):
                found[key] = Refusal(_TAKEN)  # some workers may have what it was
        self._known.update(found)
        self._sound.update(dict.fromkeys(nodes, True))

    def changed_since(
        self, graph: Mapping[Any, Any], found: Mapping[Any, Fingerprint | Refusal]
    ) -> list[Any]:
        """Tasks of whose ingredients one is not what it was when the fingerprints were made."""
        now = self._here(graph)
        return [key for key in graph if text_of(now[key]) != text_of(found[key])]

    @property
    def orders(self) -> tuple[str, str, tuple[str, ...]]:
        """What ``configure`` of `task_worker.py` is told."""
        return self._orders

    def _job(
        self,
        graph: Mapping[Any, Any],
        found: Mapping[Any, Fingerprint | Refusal],
        keys: Sequence[Any],
        stateful: set[Any],
        elsewhere: bool = False,
    ) -> Job:
        """What becomes of the tasks of a graph of which ``keys`` are wanted."""
        index = self.index
        inputs = {key: list(node.dependencies) for key, node in graph.items()}
        passive = passive_keys(graph)
        changed = functools.lru_cache(maxsize=None)(has_changed)  # (many tasks, the same files)
        if index is None:
            plan = TaskPlan(run=list(inputs))
        else:
            texts = {key: text_of(f) for key, f in found.items()}
            idle = passive | stateful
            lost = self._lost_elsewhere if elsewhere else index.lost
            plan = plan_tasks(keys, inputs, texts, index.find, changed, self._sound, idle, lost)
        # (Passive ones may be another name of what is shared.)
        uses = Counter(itertools.chain(passive, passive, *inputs.values()))
        shared = {key for key, count in uses.items() if count > 1} | {*keys}
        return Job(graph, found, plan, stateful, inputs, passive, changed, elsewhere, shared)

    def _fingerprints(
        self, client: Any, graph: Mapping[Any, Any]
    ) -> dict[Any, Fingerprint | Refusal]:
        """Of the tasks of a graph. Under a key that it has, Dask computes nothing anew, and what it
        still has only the scheduler knows. Where the key was another task's before, nobody knows
        what those come to that use it. Nor of what a coroutine gives: it runs beside others.
        """
        told = self._told.get(_scheduler(client)) or task_told.Told()
        if told.why_not:
            return dict.fromkeys(graph, Refusal(told.why_not))
        self._around = told.digest
        made = functools.partial(self._fingerprinter.fingerprints, around=told.digest)
        found = made(graph, self._known)
        before = [key for key in graph if key in self._known or key in client.futures]
        others = {key for key in before if not _is_same(self._known.get(key), found[key])}
        refused = dict.fromkeys(others, Refusal(_TAKEN))
        refused |= {key: Refusal(_COROUTINE) for key, node in graph.items() if is_coroutine(node)}
        if not refused:
            return found
        rest = {key: node for key, node in graph.items() if key not in refused}
        return made(rest, {**self._known, **refused}) | refused

    def _here(self, graph: Mapping[Any, Any]) -> dict[Any, Fingerprint | Refusal]:
        """Of tasks in this process: they see what a cell has set in libraries."""
        try:
            self._around = settings_digest(self._fingerprinter.of_value)
        except Refused as error:
            return dict.fromkeys(graph, Refusal(f"a setting of a library is {error}"))
        return self._fingerprinter.fingerprints(graph, {}, None, self._around, True)

    def _ingredients(self, node: Any, graph: Mapping[Any, Any]) -> dict[str, str]:
        around = {task_told.AROUND: self._around[:16]} if self._around else {}
        return self._fingerprinter.ingredients(node, graph) | around

    def _lost_elsewhere(self, record: TaskRecord) -> str:
        """Why workers of another machine cannot read a stored result; empty: they can."""
        assert self.index is not None
        if self.index.is_kept(record):
            return "its result is in the caller's store, which workers elsewhere may not see"
        return self.index.lost(record)

    def _virtual(
        self,
        client: Any,
        keys: Sequence[Any],
        graph: Mapping[Any, Any],
        loads: Mapping[Any, Load],
        held: Mapping[Any, Load],
    ) -> dict[Any, Load]:
        """Those that are known, and that the cluster need not have; ``held`` are virtual."""
        # Whoever submits from the event loop looks at futures there, and must not wait for a load.
        if self.index is None or client.asynchronous or not task_virtual.can_have(client):
            return {}
        virtual = {}
        for key in keys:
            load = loads.get(target(key, graph))
            if load is not None and (key in held or key not in client.futures):
                virtual[key] = load
        return virtual

    def _count(self, job: Job) -> None:
        counts, plan = self.counts, job.plan
        run = [key for key in plan.run if key not in job.passive]
        needless = job.graph.keys() - job.passive - plan.load.keys() - set(run)
        counts.loaded += len(plan.load)
        counts.run += len(run)
        counts.needless += len(needless)
        if self.index is not None:
            counts.saved += sum(record.seconds for record in plan.load.values())
            counts.misses.update(plan.misses(job.passive))
            counts.bytes += sum(record.size for record in plan.load.values())
            self._explain(job, run, needless)

    def _explain(self, job: Job, run: Sequence[Any], needless: set[Any]) -> None:
        graph, plan = job.graph, job.plan
        for key in plan.load:
            self.explainer.loaded(label(key))
        for key in needless:
            self.explainer.needless(label(key))
        for key in run:
            found = self._known.get(key)
            keeps = self._keeps and not job.elsewhere
            text = found.digest.hex if keeps and isinstance(found, Fingerprint) else ""
            self.explainer.ran(label(key), plan.reasons[key], graph[key], graph, text)

    def all_notes(self) -> list[str]:
        """What went wrong, each said once."""
        return [*self.notes, *(self.index.notes if self.index is not None else ())]

    def note(self, text: str) -> None:
        """Something went wrong; said once."""
        if text not in self.notes:
            self.notes.append(text)


def is_own_cluster(client: Any) -> bool:
    """Whether a client's workers are processes of this one, on this machine."""
    return type(getattr(client, "cluster", None)).__name__ == "LocalCluster"


def _scheduler(client: Any) -> str:
    return str(getattr(client, "_scheduler_identity", {}).get("id", ""))


def is_ours(key: Any) -> bool:
    """Whether a key is that of a task of our own."""
    return str(key).startswith(OWN_PREFIX)


def _is_same(known: Fingerprint | Refusal | None, found: Fingerprint | Refusal) -> bool:
    if isinstance(known, Fingerprint) and isinstance(found, Fingerprint):
        return known.digest == found.digest
    return isinstance(found, Refusal)
