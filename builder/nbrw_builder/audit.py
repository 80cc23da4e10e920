"""Run a notebook once in the audit kernel, or as much of it as a former audit did not."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbrw_builder.audit_directory import AuditDirectory, AuditState, Run
from nbrw_builder.audit_execution import CellDone, Execution, Job
from nbrw_builder.audit_former import Formers, read_formers
from nbrw_builder.audit_inputs import AsLeftOnDisk, environment_digest
from nbrw_builder.audit_record import AuditRecord
from nbrw_builder.audit_way import Again, Foreseen, Rules, foresee
from nbrw_builder.interpreter import ask_python
from nbrw_builder.kernelspec import Kernel, find_kernel
from nbrw_builder.progress import Progress
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.errors import UsageError
from nbrw_runtime.notebook import Cell, code_cells, read_notebook
from nbrw_runtime.parameters import inject
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.walk import Action

#: Attempts to restore some cells; after them all are executed.
_ATTEMPTS = 4
#: Audits that were cut off and are kept until one is whole, with the last one that was.
_FORMER = 4


@dataclass(frozen=True)
class AuditRequest:
    """What to audit, and how. ``timeout`` is in seconds for each cell (None: none)."""

    notebook: Path
    kernel: str | None = None
    cwd: Path | None = None
    timeout: float | None = None
    allow_errors: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True)
class Audit:
    """A finished audit. ``notebook`` is nbformat JSON with parameters and outputs."""

    directory: AuditDirectory
    notebook: dict[str, Any]
    cells: tuple[Cell, ...]
    checkpoints: tuple[Checkpoint, ...]
    kernel: Kernel
    state: AuditState
    notes: tuple[str, ...] = ()
    done: tuple[CellDone, ...] = ()


@contextlib.contextmanager
def audited(request: AuditRequest, progress: Progress):  # type: ignore[no-untyped-def]
    """The audit of a notebook, while the block has its directory for itself.

    Raises UsageError (not a notebook, no such kernel, another build at work), CellError (a cell
    failed or ran past its timeout; what was audited is kept), HostError, StorageError.
    """
    path = Path(os.path.abspath(request.notebook))
    original = read_notebook(path)
    notebook = inject(original, request.parameters)
    kernel = find_kernel(notebook, request.kernel)
    cwd = Path(os.path.abspath(request.cwd or path.parent))
    if not cwd.is_dir():
        raise UsageError(f"audit in {cwd}: it is not a directory")
    directory = AuditDirectory.of(path, kernel.argv, cwd, request.parameters)
    with directory.locked():
        yield _audit(request, path, notebook, kernel, cwd, directory, progress)


def _audit(
    request: AuditRequest,
    path: Path,
    notebook: dict[str, Any],
    kernel: Kernel,
    cwd: Path,
    directory: AuditDirectory,
    progress: Progress,
) -> Audit:
    cells = code_cells(notebook)
    job = Job(
        path, notebook, cells, kernel, cwd, directory, progress, request.timeout,
        request.allow_errors,
    )  # fmt: skip
    now = AuditState(kernel.argv, str(cwd), recipe_cells(cells), environment=environment_digest())
    as_left = AsLeftOnDisk()
    forced: dict[int, str] = {}
    everything = False
    notes: list[str] = []
    for attempt in range(_ATTEMPTS + 1):
        for cell in cells:
            job.raw(cell.number).update(outputs=[], execution_count=None)
        formers = Formers(why="--fresh" if request.fresh else "")
        if not request.fresh or attempt:
            progress.stage("look at what former audits left")
            formers = read_formers(directory, now, request.allow_errors)
        if attempt == _ATTEMPTS:
            forced = {cell.number: "cells before it had to run again and again" for cell in cells}
        rules = Rules(formers, cells, str(cwd))
        foreseen = foresee(rules, forced, as_left)
        record = _record(now, formers, foreseen, kernel, directory)
        execution = Execution(job, rules, foreseen, record, as_left, everything)
        try:
            execution.run()
        except Again as again:
            notes += [*execution.notes, f"started over: {again.reason}"]
            forced = {**forced, **again.forced}
            everything = everything or again.everything
            continue
        state = record.end()
        if formers.why and not request.fresh:
            notes.append(f"all cells run: {formers.why}")
        return Audit(
            directory,
            notebook,
            cells,
            tuple(record.checkpoints.all()),
            kernel,
            state,
            (*notes, *execution.notes),
            tuple(execution.done),
        )
    raise AssertionError("the last attempt executes all cells, in one kernel")


def _record(
    now: AuditState,
    formers: Formers,
    foreseen: Foreseen,
    kernel: Kernel,
    directory: AuditDirectory,
) -> AuditRecord:
    states = [former.state for former in formers.audits]
    # Of all there are, and be it the tracer of a killed build that still writes one.
    trace = _next_trace(directory)
    if states:
        versions = states[0].python_version, states[0].platform
    else:
        directory.clear()
        python = ask_python(kernel.python)
        versions = python.version, python.platform
    state = replace(
        now,
        python_version=versions[0],
        platform=versions[1],
        checkpoints=directory.new_checkpoints(),
        former=(*states[: _FORMER - 1], *states[_FORMER - 1 :][-1:]),
    )
    run = None
    if foreseen.runs:
        first = next(step.cell for step in foreseen.steps if step.action is Action.RUN)
        run = Run(trace, first, time.time())
    return AuditRecord(directory, state, run)


def _next_trace(directory: AuditDirectory) -> str:
    numbers = [0]
    for path in directory.trace.iterdir():
        head = path.name.split(".")[0]
        if head.isdigit():
            numbers.append(int(head))
    return f"{max(numbers) + 1:04d}"
