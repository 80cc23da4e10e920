"""Which cells to restore and which to run. Pure: values in, a Plan out.

The rules, in this order:

1. Cells from the first that must run on are run: the one asked for (``--from``), the first edited
   or new one, the first that reads a file which differs from the author's, or one that the audit
   did not finish.
2. An earlier cell is restored, unless an object it made could not be stored and a cell that runs
   may use it. Then it is run again, as is every cell between that uses what it makes.
3. In doubt (``exec``, ``globals()``, magics that may use any name) a cell uses every name.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbrw_runtime.checkpoint import Checkpoint, Omitted
from nbrw_runtime.dependency import DataState
from nbrw_runtime.errors import UsageError
from nbrw_runtime.names import Names, names_of, reach
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import Recipe

#: Omitted names that begin so stand for a file that could not be stored.
FILE_PREFIX = "file:"


class Action(str, enum.Enum):
    """What a repeat does with a cell."""

    RESTORE = "restore"
    RUN = "run"
    SKIP = "skip"


@dataclass(frozen=True)
class Request:
    """What the caller asked for: ``--from N`` (``start``) or ``--all`` (``everything``)."""

    start: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Step:
    """What is done with one cell, and why.

    ``cell`` numbers the notebook that is repeated, ``audited`` the same cell in the recipe (None:
    it is new or edited).
    """

    cell: int
    action: Action
    reason: str
    audited: int | None = None


@dataclass(frozen=True)
class Plan:
    """A step for every cell, in order."""

    steps: tuple[Step, ...]

    def cells(self, action: Action) -> tuple[int, ...]:
        """The numbers of the cells with this action."""
        return tuple(step.cell for step in self.steps if step.action is action)


def make_plan(
    recipe: Recipe,
    cells: Sequence[Cell],
    request: Request,
    changed_files: Mapping[str, str] | None = None,
    elsewhere: bool = True,
) -> Plan:
    """A step for every cell of the notebook to repeat.

    ``changed_files`` maps paths (as on the author's host) that differ from what the audit read to
    a phrase that says how. ``elsewhere``: it is not the author's own machine, so that a file which
    a cell wrote outside the working directory is there only if the cell runs again. Raises
    UsageError if ``request.start`` is out of range.
    """
    start, reason = _start(recipe, cells, request, changed_files or {})
    again = _run_again(recipe, cells, start, elsewhere)
    common = _common_prefix(recipe, cells)
    steps = []
    for cell in cells:
        audited = cell.number if cell.number <= common else None
        if not cell.runs:
            steps.append(Step(cell.number, Action.SKIP, "nothing to run", audited))
        elif cell.number >= start:
            why = reason if cell.number == start else f"after cell {start}, which runs"
            steps.append(Step(cell.number, Action.RUN, why, audited))
        elif cell.number in again:
            steps.append(Step(cell.number, Action.RUN, again[cell.number], audited))
        else:
            steps.append(Step(cell.number, Action.RESTORE, "unchanged", audited))
    return Plan(tuple(steps))


def unrestored(recipe: Recipe, plan: Plan) -> dict[str, str]:
    """Names that no cell of the plan brings back, each with a sentence: why, and what to do.

    They are not needed as far as can be seen; a cell that asks for one all the same is told this.
    """
    ran = set(plan.cells(Action.RUN))
    restored = plan.cells(Action.RESTORE)
    if not restored:
        return {}
    missing = {}
    for name, (cell, omitted) in _omitted_after(recipe, restored[-1]).items():
        if cell not in ran and not name.startswith(FILE_PREFIX):
            missing[name] = (
                f"`{name}` ({omitted.type}) was made or changed by cell {cell} and could not be "
                f"stored: {omitted.reason}; repeat with --from {cell}"
            )
    return missing


def _common_prefix(recipe: Recipe, cells: Sequence[Cell]) -> int:
    """How many cells from the first on are those of the recipe."""
    count = 0
    for cell, audited in zip(cells, recipe.cells, strict=False):
        if cell.digest != audited.digest or cell.tags != audited.tags:
            break
        count += 1
    return count


def _start(
    recipe: Recipe, cells: Sequence[Cell], request: Request, changed: Mapping[str, str]
) -> tuple[int, str]:
    """The first cell from which on all run, and why; one past the last if none must."""
    last = len(cells)
    if request.start is not None and not 1 <= request.start <= last:
        cause = f"the notebook has cells 1 to {last}" if last else "the notebook has no code cell"
        raise UsageError(f"repeat from cell {request.start}: {cause}")
    found = [(last + 1, "")]
    if request.everything:
        found.append((1, "--all"))
    if request.start is not None:
        found.append((request.start, f"--from {request.start}"))
    common = _common_prefix(recipe, cells)
    if common < last:
        known = {cell.digest for cell in recipe.cells}
        word = "moved" if cells[common].digest in known else "edited or new"
        found.append((common + 1, word))
    for cell in cells[:common]:
        if cell.runs and recipe.checkpoint(cell.number) is None:
            found.append((cell.number, "the audit has no checkpoint of it"))
            break
    for data in recipe.dependencies.data:
        if data.path in changed and data.state is not DataState.WRITTEN:
            for number in data.cells:
                if 1 <= number <= last:
                    found.append((number, f"it reads {data.path}, which {changed[data.path]}"))
    return min(found, key=lambda item: item[0])


def _omitted_after(recipe: Recipe, cell: int) -> dict[str, tuple[int, Omitted]]:
    """Names that are unstored once cells 1 to ``cell`` are restored: name -> (cell, why)."""
    live: dict[str, tuple[int, Omitted]] = {}
    for checkpoint in _until(recipe, cell):
        for stored in checkpoint.objects:
            for name in stored.names:
                live.pop(name, None)
        for name in checkpoint.deleted:
            live.pop(name, None)
        for omitted in checkpoint.omitted:
            live[omitted.name] = (checkpoint.cell, omitted)
    return live


def _until(recipe: Recipe, cell: int) -> list[Checkpoint]:
    return sorted(
        (found for found in recipe.checkpoints if found.cell <= cell), key=lambda c: c.cell
    )


def _run_again(
    recipe: Recipe, cells: Sequence[Cell], start: int, elsewhere: bool
) -> dict[int, str]:
    """Cells before ``start`` that must run although they are unchanged, each with the reason."""
    inside = recipe.environment.cwd.rstrip("/") + "/"
    names = {cell.number: names_of(cell.source) for cell in cells}
    again: dict[int, str] = {}
    for checkpoint in _until(recipe, start - 1):
        # Only if something runs that might read it.
        outside = [f.path for f in checkpoint.files if not f.path.startswith(inside)]
        if elsewhere and outside and start <= len(cells):
            again[checkpoint.cell] = f"it writes {outside[0]}, outside the working directory"
        for omitted in checkpoint.omitted:
            if omitted.name.startswith(FILE_PREFIX):
                path = omitted.name[len(FILE_PREFIX) :]
                again[checkpoint.cell] = f"it writes {path}, which is not stored: {omitted.reason}"
    while True:
        users = [n for n in names if n >= start or n in again]
        found: dict[int, str] = {}
        for user in users:
            boundary = min(user, start) - 1
            for name, (cell, omitted) in _needed(recipe, names[user], boundary).items():
                found.setdefault(
                    cell,
                    f"cell {user} may use `{name}` ({omitted.type}), "
                    f"which could not be stored: {omitted.reason}",
                )
        for user in range(1, start):
            if user not in names:
                continue
            for name, (cell, _) in _needed(recipe, names[user], user - 1).items():
                if cell in again:
                    found.setdefault(user, f"it may use `{name}`, which cell {cell} makes again")
        new = {cell: reason for cell, reason in found.items() if cell not in again}
        if not new:
            return again
        again.update(new)


def _needed(recipe: Recipe, names: Names, boundary: int) -> dict[str, tuple[int, Omitted]]:
    """The unstored names, after cell ``boundary``, that code with these names may reach."""
    live = _omitted_after(recipe, boundary)
    if names.dynamic:
        return live
    refers: dict[str, tuple[str, ...]] = {}
    for checkpoint in _until(recipe, boundary):
        for stored in checkpoint.objects:
            refers.update(dict.fromkeys(stored.names, stored.refers))
    seen = reach(names.used, refers)
    return {name: item for name, item in live.items() if name in seen}
