"""Which cells of a notebook its audit executes, by what former audits know. Pure but for files.

The rules are those of `nbrw_runtime/walk.py`. Beside them: a cell that runs must find the files
that restored cells wrote before it as they left them, and so must the author in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nbrw_builder.audit_checkpoints import without_results
from nbrw_builder.audit_former import Formers, Source, is_executed
from nbrw_runtime.checkpoint import Checkpoint, StoredFile
from nbrw_runtime.names import names_of
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import RecipeCell
from nbrw_runtime.versions import changes_of
from nbrw_runtime.walk import Action, Audit, Step, Walk

#: Whether a file is as a cell left it (None: removed).
AsLeft = Callable[[str, StoredFile | None], bool]


class Again(Exception):
    """Cells that were taken for restored must be executed after all; only a new kernel is clean.

    ``forced`` are such cells, each with the reason. ``everything``: what cells use cannot be told,
    so all names are brought back before each of them runs.
    """

    def __init__(
        self, reason: str, forced: Mapping[int, str] | None = None, everything: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.forced = dict(forced or {})
        self.everything = everything


@dataclass(frozen=True)
class Foreseen:
    """A step for each cell, and the cells that run in any case, each with the reason."""

    steps: tuple[Step, ...]
    forced: dict[int, str]

    @property
    def runs(self) -> bool:
        """Whether any cell is foreseen to run."""
        return any(step.action is Action.RUN for step in self.steps)


class Rules:
    """What holds for all ways through one notebook's cells."""

    def __init__(self, formers: Formers, cells: Sequence[Cell], cwd: str) -> None:
        self.formers = formers
        self.cells = list(cells)
        self.counts = execution_counts(cells)
        names = [names_of(cell.source) for cell in cells]
        # Names such as `_5` say where a cell stands; where nobody may ask, they do not count.
        self.results = any(found.dynamic for found in names)
        self._history = any(found.history for found in names)
        self.known: Audit = formers.known(cwd, self.results)

    def source(self, audited: int) -> Source:
        """What a restored cell is restored from."""
        return self.formers.source(audited)

    def moved(self, cell: Cell, source: Source) -> bool:
        """Whether a cell has another execution count than in the audit it is restored from."""
        then = execution_counts(source.former.state.cells)
        return then[source.checkpoint.cell] != self.counts[cell.number]

    def refuses(self, cell: Cell, source: Source) -> str:
        """Why a cell that has moved cannot be restored; empty: it can, or it has not moved."""
        if not self.results or not self.moved(cell, source):
            return ""
        if self._history:
            return "its result has another number now, and a cell looks at results by number"
        if without_results(source.checkpoint) != source.checkpoint:
            return "its result has another number now, and a cell may use any name"
        return ""


@dataclass
class Way:
    """One way through the cells, in order."""

    rules: Rules
    forced: Mapping[int, str]
    walk: Walk = field(init=False)
    _files: dict[str, tuple[int, StoredFile | None]] = field(default_factory=dict)
    _used: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.walk = Walk(self.rules.known, self.rules.cells)

    def decide(self, cell: Cell) -> Step:
        """What to do with the next cell."""
        step = self.walk.decide(cell, self.forced.get(cell.number, ""))
        if step.action is Action.RESTORE and step.audited is not None:
            refused = self.rules.refuses(cell, self.rules.source(step.audited))
            if step.audited in self._used:
                refused = "an equal cell before it is the one that was audited"
            if refused:
                return self.walk.decide(cell, refused)
        return step

    def demanded(self) -> dict[int, str]:
        """Cells before that should run for the sake of the one just decided."""
        return {n: why for n, why in self.walk.demanded.items() if n not in self.forced}

    def restored(self, cell: Cell, step: Step) -> Source:
        """The cell counts as restored."""
        assert step.audited is not None
        self.walk.restored(cell)
        self._used.add(step.audited)
        source = self.rules.source(step.audited)
        for path in source.checkpoint.removed:
            self._files[path] = (cell.number, None)
        for stored in source.checkpoint.files:
            self._files[stored.path] = (cell.number, stored)
        return source

    def ran(self, cell: Cell, checkpoint: Checkpoint) -> None:
        """The cell was executed and left this."""
        found = checkpoint if self.rules.results else without_results(checkpoint)
        self.walk.ran(cell, changes_of(found, f"the run of cell {cell.number}"))

    def spoilt(self, as_left: AsLeft, but: Iterable[str] = ()) -> dict[int, str]:
        """Restored cells since the last that ran whose files are not as they left them.

        To be asked before a cell runs, and at the end. ``but`` are paths that are not looked at.
        """
        files, self._files = self._files, {}
        return {
            number: f"it wrote {path}, which is not as it left it"
            for path, (number, stored) in files.items()
            if path not in but and not as_left(path, stored)
        }


def foresee(rules: Rules, forced: Mapping[int, str], as_left: AsLeft) -> Foreseen:
    """What would be done, if cells that run leave what they, or their like, left before."""
    must = dict(forced)
    while True:
        way = Way(rules, must)
        steps = []
        more: dict[int, str] = {}
        touched: set[str] = set()
        for cell in rules.cells:
            step = way.decide(cell)
            steps.append(step)
            if step.action is Action.RESTORE:
                way.restored(cell, step)
            elif step.action is Action.RUN:
                more.update(way.spoilt(as_left, touched))
                way.walk.will_run(cell)
                makers = way.walk.now.file_makers
                touched = {path for path, maker in makers.items() if maker == cell.number} | touched
        more.update(way.spoilt(as_left, touched))
        more = {**way.demanded(), **{n: why for n, why in more.items() if n not in must}}
        if not more:
            return Foreseen(tuple(steps), must)
        must.update(more)


def execution_counts(cells: Iterable[Cell] | Iterable[RecipeCell]) -> dict[int, int]:
    """The execution count of each cell, by its number: some are not executed."""
    counts = {}
    count = 0
    for cell in cells:
        count += is_executed(cell.source, cell.tags)
        counts[cell.number] = count
    return counts


def renumbered(source: Source, number: int, moved: bool) -> Checkpoint:
    """A restored cell's checkpoint under its number now."""
    found = without_results(source.checkpoint) if moved else source.checkpoint
    return replace(found, cell=number)
