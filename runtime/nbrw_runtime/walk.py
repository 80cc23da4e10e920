"""A walk through the cells to repeat: which can be restored, which must run, and why. Pure.

The rules:

1. A cell is restored if the audit ran the same code with the same inputs: the versions of all names
   that it may reach, of the files it read, looked for in vain or listed, and of the state outside
   the namespace. Where it stands in the notebook does not matter.
2. Otherwise it runs. What it leaves then has new versions, or the old ones if it is equal: then
   cells that use it are restored again.
3. A cell whose result could not be stored is run again if a cell that runs may use that result; so
   is every cell after it that uses something which may share objects with it.
4. A cell with effects that nothing shows (`effects.py`) runs again if any cell after it runs; and
   all cells after it depend on what it did, and in which order.
5. If a cell that runs looks at results by ``_`` or ``Out``, all cells before it run.
6. In doubt (``exec``, ``globals()``, magics that may use any name) a cell uses every name.
"""

from __future__ import annotations

import enum
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from nbrw_runtime.called_code import CalledCode
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import Digest, digest_json
from nbrw_runtime.effects import hidden_effect
from nbrw_runtime.left_behind import check_run
from nbrw_runtime.module_use import changes_module, loads_words, note_kept
from nbrw_runtime.names import FILE_QUESTIONS, GENERATOR_WORDS, LISTERS, Names, names_of
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.versions import (
    EFFECTS,
    FILE_PREFIX,
    GENERATORS,
    IMPORTING,
    PREFIX,
    UNKNOWN,
    Changes,
    Versions,
    changes_of,
    is_connection_type,
    listed_by_imports,
    may_list,
)

#: Versions that begin so mean something in one repeat only.
_PASSING = (UNKNOWN, "unstored by the run of ")


class Action(str, enum.Enum):
    """What a repeat does with a cell."""

    RESTORE = "restore"
    RUN = "run"
    SKIP = "skip"


@dataclass(frozen=True)
class Step:
    """What is done with one cell, and why.

    ``cell`` numbers the notebook that is repeated, ``audited`` the cell of the recipe that it is
    restored from, or is compared with (None: it is new or edited).
    """

    cell: int
    action: Action
    reason: str
    audited: int | None = None


@dataclass(frozen=True)
class Known:
    """A cell of the audit: what it depended on, and what it did.

    ``inputs`` are the names that it may have used, with their versions (None: all names).
    ``conditions`` are names whose version matters as well, though they are none of its inputs.
    ``made`` are the files that cells before had made, if what it loaded itself may ask for them.
    ``stale`` says why what it did does not count any more, whatever its inputs are. ``effect``:
    its code may have an effect that neither a name nor a file shows.
    """

    cell: int
    checkpoint: Checkpoint
    changes: Changes
    token: str
    inputs: Mapping[str, str | None] | None
    conditions: Mapping[str, str | None]
    files: Mapping[str, str | None]
    listings: Mapping[str, str]
    hidden: str
    kept: bool = False  # of an earlier repeat, not of the audit
    stale: str = ""
    made: Sequence[tuple[str, str | None]] | None = None
    effect: bool = False


