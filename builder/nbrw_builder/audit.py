"""Run a notebook once in the audit kernel, or as much of it as a former audit did not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbrw_builder.audit_directory import AuditDirectory, AuditState, Run
from nbrw_builder.audit_kernel import AuditKernel
from nbrw_builder.audit_resume import environment_digest, first_to_run
from nbrw_builder.interpreter import ask_python
from nbrw_builder.kernelspec import Kernel, find_kernel
from nbrw_builder.progress import Progress
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import canonical_json
from nbrw_runtime.errors import CellError, StorageError, UsageError
from nbrw_runtime.notebook import Cell, code_cells, read_notebook
from nbrw_runtime.parameters import inject
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.session_file import Session, write_session

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TRACE_SECONDS = 60.0


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
    audited_cells = recipe_cells(cells)
    state = AuditState(kernel.argv, str(cwd), audited_cells, environment=environment_digest())
    former = None if request.fresh else directory.read_state()
    first, why = 1, ""
    if former is not None:
        progress.stage("look at what the former audit left")
        first, why = first_to_run(directory, former, state, request.allow_errors)
    if first == 1:
        directory.clear()
        python = ask_python(kernel.python)
        state = replace(state, python_version=python.version, platform=python.platform)
    else:
        assert former is not None
        directory.drop_from(first)
        state = replace(former, cells=audited_cells, environment=state.environment)
    for cell in cells:
        cell_json(notebook, cell.number).update(outputs=[], execution_count=None)
    for cell in cells[: first - 1]:
        _restore_outputs(directory, notebook, cell.number)
        progress.cell_ended(cell.number, "restored", 0.0)
    to_run = [cell for cell in cells[first - 1 :] if cell.runs]
    notes = [f"run again from cell {first} on: {why}"] if why and to_run else []
    if to_run:
        execution = _Execution(request, path, notebook, cells, kernel, cwd, directory, progress)
        state = replace(state, runs=(*state.runs, Run(_next_trace(directory), first, time.time())))
        directory.write_state(state)
        notes += execution.run(first)
    else:
        directory.write_state(state)
    found = (directory.read_checkpoint(cell.number) for cell in cells)
    checkpoints = tuple(checkpoint for checkpoint in found if checkpoint is not None)
    return Audit(directory, notebook, cells, checkpoints, kernel, state, tuple(notes))


def cell_json(notebook: dict[str, Any], number: int) -> dict[str, Any]:
    """The JSON of the code cell with this number."""
    code = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    return code[number - 1]


def _restore_outputs(directory: AuditDirectory, notebook: dict[str, Any], number: int) -> None:
    checkpoint = directory.read_checkpoint(number)
    if checkpoint is not None and checkpoint.outputs is not None:
        cell = cell_json(notebook, number)
        cell["outputs"] = json.loads(directory.store.get(checkpoint.outputs))
        cell["execution_count"] = number


def _next_trace(directory: AuditDirectory) -> str:
    numbers = [0]
    for path in directory.trace.iterdir():
        head = path.name.split(".")[0]
        if head.isdigit():
            numbers.append(int(head))
    return f"{max(numbers) + 1:04d}"


class _Execution:
    """One start of the audit kernel."""

    def __init__(
        self,
        request: AuditRequest,
        path: Path,
        notebook: dict[str, Any],
        cells: Sequence[Cell],
        kernel: Kernel,
        cwd: Path,
        directory: AuditDirectory,
        progress: Progress,
    ) -> None:
        self.request = request
        self.path = path
        self.notebook = notebook
        self.cells = cells
        self.kernel = kernel
        self.cwd = cwd
        self.directory = directory
        self.progress = progress
        self.notes: list[str] = []

    def run(self, first: int) -> list[str]:
        """Execute the cells from ``first`` on; returns notes for the user."""
        session = Session(
            mode="audit",
            cells=recipe_cells(self.cells),
            stores=(str(self.directory.store_root),),
            checkpoints=str(self.directory.checkpoints),
            cwd=str(self.cwd),
            author_cwd=str(self.cwd),
            written=str(self.directory.written),
        )
        write_session(session, self.directory.session)
        try:
            asyncio.run(self._run(first))
        except asyncio.CancelledError as error:
            raise KeyboardInterrupt from error
        self._await_trace()
        return self.notes

    async def _run(self, first: int) -> None:
        kernel = AuditKernel(
            self.notebook, self.kernel, self.directory, self.cwd, self.request.timeout
        )
        self.progress.stage("start the kernel under the tracer")
        async with kernel.started():
            if first > 1:
                self.progress.stage(f"restore cells 1 to {first - 1}")
                restored = [c.number for c in self.cells[: first - 1] if c.runs]
                await kernel.restore(restored)
            for cell in self.cells[first - 1 :]:
                if cell.runs:
                    await self._run_cell(kernel, cell)
                else:
                    self.progress.cell_ended(cell.number, "empty", 0.0)
            self.notes += await kernel.finish()

    async def _run_cell(self, kernel: AuditKernel, cell: Cell) -> None:
        line = next((line for line in cell.source.splitlines() if line.strip()), "")
        self.progress.cell_started(cell.number, len(self.cells), line)
        began = time.monotonic()
        try:
            error = await kernel.execute(cell.number)
        except CellError as failure:
            self.progress.cell_ended(cell.number, "failed", time.monotonic() - began)
            raise CellError(
                f"{self.path.name}: {failure}; {self._kept(cell.number)}",
                cell.number,
                failure.traceback,
            ) from failure
        seconds = time.monotonic() - began
        failure_to_store = await kernel.storage_failure()
        if failure_to_store:
            raise StorageError(
                f"store the checkpoint of cell {cell.number}: {failure_to_store}; make room in "
                f"{self.directory.root}, or name another place with XDG_CACHE_HOME; "
                f"{self._kept(cell.number)}"
            )
        raw = cell_json(self.notebook, cell.number)
        outputs = self.directory.store.put(canonical_json(raw["outputs"]))
        self.directory.write_outputs(cell.number, outputs)
        if error is None:
            self.progress.cell_ended(cell.number, "run", seconds)
            return
        self.progress.cell_ended(cell.number, "failed", seconds)
        if self.request.allow_errors or "raises-exception" in cell.tags:
            return
        await kernel.sweep()  # so that what is kept is sure
        traceback = "\n".join(error.get("traceback", []))
        raise CellError(
            f"{self.path.name}: cell {cell.number} failed: {error.get('ename', 'error')}: "
            f"{_ANSI.sub('', error.get('evalue', ''))}; {self._kept(cell.number)}",
            cell.number,
            traceback,
        )

    def _kept(self, cell: int) -> str:
        cell = min(cell, self.directory.unswept() or cell)
        if cell == 1:
            return "nothing before it is to be kept"
        before = "cell 1 is" if cell == 2 else f"cells 1 to {cell - 1} are"
        return f"{before} kept, the next build of it goes on from cell {cell}"

    def _await_trace(self) -> None:
        """Wait until the tracer has written what the kernel did."""
        deadline = time.monotonic() + _TRACE_SECONDS
        waiting = list(self.directory.trace.glob("*.jsonl.zst"))
        while time.monotonic() < deadline:
            waiting = [p for p in waiting if not _done_mark(p).exists()]
            if not waiting:
                return
            time.sleep(0.02)
        self.notes.append(
            "the tracer had not ended a minute after the kernel did; its trace may lack the end"
        )


def _done_mark(trace: Path) -> Path:
    return trace.with_name(trace.name.split(".")[0] + ".done")
