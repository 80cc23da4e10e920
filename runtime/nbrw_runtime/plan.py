"""Which cells to restore and which to run, foreseen before anything runs. Pure.

The rules are those of `walk.py`. A cell that runs may leave something else than is foreseen: a
repeat decides again at each cell, with what is known then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbrw_runtime.errors import UsageError
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.walk import Action, Audit, Find, Step, Walk

__all__ = ["Action", "Plan", "Request", "Step", "make_plan", "requested"]


@dataclass(frozen=True)
class Request:
    """What the caller asked for: ``--from N`` (``start``), ``--cells``, ``--all``.

    ``word`` is what the caller said to have everything run.
    """

    start: int | None = None
    everything: bool = False
    cells: tuple[int, ...] = ()
    word: str = "--all"


@dataclass(frozen=True)
class Plan:
    """A step for every cell, in order. ``forced`` are cells that run in any case, and why."""

    steps: tuple[Step, ...]
    forced: Mapping[int, str]

    def cells(self, action: Action) -> tuple[int, ...]:
        """The numbers of the cells with this action."""
        return tuple(step.cell for step in self.steps if step.action is action)


def make_plan(
    recipe: Recipe,
    cells: Sequence[Cell],
    request: Request,
    changed_files: Mapping[str, str] | None = None,
    elsewhere: bool = True,
    forced: Mapping[int, str] | None = None,
    find: Find | None = None,
) -> Plan:
    """A step for every cell of the notebook to repeat.

    ``changed_files`` maps paths (as on the author's host) that differ from what the audit read to
    a phrase that says how. ``elsewhere``: it is not the author's own machine, so that a file which
    a cell wrote outside the working directory is there only if the cell runs again. ``forced``
    are more cells to run, each with the reason. ``find`` finds results of earlier repeats. Raises
    UsageError if the request names a cell that is not there.
    """
    audit = Audit(recipe, elsewhere)
    must = {**requested(cells, request), **(forced or {})}
    while True:
        walk = Walk(audit, cells, changed_files, find)
        steps = []
        for cell in cells:
            step = walk.decide(cell, must.get(cell.number, ""))
            steps.append(step)
            if step.action is Action.RESTORE:
                walk.restored(cell)
            elif step.action is Action.RUN:
                walk.will_run(cell)
        more = {number: why for number, why in walk.demanded.items() if number not in must}
        if not more:
            return Plan(tuple(steps), must)
        must.update(more)


def requested(cells: Sequence[Cell], request: Request) -> dict[int, str]:
    """The cells that the caller wants run, each with the reason. Raises UsageError."""
    last = len(cells)
    for number in (request.start, *request.cells):
        if number is not None and not 1 <= number <= last:
            cause = f"has cells 1 to {last}" if last else "has no code cell"
            raise UsageError(f"repeat from cell {number}: the notebook {cause}")
    found = dict.fromkeys(request.cells, "--cells")
    start = 1 if request.everything else request.start
    if start is not None:
        why = request.word if request.everything else f"--from {start}"
        for number in range(start, last + 1):
            found[number] = why if number == start else f"after cell {start}, which runs"
    return found