class Audit:
    """What the audit knows: its cells by code and inputs, and by code alone.

    ``stale`` are cells that must not be restored, each with the reason.
    """

    def __init__(
        self, recipe: Recipe, elsewhere: bool = True, stale: Mapping[int, str] | None = None
    ) -> None:
        self.recipe = recipe
        self.data = list(recipe.dependencies.data)
        self.by_key: dict[str, list[Known]] = {}
        self.by_code: dict[str, list[Known]] = {}
        self.by_cell: dict[int, Known] = {}
        inside = recipe.environment.cwd.rstrip("/") + "/"
        used: dict[int, list[Data]] = {}
        for data in recipe.dependencies.data:
            for number in data.cells:
                used.setdefault(number, []).append(data)
        then = Versions(recipe.dependencies.data)
        code = CalledCode()
        for cell in recipe.cells:
            same = Cell(cell.number, cell.id, cell.source, cell.digest, cell.tags)
            if not same.runs:
                continue
            checkpoint = recipe.checkpoint(cell.number)
            if checkpoint is None:
                break  # what it did is not known, and so is all after it
            code.add(cell.source)
            mine = used.get(cell.number, ())
            known = _known(same, checkpoint, then, mine, code, recipe.environment.cwd)
            if elsewhere and not known.hidden:
                outside = [f.path for f in checkpoint.files if not f.path.startswith(inside)]
                if outside:
                    where = f"it writes {outside[0]}, outside the working directory"
                    known = replace(known, hidden=where)
            if stale and cell.number in stale:
                known = replace(known, stale=stale[cell.number])
            self.by_key.setdefault(known.token, []).append(known)
            self.by_code.setdefault(str(cell.digest), []).append(known)
            self.by_cell[cell.number] = known
            names = names_of(cell.source)
            then.apply(cell.number, known.changes, known.token, cell.number, names)
            if known.effect:
                then.effect(cell.number, known.token)
            note_kept(cell.source, names, then, known.changes, code.imported)

    def add(self, other: Audit) -> None:
        """Restore from the cells of another audit, too; their numbers must be other ones."""
        self.data += other.data
        for key, found in other.by_key.items():
            self.by_key.setdefault(key, []).extend(found)
        for code, found in other.by_code.items():
            self.by_code.setdefault(code, []).extend(found)
        self.by_cell.update(other.by_cell)


def _known(
    cell: Cell,
    checkpoint: Checkpoint,
    then: Versions,
    data: Sequence[Data],
    code: CalledCode,
    cwd: str,
) -> Known:
    names = names_of(cell.source)
    token = key_of(cell, names, then)
    changes = changes_of(checkpoint, token)
    inputs = None
    if not then.any_name(names):
        inputs = {name: then.names.get(name) for name in sorted(then.inputs(names))}
    conditions = _conditions(names, changes, then)
    by_module = loads_words(names, then, changes)
    listed = {d.path for d in data if d.state is DataState.LISTED}
    by_imports = listed & listed_by_imports(cwd)
    if by_imports and not may_list(names, then) and not by_module:
        listed -= by_imports
    hidden = _effect(cell, names, changes, then, code)
    return Known(
        cell.number,
        checkpoint,
        changes,
        token,
        inputs,
        conditions,
        {d.path: then.files.get(d.path) for d in data if d.state is not DataState.LISTED},
        {path: then.listing(path) for path in listed},
        hidden,
        made=tuple(then.made_files()) if by_module else None,
        effect=bool(hidden),
    )


def _effect(cell: Cell, names: Names, changes: Changes, then: Versions, code: CalledCode) -> str:
    """What a cell may have done beside what it left; ``then`` is what was before it."""
    types = ChainMap(changes.types, then.types)
    called = code.called(names, then)
    return hidden_effect(
        cell.source, types, frozenset(changes.names), code.imported, called
    ) or changes_module(cell.source, names, then, changes, types, code.imported)


def _conditions(names: Names, changes: Changes, then: Versions) -> dict[str, str | None]:
    reached = then.inputs(names)
    # What it bound to something equal is no change of the audit's, but might be one now; what
    # it changed without naming it came from something that is not known.
    others = (changes.names ^ names.bound) - reached
    if not then.is_dynamic(names) and not reached.isdisjoint(GENERATOR_WORDS):
        others |= GENERATORS  # (who drew from one has changed it)
    return {name: then.names.get(name) for name in sorted(others)}


def key_of(cell: Cell, names: Names, now: Versions) -> str:
    """The digest of a cell's code and of the versions of the names it may use."""
    place = cell.number if names.history else 0
    return digest_json([str(cell.digest), list(cell.tags), place, now.input_versions(names)]).hex


