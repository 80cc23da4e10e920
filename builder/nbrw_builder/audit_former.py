"""What former audits of a notebook left that is still of use."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbrw_builder.audit_checkpoints import CheckpointDirectory, without_results
from nbrw_builder.audit_directory import AuditDirectory, AuditState
from nbrw_builder.audit_inputs import changed_since, written_in
from nbrw_builder.audit_traces import load_traces
from nbrw_builder.noise import is_cache, is_noise
from nbrw_builder.packages import source_of
from nbrw_builder.trace_part import PartialTrace, part_of
from nbrw_builder.uses import collect, connection_file
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import Digest
from nbrw_runtime.paths import is_installed, is_system
from nbrw_runtime.recipe import Environment, Recipe
from nbrw_runtime.trace import Trace
from nbrw_runtime.walk import Audit

#: Numbers of cells of different audits must differ.
_OFFSET = 1_000_000


@dataclass(frozen=True)
class Former:
    """One former audit; ``checkpoints`` are those of its first cells, up to one that is in doubt.

    ``stale`` are cells of these that used what is no longer as it was, each with the reason.
    """

    state: AuditState
    directory: CheckpointDirectory
    checkpoints: tuple[Checkpoint, ...]
    data: tuple[Data, ...]
    stale: dict[int, str]


@dataclass(frozen=True)
class Source:
    """Where a cell that is restored comes from."""

    former: Former
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Formers:
    """All of them, newest first; ``why`` tells what became of those that cannot be used."""

    audits: tuple[Former, ...] = ()
    why: str = ""

    def known(self, cwd: str, results: bool) -> Audit:
        """What they know, for a walk. ``results``: names such as ``_5`` count."""
        audit: Audit | None = None
        for index, former in enumerate(self.audits):
            found = Audit(
                _recipe(former, cwd, index * _OFFSET, results),
                elsewhere=False,
                stale={cell + index * _OFFSET: why for cell, why in former.stale.items()},
            )
            if audit is None:
                audit = found
            else:
                audit.add(found)
        return audit or Audit(Recipe({}, (), (), Environment("", cwd)))

    def source(self, audited: int) -> Source:
        """The cell that has this number in :meth:`known`."""
        index, number = divmod(audited, _OFFSET)
        former = self.audits[index]
        return Source(former, next(c for c in former.checkpoints if c.cell == number))


def read_formers(directory: AuditDirectory, now: AuditState, allow_errors: bool) -> Formers:
    """The former audits that are still of use. What has changed since is looked for on disk."""
    latest = directory.read_state()
    if latest is None:
        return Formers()
    states = [replace(latest, former=()), *latest.former]
    if latest.environment != now.environment:
        return Formers(why="environment variables differ from the former audit's")
    loaded = []
    for state in states:
        checkpoints = usable(
            directory.checkpoints_of(state), state, allow_errors, directory.store.__contains__
        )
        if checkpoints:
            loaded.append((state, checkpoints, load_traces(directory, state)))
    if any(traces is None for _, _, traces in loaded):
        return Formers(why="a trace of the former audit cannot be read")
    made = {
        path
        for _, _, traces in loaded
        for trace in traces or ()
        for path in written_in(trace.whole if isinstance(trace, PartialTrace) else trace.events)
    }
    found = []
    for state, checkpoints, traces in loaded:
        place = directory.checkpoints_of(state)
        written = _listed(place, checkpoints)
        changed = changed_since(traces or (), state.runs, written, made | written, checkpoints)
        if changed.everything:
            return Formers(why=changed.everything)
        data = _data(traces or (), checkpoints)
        found.append(Former(state, place, checkpoints, data, changed.cells))
    return Formers(tuple(found))


def usable(
    directory: CheckpointDirectory,
    state: AuditState,
    allow_errors: bool,
    stored: Callable[[Digest], bool],
) -> tuple[Checkpoint, ...]:
    """The checkpoints of the cells before the first whose effect is not known for sure.

    ``stored`` tells whether a blob is there.
    """
    found = []
    unswept = directory.unswept()
    for cell in state.cells:
        if not is_executed(cell.source, cell.tags):
            continue
        checkpoint = directory.read(cell.number)
        if checkpoint is None or checkpoint.outputs is None:
            break
        if unswept is not None and cell.number >= unswept:
            break
        if checkpoint.status != "ok" and "raises-exception" not in cell.tags and not allow_errors:
            break
        if not all(stored(blob) for blob in checkpoint.blobs):
            break
        found.append(checkpoint)
    return tuple(found)


def is_executed(source: str, tags: Sequence[str]) -> bool:
    """Whether nbclient executes such a cell."""
    return bool(source.strip()) and "skip-execution" not in tags


def _listed(directory: CheckpointDirectory, checkpoints: Sequence[Checkpoint]) -> set[str]:
    written: set[str] = set()
    for checkpoint in checkpoints:
        value = json.loads(directory.written(checkpoint.cell) or b"{}")
        written.update(value.get("written", ()), value.get("removed", ()))
    return written


def _data(traces: Sequence[Trace], checkpoints: Sequence[Checkpoint]) -> tuple[Data, ...]:
    """The data that cells handed on by files, or found: enough to tell who depends on whom.

    What of it has changed since is told by `audit_inputs.py`, so no content is looked at.
    """
    cells = {checkpoint.cell: checkpoint.cell for checkpoint in checkpoints}
    uses = collect([part_of(trace, cells) for trace in traces])
    home = str(Path.home())
    connections = {connection_file(trace) for trace in traces}
    found = []
    for use in uses.values():
        path = use.path
        source = uses.get(source_of(path))
        if source is not None and source is not use and source.written:
            # Python reads what it compiled from a module that the notebook wrote.
            path = source.path
        elif path in connections or is_noise(path, home) or is_cache(path, home):
            continue
        if not use.cells or (not use.written and (is_system(path) or is_installed(path))):
            continue
        where = tuple(sorted(use.cells))
        if use.written and path == use.path:
            found.append(Data(path, DataState.WRITTEN, where))
        if use.kinds <= {"absent"}:
            found.append(Data(path, DataState.ABSENT, where))
        elif "list" in use.kinds and not use.inputs:
            found.append(Data(path, DataState.LISTED, where))
        elif use.inputs and path == use.path:
            found.append(Data(path, DataState.READ, where))
        elif path != use.path:
            found.append(Data(path, DataState.WRITTEN, where))
    return tuple(sorted(found, key=lambda data: data.path))


def _recipe(former: Former, cwd: str, offset: int, results: bool) -> Recipe:
    checkpoints = former.checkpoints
    if not results:
        checkpoints = tuple(without_results(checkpoint) for checkpoint in checkpoints)
    return Recipe(
        notebook={},
        cells=tuple(replace(cell, number=cell.number + offset) for cell in former.state.cells),
        checkpoints=tuple(replace(c, cell=c.cell + offset) for c in checkpoints),
        environment=Environment("", cwd),
        dependencies=Dependencies(
            data=tuple(
                replace(data, cells=tuple(cell + offset for cell in data.cells))
                for data in former.data
            )
        ),
    )
