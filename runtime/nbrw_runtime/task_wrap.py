"""What runs in the place of tasks: loads, and tasks that store what they come to."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from nbrw_runtime import task_ship
from nbrw_runtime.task_cutoff import DATA, Facts, candidates
from nbrw_runtime.task_explain import Explainer
from nbrw_runtime.task_fingerprint import Fingerprint, Refusal
from nbrw_runtime.task_graph import label
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_job import Job, is_coroutine
from nbrw_runtime.task_plan import Unknown, why_not_valid
from nbrw_runtime.task_table import TaskTables
from nbrw_runtime.task_virtual import Load

_LOAD_PREFIX = "nbrw-load-"
_CANDIDATES = 4  # results that travel with a task that may turn out to have one of them


class TaskWrapper:
    """Writes graphs for workers. ``index``, ``keeps`` and ``spool`` are those of the cache, and
    ``known`` the fingerprints of all keys.
    """

    def __init__(
        self,
        index: TaskIndex | None,
        keeps: bool,
        spool: str,
        known: Mapping[Any, Fingerprint | Refusal],
        explainer: Explainer,
    ) -> None:
        self._index = index
        self._keeps = keeps
        self._spool = spool
        self._known = known
        self._explainer = explainer
        self._facts: dict[str, Facts] = {}
        self._doubtful: dict[str, tuple[str, str]] = {}  # tasks that may be spared: label, reason
        if index is not None:
            self._tables = TaskTables(index, spool)

    def facts(self) -> dict[str, Facts]:
        """What is known of the tasks that ran since the last call, by fingerprint."""
        found, self._facts = self._facts, {}
        return found

    def doubtful(self) -> dict[str, tuple[str, str]]:
        """The label, and the reason to run it, of each task that may have been spared since the
        last call, by fingerprint.
        """
        found, self._doubtful = self._doubtful, {}
        return found

    def nodes(
        self, job: Job, keys: Sequence[Any], loads: Mapping[Any, Load], own: Container[Any]
    ) -> dict[Any, Any]:
        """The graph that gives ``keys``. What is loaded for other tasks has a name of its own, but
        for ``own``.
        """
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
            made = self.wrapped(job, key, not loads.keys().isdisjoint(job.inputs[key]))
            if made is None:
                new[key] = node
                todo += job.inputs[key]
                continue
            mine = {}
            for other in job.ordered(key):
                name = other
                if other in loads and other not in own:
                    name = _LOAD_PREFIX + loads[other].name[:32]
                    new[name] = loads[other].task(name)
                else:
                    todo.append(other)
                mine[other] = TaskRef(name)
            function, ticket, *more = made
            new[key] = Task(key, function, ticket, task_ship.module().Box(node), Dict(mine), *more)
        return new

    def wrapped(self, job: Job, key: Any, renamed: bool) -> tuple[Any, ...] | None:
        """What runs around a task: a function, a ticket, and more; None: nothing."""
        from dask._task_spec import Task

        node = job.graph[key]
        # Workers await what they know as a coroutine: it must be the task itself.
        if type(node) is not Task or key in job.stateful or is_coroutine(node):
            return None
        found, module = job.found[key], task_ship.module()
        text = text_of(found)
        ticket: tuple[Any, ...] = ("", "", "")
        known = None
        if isinstance(text, str) and isinstance(found, Fingerprint):
            ticket = (text, label(key), self._spool if self._keeps and not job.elsewhere else "")
            ticket += job.looked(key, found) if ticket[2] else ()
            if ticket[2]:
                inputs = tuple(self._input(other, job) for other in found.inputs)
                self._facts[text] = Facts(found.local.hex, inputs)
                if self._index is None:
                    self._explainer.note(ticket[1], text, job.graph[key], job.graph)
            if self._index is not None and found.inputs and not job.elsewhere:
                known = self._known_for_inputs(self._index, job, found)
        if known is not None:
            self._doubtful[str(text)] = (label(key), job.plan.reasons[key])
            function, *more = known
            return function, ticket, *more
        return (module.run, ticket) if ticket[2] or renamed else None

    def _input(self, key: Any, job: Job) -> str:
        """The fingerprint of an input, as a record has it."""
        from dask._task_spec import DataNode

        found = job.found.get(key) or self._known[key]
        assert isinstance(found, Fingerprint)
        return DATA * isinstance(job.graph.get(key), DataNode) + found.digest.hex

    def _known_for_inputs(
        self, index: TaskIndex, job: Job, found: Fingerprint
    ) -> tuple[Any, ...] | None:
        """What runs around a task that may be spared if its inputs come to what they were.

        See `task_cutoff.py` and `task_table.py`. None: no such result is known.
        """
        records = index.like(found.local.hex)
        if not records:
            return None
        contents = []
        for other in found.inputs:
            text = self._input(other, job)
            if not text.startswith(DATA):
                text = index.content(text) if other in job.plan.load else ""
            contents.append((other, text))
        if len(records) > _CANDIDATES:
            table = self._tables.path(found.local.hex)
            return (task_ship.module().run_unless_in_table, table, contents) if table else None
        places: list[tuple[Any, ...]] = []
        for candidate in candidates(records, contents, index.content):
            record = candidate.record
            if not why_not_valid(record, job.changed) and not index.lost(record):
                where, name = index.place(record), record.fingerprint
                places.append((dict(candidate.expected), where, name, record.reads))
        return (task_ship.module().run_unless, places) if places else None


def text_of(found: Fingerprint | Refusal) -> str | Unknown:
    """What a task's result is stored under, or why it is not."""
    if isinstance(found, Refusal):
        return Unknown(found.reason)
    if found.outside:
        return Unknown(f"it takes {', '.join(found.outside)} from outside")
    return found.digest.hex
