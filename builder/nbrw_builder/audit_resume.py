"""How much of a former audit still holds: the first cell that must be executed.

In doubt a cell is executed. What a restored cell read, listed or wrote must be as it was then, by
device, inode, size and ctime of what was read, and by digest of what was written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbrw_builder.audit_directory import AuditDirectory, AuditState, Run
from nbrw_builder.noise import is_cache, is_noise
from nbrw_builder.trace_file import read_trace
from nbrw_builder.uses import connection_file
from nbrw_runtime.checkpoint import StoredFile
from nbrw_runtime.digest import Digest, digest_file, digest_json
from nbrw_runtime.errors import FormatError
from nbrw_runtime.notebook import Cell
from nbrw_runtime.plan import Action, Request, make_plan
from nbrw_runtime.recipe import Environment, Recipe
from nbrw_runtime.result import lasting_variables
from nbrw_runtime.trace import Event, Kind, Trace

# What saving a notebook and building an image of it add to a directory.
_NOT_INPUTS = (".ipynb", ".sif", ".tar")


def environment_digest(variables: Mapping[str, str] | None = None) -> Digest:
    """The identity of the environment variables that a notebook may depend on."""
    found = os.environ if variables is None else variables
    return digest_json(sorted(lasting_variables(found).items()))


def first_to_run(
    directory: AuditDirectory, former: AuditState, now: AuditState, allow_errors: bool
) -> tuple[int, str]:
    """The first cell to execute (one past the last: none), and why, as a note for the user."""
    if former.environment != now.environment:
        return 1, "environment variables differ from the former audit's"
    first, why = _first_by_code(directory, former, now, allow_errors)
    unswept = directory.unswept()
    if unswept is not None and unswept < first:
        first, why = unswept, f"cell {unswept}: the former audit ended before its effect was sure"
    if first == 1:
        return first, why
    traces = load_traces(directory, former)
    if traces is None:
        return 1, "a trace of the former audit cannot be read"
    changed = _first_changed(directory, traces, former.runs, first)
    if changed is not None and changed[0] < first:
        first, why = changed
    return max(first, 1), why


def load_traces(directory: AuditDirectory, state: AuditState) -> list[Trace] | None:
    """The traces of all runs, each without the cells that a later run executed again.

    None if one of them is missing or is not a trace.
    """
    traces = []
    for index, run in enumerate(state.runs):
        # A kernel that was started again within a run has the next number.
        later = [other.first for other in state.runs[index + 1 :]]
        limit = min(later, default=None) if later else None
        found = sorted(directory.trace.glob(f"{run.trace}.jsonl*"))
        if not found:
            return None
        try:
            trace = read_trace(found[0])
        except (OSError, FormatError):
            return None
        traces.append(_until(trace, limit))
    return traces


def _until(trace: Trace, limit: int | None) -> Trace:
    if limit is None:
        return trace
    events = tuple(e for e in trace.events if not (e.cell or e.origin or 0) >= limit)
    return Trace(trace.header, events, trace.gaps, True)


def _first_by_code(
    directory: AuditDirectory, former: AuditState, now: AuditState, allow_errors: bool
) -> tuple[int, str]:
    checkpoints = []
    for cell in former.cells:
        checkpoint = directory.read_checkpoint(cell.number)
        if checkpoint is not None:
            fails = checkpoint.status != "ok" and "raises-exception" not in cell.tags
            if (fails and not allow_errors) or checkpoint.outputs is None:
                break
            checkpoints.append(checkpoint)
    recipe = Recipe(
        notebook={},
        cells=former.cells,
        checkpoints=tuple(checkpoints),
        environment=Environment("", former.cwd),
    )
    cells = [Cell(c.number, c.id, c.source, c.digest, c.tags) for c in now.cells]
    plan = make_plan(recipe, cells, Request(), elsewhere=False)
    for step in plan.steps:
        # A cell before the edit that must run again takes all after it along: the simple choice.
        if step.action is Action.RUN:
            return step.cell, f"cell {step.cell}: {step.reason}"
        if step.action is Action.RESTORE and step.audited != step.cell:
            return step.cell, f"cell {step.cell} was cell {step.audited}"
    return len(cells) + 1, ""


def _first_changed(
    directory: AuditDirectory, traces: Sequence[Trace], runs: Sequence[Run], first: int
) -> tuple[int, str] | None:
    """The first cell before ``first`` that depends on something that is no longer as it was."""
    written = _written(directory).union(*(_written_in(trace) for trace in traces))
    home = str(Path.home())
    found: tuple[int, str] | None = None
    checked: dict[tuple[str, object], bool] = {}
    for trace, run in zip(traces, runs, strict=True):
        connection = connection_file(trace)
        for event in trace.events:
            cell = event.cell or event.origin or 0
            if cell >= first or (found is not None and cell >= found[0]):
                continue
            if event.path in (None, connection) or event.path in written:
                continue
            if is_noise(event.path, home) or is_cache(event.path, home):
                continue
            key = (event.path, event.facts or event.result)
            if key not in checked:
                checked[key] = (
                    _lists_differently(event, written, run.began)
                    if event.kind is Kind.LIST
                    else _differs(event)
                )
            if checked[key]:
                found = (max(cell, 1), f"cell {max(cell, 1)}: it used {event.path}, which changed")
    for cell in range(1, first if found is None else found[0]):
        checkpoint = directory.read_checkpoint(cell)
        for stored in checkpoint.files if checkpoint else ():
            if not _later(directory, stored.path, cell, first) and not _same(stored):
                return cell, f"cell {cell}: it wrote {stored.path}, which is not as it left it"
    return found


def _differs(event: Event) -> bool:
    path = event.path or ""
    if event.kind is Kind.READ and event.result < 0:
        return os.path.lexists(path)
    if event.kind not in (Kind.READ, Kind.EXEC) or event.facts is None:
        return False
    try:
        status = os.stat(path)
    except OSError:
        return True
    facts = event.facts
    then = (facts.device, facts.inode, facts.size, facts.ctime_ns)
    return then != (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


def _lists_differently(event: Event, written: set[str], began: float) -> bool:
    """Whether somebody else may have added to or removed from a directory since.

    Where notebooks are saved, or the notebook itself writes, the directory's own times say
    nothing; there the entries that came later are looked at.
    """
    path = event.path or ""
    if event.result < 0 or event.facts is None:
        return event.result < 0 and os.path.lexists(path)
    try:
        if os.stat(path).st_mtime_ns == event.facts.mtime_ns:
            return False
        names = os.listdir(path)
    except OSError:
        return True
    own = [name for name in names if os.path.join(path, name) in written]
    if not own and not any(name.endswith(".ipynb") for name in names):
        return True
    for name in set(names) - set(own):
        if name.endswith(_NOT_INPUTS) or name.startswith(".") or name == "__pycache__":
            continue
        if os.path.exists(os.path.join(path, name, "oci-layout")):
            continue
        with contextlib.suppress(OSError):
            if os.lstat(os.path.join(path, name)).st_ctime > began:
                return True
    return False


def _written(directory: AuditDirectory) -> set[str]:
    written: set[str] = set()
    for path in directory.written.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            value = json.loads(path.read_bytes())
            written.update(value.get("written", ()), value.get("removed", ()))
    return written


def _written_in(trace: Trace) -> set[str]:
    """What the trace saw written: a cell that was cut off has no list of its own."""
    return {
        name
        for event in trace.events
        if event.ok and event.kind in (Kind.WRITE, Kind.RENAME, Kind.LINK, Kind.REMOVE)
        for name in (event.path, event.target)
        if name
    }


def _later(directory: AuditDirectory, path: str, cell: int, first: int) -> bool:
    for number in range(cell + 1, first):
        checkpoint = directory.read_checkpoint(number)
        if checkpoint is None:
            continue
        if path in checkpoint.removed or any(stored.path == path for stored in checkpoint.files):
            return True
    return False


def _same(stored: StoredFile) -> bool:
    try:
        if stored.link:
            return os.readlink(stored.path) == stored.link
        return Path(stored.path).is_file() and digest_file(stored.path)[0] == stored.digest
    except OSError:
        return False
