"""One way through an audit's cells: each is restored from a former audit, or executed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_builder.audit_directory import AuditDirectory
from nbrw_builder.audit_former import Source
from nbrw_builder.audit_kernel import AuditKernel
from nbrw_builder.audit_names import KernelNames
from nbrw_builder.audit_record import AuditRecord
from nbrw_builder.audit_traces import await_traces
from nbrw_builder.audit_way import Again, AsLeft, Foreseen, Rules, Way
from nbrw_builder.kernelspec import Kernel
from nbrw_builder.progress import Progress
from nbrw_runtime.again import missing_name
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import canonical_json
from nbrw_runtime.errors import CellError, RestoreError, StorageError
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.session_file import Session, write_session
from nbrw_runtime.walk import Action, Step

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    """What all attempts have in common. ``notebook`` receives outputs and execution counts."""

    path: Path
    notebook: dict[str, Any]
    cells: Sequence[Cell]
    kernel: Kernel
    cwd: Path
    directory: AuditDirectory
    progress: Progress
    timeout: float | None
    allow_errors: bool

    def raw(self, number: int) -> dict[str, Any]:
        """The JSON of the code cell with this number."""
        code = [cell for cell in self.notebook["cells"] if cell.get("cell_type") == "code"]
        return code[number - 1]


@dataclass(frozen=True)
class CellDone:
    """What was done with a cell: ``restored``, ``run`` or ``skipped``, and why."""

    number: int
    action: str
    reason: str = ""


class Execution:
    """One attempt. ``everything``: all names are brought back before each cell that runs."""

    def __init__(
        self,
        job: Job,
        rules: Rules,
        foreseen: Foreseen,
        record: AuditRecord,
        as_left: AsLeft,
        everything: bool = False,
    ) -> None:
        self.job = job
        self.rules = rules
        self.record = record
        self.as_left = as_left
        self.done: list[CellDone] = []
        self.notes: list[str] = []
        self._kernel_starts = foreseen.runs
        self._way = Way(rules, foreseen.forced)
        self._names = KernelNames(self._way.walk, everything)
        self._sources: dict[int, Source] = {}
        self._unswept = False
        self._unchecked = False

    def run(self) -> None:
        """Go through all cells.

        Raises Again, CellError, StorageError, RestoreError, TraceError.
        """
        if not self._kernel_starts:
            asyncio.run(self._follow(None))
            return
        session = Session(
            mode="audit",
            cells=recipe_cells(self.job.cells),
            stores=(str(self.job.directory.store_root),),
            checkpoints=str(self.record.checkpoints.root),
            cwd=str(self.job.cwd),
            author_cwd=str(self.job.cwd),
            written=str(self.job.directory.written),
            traces=str(self.job.directory.trace / f"{self.record.trace:04d}"),
        )
        for old in self.job.directory.written.glob("*.json"):
            old.unlink()
        write_session(session, self.job.directory.session)
        try:
            asyncio.run(self._start())
        except asyncio.CancelledError as error:
            raise KeyboardInterrupt from error
        except Again:
            self._await_trace()
            raise
        self._await_trace()

    async def _start(self) -> None:
        job = self.job
        kernel = AuditKernel(
            job.notebook, job.kernel, job.directory, job.cwd, job.timeout, self.record.trace
        )
        job.progress.stage("start the kernel under the tracer")
        async with kernel.started():
            await self._follow(kernel)
            self.notes += await kernel.finish()

    async def _follow(self, kernel: AuditKernel | None) -> None:
        for cell in self.job.cells:
            step = await self._decide(kernel, cell)
            if step.action is Action.RESTORE:
                self._restore(cell, step)
            elif step.action is Action.SKIP:
                self.done.append(CellDone(cell.number, "skipped", step.reason))
                self.job.progress.cell_ended(cell.number, "empty", 0.0)
            elif kernel is None:
                raise Again(step.reason, {cell.number: step.reason})
            else:
                self._check_files()
                self.record.publish()
                await self._bring(kernel, cell)
                await self._run_cell(kernel, cell, step)
        self._check_files()

    async def _decide(self, kernel: AuditKernel | None, cell: Cell) -> Step:
        step = self._way.decide(cell)
        if step.action is Action.RESTORE and kernel is not None and self._unswept:
            # Before a cell counts as unaffected: did cells that ran change what they do not show?
            self._unswept = False
            self._note_late(await kernel.sweep())
            step = self._way.decide(cell)
        demanded = self._way.demanded()
        if demanded:
            raise Again(next(iter(demanded.values())), demanded)
        return step

    def _note_late(self, late: Mapping[str, int]) -> None:
        """From the first cell that may have changed something unseen, nothing is restored."""
        if not late or not self.rules.formers.audits:
            return
        name, first = min(late.items(), key=lambda item: (item[1], item[0]))
        reason = f"`{name}` changed after cell {first} began, by something that no cell shows"
        if any(number > first for number in self._sources):
            later = {cell.number: reason for cell in self.job.cells if cell.number >= first}
            raise Again(reason, later)
        self._force_after(first, reason)

    def _check_files(self) -> None:
        spoilt = self._way.spoilt(self.as_left)
        if spoilt:
            raise Again(next(iter(spoilt.values())), spoilt)

    def _restore(self, cell: Cell, step: Step) -> None:
        source = self._way.restored(cell, step)
        count = self.rules.counts[cell.number]
        moved = self.rules.moved(cell, source)
        checkpoint, outputs = self.record.restore(source, cell.number, count, moved)
        self._sources[cell.number] = source
        self._names.restored(step.audited or 0, checkpoint)
        self.job.raw(cell.number).update(outputs=outputs, execution_count=count)
        self.done.append(CellDone(cell.number, "restored", step.reason))
        self.job.progress.cell_ended(cell.number, "restored", 0.0)

    # -- a cell that runs ----------------------------------------------------------------------

    async def _bring(self, kernel: AuditKernel, cell: Cell) -> None:
        request = self._names.request(cell)
        if request["wanted"]:
            self.job.progress.stage(f"restore what cell {cell.number} needs")
        count = self.rules.counts[cell.number]
        answer = await kernel.bring({**request, "count": count, "last": cell.number - 1})
        self._check_brought(answer["failed"])
        self._unchecked = bool(answer["pending"])

    def _check_brought(self, failed: Sequence[Mapping[str, Any]]) -> None:
        """What cannot be brought back was never stored: the cells that made it run again."""
        for found in failed:
            reason = (
                f"what cell {found['cell']} left ({', '.join(found['names'])}) could not be "
                f"brought back: {found['reason']}"
            )
            source = self._sources.get(found["cell"])
            if source is None:
                raise RestoreError(f"resume: {reason}; build with --fresh")
            source.former.directory.remove(source.checkpoint.cell)
            self.record.checkpoints.remove(found["cell"])
            self.notes.append(reason)
            raise Again(reason)

    async def _run_cell(self, kernel: AuditKernel, cell: Cell, step: Step) -> None:
        job = self.job
        line = cell.source.strip().partition("\n")[0]
        job.progress.cell_started(cell.number, len(job.cells), line)
        began = time.monotonic()
        reason = step.reason if self.rules.formers.audits else self.rules.formers.why
        try:
            error = await kernel.execute(cell.number)
        except CellError as failure:
            job.progress.cell_ended(cell.number, "failed", time.monotonic() - began, reason)
            raise CellError(
                f"{job.path.name}: {failure}; {self._kept(cell.number)}",
                cell.number,
                failure.traceback,
            ) from failure
        seconds = time.monotonic() - began
        status = await kernel.status()
        if self._unchecked:
            self._unchecked = False
            failed = await kernel.checked()
            if failed:
                self.record.checkpoints.remove(cell.number)
            self._check_brought(failed)
        checkpoint = self._complete(cell, status)
        fails = error is not None and not (job.allow_errors or "raises-exception" in cell.tags)
        job.progress.cell_ended(cell.number, "failed" if error else "run", seconds, reason)
        if error is not None:
            text = f"{error.get('ename', 'error')}: {_ANSI.sub('', error.get('evalue', ''))}"
            missing = missing_name(text)
            if missing and self._names.is_hidden(missing):
                self.record.checkpoints.remove(cell.number)
                why = f"`{missing}` is used in a way that cannot be foreseen"
                raise Again(why, everything=True)
            if fails:
                await kernel.sweep()  # so that what is kept is sure
                raise CellError(
                    f"{job.path.name}: cell {cell.number} failed: {text}; "
                    f"{self._kept(cell.number)}",
                    cell.number,
                    "\n".join(error.get("traceback", [])),
                )
        self.done.append(CellDone(cell.number, "run", reason))
        self._learn(cell, checkpoint, status)

    def _complete(self, cell: Cell, status: Mapping[str, Any]) -> Checkpoint | None:
        """The cell's checkpoint, completed by its outputs; None if the kernel made none."""
        if status.get("failure"):
            raise StorageError(
                f"store the checkpoint of cell {cell.number}: {status['failure']}; make room in "
                f"{self.job.directory.root}, or name another place with XDG_CACHE_HOME; "
                f"{self._kept(cell.number)}"
            )
        raw = self.job.raw(cell.number)
        outputs = self.job.directory.store.put(canonical_json(raw["outputs"]))
        self.record.checkpoints.keep_written(cell.number)
        return self.record.checkpoints.write_outputs(cell.number, outputs)

    def _learn(self, cell: Cell, checkpoint: Checkpoint | None, status: Mapping[str, Any]) -> None:
        """What did the cell change?"""
        if checkpoint is None:
            self._force_after(cell.number, f"what cell {cell.number} did is not known")
            self._way.walk.will_run(cell)
            return
        self._way.ran(cell, checkpoint)
        self._names.ran(checkpoint)
        self._unswept = bool(status["unswept"])
        self._note_late(status["late"])
        if status["threads"]:
            # Who knows what they will do to what.
            name = status["threads"][0]
            self._force_after(cell.number, f"{name}, which cell {cell.number} left, still runs")

    def _force_after(self, number: int, reason: str) -> None:
        later = {cell.number: reason for cell in self.job.cells if cell.number > number}
        self._way.forced = {**later, **self._way.forced}

    def _kept(self, cell: int) -> str:
        cell = min(cell, self.record.checkpoints.unswept() or cell)
        if cell == 1:
            return "nothing before it is to be kept"
        before = "cell 1 is" if cell == 2 else f"cells 1 to {cell - 1} are"
        return f"{before} kept, the next build of it goes on from cell {cell}"

    def _await_trace(self) -> None:
        if not await_traces(self.job.directory):
            self.notes.append(
                "the tracer had not ended a minute after the kernel did; its trace may lack the end"
            )
