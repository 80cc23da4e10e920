"""What is known of an audit's tasks, counted: the recipe has it, for `inspect`. Pure.

The records are in the layers, among the results: to find them takes as long as to read the layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbrw_runtime.task_reasons import classes

if TYPE_CHECKING:
    from nbrw_runtime.task_record import TaskRecord

_LABELS = 50
OTHERS = "others"


@dataclass(frozen=True)
class LabelTasks:
    """The tasks of one label: ``number``, of which ``stored`` results of ``size`` bytes."""

    label: str
    number: int
    stored: int = 0
    size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class CellTasks:
    """The tasks of one cell that ended by the end of it.

    ``refused``: why results were not stored, with their number; ``unsafe``: why tasks must not be
    used again, nor what depends on them. ``seconds`` is their sum over all workers.
    """

    cell: int
    number: int
    stored: int = 0
    size: int = 0
    seconds: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)
    unsafe: dict[str, int] = field(default_factory=dict)
    labels: tuple[LabelTasks, ...] = ()


def summary(cell: int, records: Iterable[TaskRecord]) -> CellTasks:
    """The tasks of a cell, from its document."""
    labels: dict[str, list[TaskRecord]] = {}
    found = list(records)
    for record in found:
        labels.setdefault(record.label, []).append(record)
    ranked = sorted(labels.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ranked) > _LABELS:
        rest = [record for _, few in ranked[_LABELS - 1 :] for record in few]
        ranked = [*ranked[: _LABELS - 1], (OTHERS, rest)]
    return CellTasks(
        cell,
        len(found),
        *_totals(found),
        _counted(r.refused for r in found if not r.unsafe and not r.is_stored),
        _counted(r.refused for r in found if r.unsafe),
        tuple(LabelTasks(label, len(few), *_totals(few)) for label, few in ranked),
    )


def _totals(records: Iterable[TaskRecord]) -> tuple[int, int, float]:
    records = list(records)
    stored = [record for record in records if record.is_stored]
    seconds = round(sum(record.seconds for record in records), 3)
    return len(stored), sum(record.size for record in stored), seconds


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return classes(Counter(reason or "no reason is recorded" for reason in reasons))
