"""Which tasks of a graph are loaded, which run, and which are not needed at all. Pure.

A result is used again only if nothing that led to it can have changed: the task's fingerprint is
known, the files that it read are as they were, and all of this holds for every task above it, also
for those whose results were not kept. So what comes after a task that draws on chance, or that
changed something outside, is never a hit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from nbrw_runtime.task_record import TaskRecord

Key = Hashable
#: Why a task runs whose inputs do.
ABOVE = "a task above it runs"


@dataclass(frozen=True)
class Unknown:
    """A task that has no fingerprint, and why."""

    reason: str


@dataclass
class TaskPlan:
    """``load`` and ``run`` have all keys that are needed."""

    load: dict[Key, TaskRecord] = field(default_factory=dict)
    run: list[Key] = field(default_factory=list)
    sound: dict[Key, bool] = field(default_factory=dict)
    reasons: dict[Key, str] = field(default_factory=dict)

    def misses(self, besides: AbstractSet[Key] = frozenset()) -> Counter[str]:
        """Why tasks run, and how many for each reason; but for some keys."""
        run = (key for key in self.run if key not in besides)
        return Counter(self.reasons[key] for key in run if self.reasons[key])


def plan_tasks(
    outputs: Iterable[Key],
    inputs: Mapping[Key, Sequence[Key]],
    fingerprints: Mapping[Key, str | Unknown],
    find: Callable[[str], TaskRecord | None],
    changed: Callable[[str, str | None], bool],
    known: Mapping[Key, bool],
    passive: AbstractSet[Key] = frozenset(),
    lost: Callable[[TaskRecord], str] = lambda record: "",
) -> TaskPlan:
    """Decide for every task that ``outputs`` need.

    ``inputs``: of each task of the graph, in whatever order. ``find`` gives what the audit knows of
    a fingerprint; ``changed`` whether a file is not what a task read (None: it was not there).
    ``known`` are tasks of earlier graphs: whether what led to them is as it was. ``passive`` are
    keys that stand for data or another key: there is nothing to run, and nothing is known of them.
    ``lost`` says why a stored result cannot be read; empty: it can.
    """
    plan = TaskPlan()
    for key in _upwards(inputs):
        reason = _why_above(key, inputs, known, plan)
        if not reason and key not in passive:
            reason = _why(fingerprints.get(key), find, changed)
        plan.reasons[key] = reason
        plan.sound[key] = not reason
    wanted: set[Key] = set()
    todo = list(outputs)
    while todo:
        key = todo.pop()
        if key in wanted or key not in inputs:
            continue
        wanted.add(key)
        record = None
        if plan.sound[key] and key not in passive:
            record = find(_text(fingerprints[key]))
        if record is not None and record.is_stored:
            why_not = lost(record)
            if not why_not:
                plan.load[key] = record
                continue
            plan.reasons[key] = why_not
        elif record is not None:
            plan.reasons[key] = f"its result was not stored: {record.refused}"
        plan.run.append(key)
        todo += inputs[key]
    return plan


def _why_above(
    key: Key, inputs: Mapping[Key, Sequence[Key]], known: Mapping[Key, bool], plan: TaskPlan
) -> str:
    """Why what led to a task is not what it was; empty: it is."""
    for other in inputs[key]:
        if other in plan.sound:
            if not plan.sound[other]:
                return ABOVE
        elif not known.get(other, False):
            return "a future that it uses is not what it was, or is not known"
    return ""


def _why(
    fingerprint: str | Unknown | None,
    find: Callable[[str], TaskRecord | None],
    changed: Callable[[str, str | None], bool],
) -> str:
    """Why a result from the audit must not be used; empty: it may."""
    if not isinstance(fingerprint, str):
        return fingerprint.reason if fingerprint is not None else "it has no fingerprint"
    record = find(fingerprint)
    if record is None:
        return "it is new or edited"
    return why_not_valid(record, changed)


def why_not_valid(record: TaskRecord, changed: Callable[[str, str | None], bool]) -> str:
    """Why what is known of a task does not hold for now; empty: it does."""
    if record.unsafe:
        return f"it cannot be repeated: {record.refused}"
    for path, digest in record.reads.items():
        if changed(path, digest):
            return f"it reads {path}, which changed"
    return ""


def _text(fingerprint: str | Unknown) -> str:
    assert isinstance(fingerprint, str)
    return fingerprint


def _upwards(inputs: Mapping[Key, Sequence[Key]]) -> list[Key]:
    """All keys, each after those that it depends on."""
    order: list[Key] = []
    done: set[Key] = set()
    for start in inputs:
        stack = [start]
        while stack:
            key = stack[-1]
            if key in done:
                stack.pop()
                continue
            waiting = [other for other in inputs[key] if other in inputs and other not in done]
            if waiting:
                stack += waiting
            else:
                done.add(key)
                order.append(key)
                stack.pop()
    return order