#: Finds results of earlier repeats, by a cell's key and what is known now; their files hold.
Find = Callable[[str, Versions], list[Known]]


class Walk:
    """One way through the cells, in order; after :meth:`decide` say what came of the step."""

    def __init__(
        self,
        audit: Audit,
        cells: Sequence[Cell],
        changed: Mapping[str, str] | None = None,
        find: Find | None = None,
    ) -> None:
        self.audit = audit
        self._find = find
        self._code = CalledCode()
        self.now = Versions(audit.data, changed)
        self.demanded: dict[int, str] = {}  # cells before that should have run, and why
        # Sources of restored cells, with where what they set for imports is found (0: nowhere).
        self.imports: list[tuple[int, str]] = []
        self._changed = changed or {}
        self._hidden: dict[int, str] = {}
        self._tainted: dict[str, str] = {}  # name -> what could not be stored
        self._names = {cell.number: names_of(cell.source) for cell in cells}
        self._codes = {str(cell.digest) for cell in cells}
        self._matched: dict[int, Known | None] = {}
        self._ran: set[int] = set()
        self._restored: list[int] = []

    def decide(self, cell: Cell, forced: str = "") -> Step:
        """What to do with the next cell. ``forced`` is a reason to run it in any case."""
        if not cell.runs:
            return Step(cell.number, Action.SKIP, "nothing to run")
        names = self._names[cell.number]
        self._code.add(cell.source)
        known = self._match(cell, names)
        self._matched[cell.number] = known
        reason = forced
        if known is not None and not reason:
            reason = self._unsafe(known, names)
        elif not reason:
            reason = self._why(cell)
        if known is not None and not reason:
            why = "computed by an earlier repeat" if known.kept else "unchanged"
            return Step(cell.number, Action.RESTORE, why, known.cell)
        if self.audit.recipe.left_behind is not None:
            same = known.cell if known is not None and not known.kept else None
            reason = check_run(self.audit.recipe.left_behind, cell.number, reason, same)
        self._demand(cell, names)
        self._ran.add(cell.number)
        like = known if known and not known.kept else self._like(cell)
        return Step(cell.number, Action.RUN, reason, like.cell if like else None)

    def restored(self, cell: Cell) -> Known:
        """The cell was restored, as decided; returns what of."""
        known = self._matched[cell.number]
        assert known is not None
        names = self._names[cell.number]
        self.now.apply(cell.number, known.changes, known.token, known.cell, names)
        self._note_kept(cell, known.changes)
        sets = not known.changes.names.isdisjoint(IMPORTING)
        self.imports.append((known.cell if sets else 0, cell.source))
        self._restored.append(cell.number)
        if known.hidden:
            self._hidden[cell.number] = known.hidden
        if known.effect:
            self.now.effect(cell.number, known.token)
        return known

    def ran(
        self, cell: Cell, changes: Changes, read: Callable[[], str | None] | None = None
    ) -> None:
        """The cell was run, and this is what it did. ``read`` gives the digest of what it was seen
        to read (None: nobody knows).
        """
        effect = self._effect_of(cell, changes, read)
        self._taint(cell, changes.names, list(changes.omitted))
        names = self._names[cell.number]
        self.now.apply(cell.number, changes, f"the run of cell {cell.number}", names=names)
        if effect:
            self.now.effect(cell.number, effect)
        for name in changes.omitted:
            self.now.omitted.pop(name, None)  # it is there, in the kernel
        self._note_kept(cell, changes)

    def will_run(self, cell: Cell) -> None:
        """The cell will be run: foresee what it changes from what it, or its like, did."""
        known = self._matched[cell.number]
        if known is not None:
            self.ran(cell, known.changes)
            return
        like = self._like(cell) or self._replaced(cell)
        changes = like.changes if like else Changes()
        names = changes.names | set(self._names[cell.number].bound)
        self._taint(cell, names, list(changes.omitted))
        effect = self._effect_of(cell, changes)
        self.now.assume(cell.number, sorted(names), changes.files)
        if effect:
            self.now.effect(cell.number, effect)
        self._note_kept(cell, changes)

    def _note_kept(self, cell: Cell, changes: Changes) -> None:
        note_kept(cell.source, self._names[cell.number], self.now, changes, self._code.imported)

    def keepable(self, cell: Cell, changes: Changes) -> tuple[str, dict[str, str | None]] | str:
        """The key and the conditions under which a cell that has just run did this; or, as a
        sentence, why nobody can rely on them. To be asked before :meth:`ran`.
        """
        names = self._names[cell.number]
        if self._matched.get(cell.number) is not None:
            return "it is known already"
        if self.now.any_name(names):
            return "it may use any name"
        # What a function lists is seen.
        if not (names.used | (self.now.words(names) - LISTERS)).isdisjoint(FILE_QUESTIONS):
            return "it asks whether files are there"
        if changes.omitted:
            return f"`{next(iter(changes.omitted))}` cannot be stored"
        hidden = self._effect(cell, changes)
        if hidden:
            return hidden
        conditions = _conditions(names, changes, self.now)
        versions = {name: self.now.names.get(name) for name in self.now.inputs(names)}
        for name, version in {**versions, **conditions, **self.now.settings()}.items():
            if version and version.startswith(_PASSING):
                return f"{_shown(name)} cannot be stored"
        return key_of(cell, names, self.now), conditions

    def known(self, number: int) -> Known | None:
        """What a cell was found to be."""
        return self._matched.get(number)

    def makers_of(self, blob: Digest) -> list[int]:
        """The restored cells whose checkpoints have this blob."""
        found = ((number, self._matched[number]) for number in self._restored)
        return [number for number, known in found if known and blob in known.checkpoint.blobs]

    def needed(self, cell: Cell) -> set[str]:
        """The names that must be there, in their present version, before the cell can run."""
        used = self.now.used(self._names[cell.number])
        always = {
            name
            for name in self.now.sources
            if name.startswith(PREFIX) or is_connection_type(self.now.types.get(name, ""))
        }
        return (used | always) & set(self.now.sources)

    # ------------------------------------------------------------------------------------------

    def _effect(self, cell: Cell, changes: Changes) -> str:
        """What a cell that did this may have done beside; to be asked before it counts as done."""
        return _effect(cell, self._names[cell.number], changes, self.now, self._code)

    def _effect_of(
        self, cell: Cell, changes: Changes, read: Callable[[], str | None] | None = None
    ) -> str:
        """What tells the hidden effect of a cell that did this from others; empty: it has none."""
        if not self._effect(cell, changes):
            return ""
        key = key_of(cell, self._names[cell.number], self.now)
        if self._matched[cell.number] is not None:
            return key
        # It may have read anything.
        seen = read() if read is not None else None
        return f"{UNKNOWN}{cell.number}" if seen is None else digest_json([key, seen]).hex

    def _match(self, cell: Cell, names: Names) -> Known | None:
        found = self.audit.by_key.get(key_of(cell, names, self.now), [])
        fitting = [known for known in found if not self._unfit(known)]
        if not fitting and self._find is not None and not self.now.any_name(names):
            kept = self._find(key_of(cell, names, self.now), self.now)
            fitting = [known for known in kept if not self._unfit(known)]
        same_place = [known for known in fitting if known.cell == cell.number]
        return next(iter(same_place or fitting), None)

    def _unfit(self, known: Known) -> str:
        """What outside its inputs is not as the cell found it; empty: nothing."""
        if known.stale:
            return known.stale
        now = self.now
        for name, version in known.conditions.items():
            if now.names.get(name) != version:
                return f"it sets {_shown(name)}, which is not as it was"
        for path, version in known.files.items():
            if now.files.get(path) != version:
                if path in self._changed and path not in now.file_makers:
                    return f"it reads {path}, which {self._changed[path]}"
                maker = now.file_makers.get(path)
                who = f"cell {maker} changed" if maker in self._ran else "is not as it was"
                return f"it reads {path}, which {who}"
        if known.made is not None and [*known.made] != now.made_files():
            return "it may ask for files by a module, and other cells have made others"
        for path, listing in known.listings.items():
            if path in self._changed:
                return f"it lists {path}, which {self._changed[path]}"
            if now.listing(path) != listing:
                return f"it lists {path}, which has other files now"
        return ""

    def _why(self, cell: Cell) -> str:
        like = self._like(cell)
        if like is None:
            known = any(str(c.digest) == str(cell.digest) for c in self.audit.recipe.cells)
            return "the audit has no checkpoint of it" if known else "edited or new"
        if like.stale:
            return like.stale
        if like.inputs is None:
            return "it may use any name, and some are not as they were"
        for name in [*like.inputs, *self.now.used(self._names[cell.number])]:
            now = self.now.names.get(name)
            if like.inputs.get(name) != now:
                maker = self.now.makers.get(name)
                if maker in self._ran:
                    return f"it uses `{name}`, which cell {maker} changed"
                there = "is not there now" if now is None else "is not as it was"
                return f"it uses `{name}`, which {there}"
        unfit = self._unfit(like)
        maker = self.now.makers.get(EFFECTS)
        if not unfit and maker in self._ran:
            return f"cell {maker}, which ran, has an effect that neither a name nor a file shows"
        return unfit or "state outside its names is not as it was"

    def _unsafe(self, known: Known, names: Names) -> str:
        """Why a cell whose inputs are what they were must run all the same."""
        for path in known.changes.files:
            text = FILE_PREFIX + path
            for omitted in known.checkpoint.omitted:
                if omitted.name == text:
                    return f"it writes {path}, which is not stored: {omitted.reason}"
        if self._tainted:
            touched = self.now.sharers(self.now.inputs(names) | known.changes.names)
            for name in sorted(touched & set(self._tainted)):
                return (
                    f"it uses `{name}`, which may share objects with `{self._tainted[name]}` "
                    "of a cell that ran again"
                )
        return ""

    def _demand(self, cell: Cell, names: Names) -> None:
        """A cell that runs may use what could not be stored, or hidden effects."""
        for name in sorted(self.now.used(names)):
            found = self.now.omitted.get(name)
            if found is not None:
                maker, omitted = found
                self.demanded.setdefault(
                    maker,
                    f"cell {cell.number} may use `{name}` ({omitted.type}), "
                    f"which could not be stored: {omitted.reason}",
                )
        if names.history:
            why = f"cell {cell.number} may use any cell's result, by `_` or its number"
            for number in self._restored:
                self.demanded.setdefault(number, why)
        for number, reason in self._hidden.items():
            self.demanded.setdefault(number, f"{reason}, and cell {cell.number} runs")

    def _taint(self, cell: Cell, changed: set[str], omitted: Sequence[str]) -> None:
        names = self._names[cell.number]
        touched = self.now.sharers(self.now.inputs(names)) | changed
        what = next(iter(omitted), None) or next(
            (self._tainted[name] for name in sorted(touched) if name in self._tainted), None
        )
        if what is not None:
            sharing = self.now.sharers(touched) | changed
            self._tainted.update(dict.fromkeys(sorted(sharing), what))

    def _like(self, cell: Cell) -> Known | None:
        found = self.audit.by_code.get(str(cell.digest), [])
        return min(found, key=lambda known: abs(known.cell - cell.number), default=None)

    def _replaced(self, cell: Cell) -> Known | None:
        """The cell of the audit in whose place an edited one stands."""
        known = self.audit.by_cell.get(cell.number)
        return known if known and str(known.checkpoint.code) not in self._codes else None


def _shown(name: str) -> str:
    return name[len(PREFIX) : -1] if name.startswith(PREFIX) else f"`{name}`"
