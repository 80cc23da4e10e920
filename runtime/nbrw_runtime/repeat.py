"""`repeat`: restore what holds, run the rest, compare, report."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbrw_runtime.compare import differences
from nbrw_runtime.digest import digest_file
from nbrw_runtime.errors import CellError, IntegrityError, NbrwError, StorageError, UsageError
from nbrw_runtime.execute import RepeatKernel, started
from nbrw_runtime.notebook import Cell, code_cells, read_notebook
from nbrw_runtime.parameters import INJECTED_TAG, inject
from nbrw_runtime.plan import Action, Plan, Request, Step, make_plan, unrestored
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.repeat_kernel import kernel_argv, kernel_environment, prepare_session
from nbrw_runtime.report import CellReport, Report
from nbrw_runtime.session_file import write_atomically
from nbrw_runtime.store import StackedStore
from nbrw_runtime.view import View, open_view
from nbrw_runtime.workdir import WorkDirectory

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class RepeatOptions:
    """What to repeat. ``notebook`` None: the author's. ``timeout`` in seconds for each cell."""

    notebook: Path | None = None
    request: Request = field(default_factory=Request)
    dry_run: bool = False
    output: Path | None = None
    work_dir: Path = Path()
    timeout: float | None = None
    allow_errors: bool = False


class _Again(Exception):
    """What a cell left could not be brought back: cells from this one on must run."""

    def __init__(self, cell: int, reason: str) -> None:
        self.cell = cell
        self.reason = reason


Watch = Callable[[str], None]


def load_notebook(recipe: Recipe, path: Path | None) -> dict[str, Any]:
    """The notebook to repeat, with the author's parameters. Raises UsageError."""
    if path is None:
        return json.loads(json.dumps(recipe.notebook))
    notebook = read_notebook(path)
    given = any(INJECTED_TAG in c.get("metadata", {}).get("tags", []) for c in notebook["cells"])
    return inject(notebook, {} if given else recipe.parameters)


def run_repeat(recipe: Recipe, options: RepeatOptions, watch: Watch = lambda text: None) -> Report:
    """Repeat; returns the report, in which a failed cell is the last that is not skipped.

    The output notebook is written in any case. Raises UsageError (a cell out of range, not a
    notebook, a file in the way), IntegrityError (a corrupt blob), StorageError.
    """
    began = time.monotonic()
    notebook = load_notebook(recipe, options.notebook)
    cells = code_cells(notebook)
    make_plan(recipe, cells, options.request)  # what is wrong with the request comes first
    root = Path(options.work_dir).resolve()
    if not root.is_dir():
        raise UsageError(f"repeat in {root}: it is not a directory; make it first")
    work = WorkDirectory(root, recipe.environment.cwd)
    if options.dry_run:
        plan = make_plan(recipe, cells, options.request)
        return Report(recipe.title, recipe.created_by, _planned(recipe, plan), dry_run=True)
    try:
        work.open(recipe.dependencies)
        plan = make_plan(recipe, cells, options.request, work.changed)
        view = open_view(recipe.environment.cwd, root, _outside(recipe, work))
        notes = _view_notes(recipe, view)
        with tempfile.TemporaryDirectory(prefix="nbrw-repeat-") as scratch:
            while True:
                run = _Run(recipe, options, notebook, cells, plan, work, view, Path(scratch), watch)
                try:
                    done = run.execute()
                    break
                except _Again as again:
                    # The namespace holds later values by now: only a new kernel is clean.
                    notes.append(again.reason)
                    plan = _from(plan, again.cell, again.reason)
    finally:
        work.close()
    output = options.output or root / f"{recipe.title or 'notebook'}.repeat.ipynb"
    report = Report(
        recipe.title,
        recipe.created_by,
        tuple(done),
        notebook=str(output),
        work_dir=str(root),
        view=view.strategy,
        seconds=round(time.monotonic() - began, 3),
        notes=(*notes, *run.notes),
    )
    _write_notebook(notebook, report, output)
    return report


def _outside(recipe: Recipe, work: WorkDirectory) -> list[str]:
    """Author's inputs that do not lie below the working directory."""
    read = (data.path for data in recipe.dependencies.data if data.digest is not None)
    return [path for path in read if work.place(path) is None]


def _view_notes(recipe: Recipe, view: View) -> list[str]:
    notes = [view.note] if view.note else []
    users = {data.path: data.cells for data in recipe.dependencies.data}
    for path in view.unreachable[:5]:
        cells = ", ".join(str(cell) for cell in users.get(path, ())) or "none"
        notes.append(f"{path} cannot be reached under its name (read by cells: {cells})")
    return notes


def _planned(recipe: Recipe, plan: Plan) -> tuple[CellReport, ...]:
    words = {Action.RESTORE: "restored", Action.RUN: "run", Action.SKIP: "skipped"}
    return tuple(
        CellReport(
            step.cell, words[step.action], step.reason, audit_seconds=_audit_seconds(recipe, step)
        )
        for step in plan.steps
    )


def _audit_seconds(recipe: Recipe, step: Step) -> float | None:
    checkpoint = recipe.checkpoint(step.audited) if step.audited is not None else None
    return checkpoint.seconds if checkpoint else None


def _from(plan: Plan, cell: int, reason: str) -> Plan:
    """The plan with all cells from this one on run."""
    steps = [
        replace(step, action=Action.RUN, reason=reason if step.cell == cell else f"after {cell}")
        if step.cell >= cell and step.action is Action.RESTORE
        else step
        for step in plan.steps
    ]
    return Plan(tuple(steps))


class _Run:
    """One kernel's way through a plan."""

    def __init__(
        self,
        recipe: Recipe,
        options: RepeatOptions,
        notebook: dict[str, Any],
        cells: Sequence[Cell],
        plan: Plan,
        work: WorkDirectory,
        view: View,
        scratch: Path,
        watch: Watch,
    ) -> None:
        self.recipe = recipe
        self.options = options
        self.cells = {cell.number: cell for cell in cells}
        self.raw = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
        self.plan = plan
        self.work = work
        self.view = view
        self.scratch = scratch
        self.watch = watch
        self.notes: list[str] = []
        self.done: list[CellReport] = []
        self.store = StackedStore(())
        self.run_from: str | None = None  # why cells that could be restored are run all the same

    def execute(self) -> list[CellReport]:
        """Go through the plan. Raises _Again, IntegrityError, UsageError, StorageError."""
        session, stores = prepare_session(
            self.recipe, list(self.cells.values()), self.view.cwd, self.scratch
        )
        self.store = StackedStore(stores)
        if not self.plan.cells(Action.RUN):
            for step in self.plan.steps:
                self._report_unrun(step)
            self._place_files([s.audited for s in self.plan.steps if s.audited is not None])
            return self.done
        environment = kernel_environment(self.recipe, self.scratch)
        log = self.scratch / "kernel.log"
        argv = kernel_argv(self.recipe, session)
        self.watch("start the kernel")
        try:
            with started(argv, self.view.cwd, environment, log) as kernel:
                self._follow(kernel)
                with contextlib.suppress(NbrwError):
                    self.notes += kernel.ask("finish_json").get("notes", [])
        except CellError as error:
            if error.cell not in self.cells:
                raise
            self._fail(error.cell, str(error))
        return self.done

    def _follow(self, kernel: RepeatKernel) -> None:
        waiting: list[Step] = []
        for step in self.plan.steps:
            if self.run_from and step.action is Action.RESTORE:
                step = replace(step, action=Action.RUN, reason=self.run_from)
            if step.action is Action.RESTORE:
                waiting.append(step)
                continue
            if step.action is Action.SKIP:
                self._report_unrun(step)
                continue
            self._restore(kernel, waiting)
            waiting = []
            if not self._run(kernel, step):
                return
        self._restore(kernel, waiting)
        self.done.sort(key=lambda cell: cell.cell)

    def _restore(self, kernel: RepeatKernel, steps: Sequence[Step]) -> None:
        numbers = [step.audited for step in steps if step.audited is not None]
        if not numbers:
            return
        self.watch(f"restore cells {numbers[0]} to {numbers[-1]}")
        answer = kernel.ask("restore_json", json.dumps(numbers))
        for failed in answer["failed"]:
            names = ", ".join(failed["names"])
            text = f"what cell {failed['cell']} left ({names}) could not be brought back: "
            if failed.get("integrity"):
                raise BlobError(text + failed["reason"])
            raise _Again(failed["cell"], text + failed["reason"])
        self._place_files(numbers)
        for step in steps:
            self._report_unrun(step)

    def _place_files(self, numbers: Sequence[int | None]) -> None:
        found = [c for c in self.recipe.checkpoints if c.cell in numbers]
        last = {stored.path: stored for checkpoint in found for stored in checkpoint.files}
        for checkpoint in found:
            for path in checkpoint.removed:
                if last.get(path) in checkpoint.files:
                    continue
                last.pop(path, None)
        removed = [path for checkpoint in found for path in checkpoint.removed]
        unplaced = self.work.restore_files(
            last.values(), [path for path in removed if path not in last], self.store.path
        )
        for path in unplaced:
            self.notes.append(
                f"{path}, which a restored cell wrote, lies outside the work directory"
            )

    def _report_unrun(self, step: Step) -> None:
        outputs = self._author_outputs(step)
        restored = step.action is Action.RESTORE
        if restored:
            self.raw[step.cell - 1]["outputs"] = outputs
            self.raw[step.cell - 1]["execution_count"] = step.cell
        self.done.append(
            CellReport(
                step.cell,
                "restored" if restored else "skipped",
                step.reason,
                audit_seconds=_audit_seconds(self.recipe, step),
                outputs="restored" if restored else "not compared",
            )
        )

    def _author_outputs(self, step: Step) -> list[dict[str, Any]]:
        checkpoint = self.recipe.checkpoint(step.audited) if step.audited is not None else None
        if checkpoint is None or checkpoint.outputs is None:
            return []
        return json.loads(self.store.get(checkpoint.outputs))

    def _run(self, kernel: RepeatKernel, step: Step) -> bool:
        """Run one cell; False if it failed and nothing after it runs."""
        cell = self.cells[step.cell]
        self.watch(f"cell {step.cell}/{len(self.cells)}  {step.reason}")
        began = time.monotonic()
        outputs = kernel.run(step.cell, cell.source, self.options.timeout)
        seconds = round(time.monotonic() - began, 3)
        raw = self.raw[step.cell - 1]
        raw["outputs"] = outputs.outputs
        raw["execution_count"] = step.cell
        checkpoint = self.recipe.checkpoint(step.audited) if step.audited is not None else None
        compared, found, files = "not compared", [], []
        if checkpoint is not None:
            found = differences(self._author_outputs(step), outputs.outputs)
            files = self._files_that_differ(step)
            compared = "different" if found or files else "equal"
        report = CellReport(
            step.cell,
            "run",
            step.reason,
            seconds,
            checkpoint.seconds if checkpoint else None,
            compared,
            tuple(found),
            tuple(files),
        )
        error = outputs.error
        expected = checkpoint is not None and checkpoint.status != "ok"
        allowed = self.options.allow_errors or "raises-exception" in cell.tags or expected
        if error is not None and not allowed:
            text = f"{error['ename']}: {_ANSI.sub('', error['evalue'])}"
            missing = _UNDEFINED.search(text)
            known = unrestored(self.recipe, self.plan)
            if missing and missing[1] in known:
                text += f"; {known[missing[1]]}"
            self._fail(step.cell, f"cell {step.cell} failed: {text}", report)
            return False
        self.done.append(report)
        if checkpoint is not None and not self.run_from:
            self._verify(kernel, step)
        return True

    def _verify(self, kernel: RepeatKernel, step: Step) -> None:
        """After a cell before restored ones ran again: what is restored must fit its results."""
        later = [s for s in self.plan.steps if s.cell > step.cell and s.action is Action.RESTORE]
        if not later or step.audited is None:
            return
        answer = kernel.ask("verify_json", step.audited)
        if not answer["equal"]:
            names = ", ".join(answer["differs"])
            self.run_from = f"cell {step.cell} gave other results than the author's: {names}"

    def _files_that_differ(self, step: Step) -> list[str]:
        checkpoint = self.recipe.checkpoint(step.audited) if step.audited is not None else None
        found = []
        for stored in checkpoint.files if checkpoint else ():
            place = self.work.place(stored.path)
            if place is None or stored.link:
                continue
            if not place.is_file() or digest_file(place)[0] != stored.digest:
                found.append(str(place.relative_to(self.work.root)))
            else:
                self.work.note_written({stored.path: stored.digest})
        return found

    def _fail(self, number: int, text: str, report: CellReport | None = None) -> None:
        step = next(step for step in self.plan.steps if step.cell == number)
        base = report or CellReport(number, "failed", step.reason)
        self.done.append(replace(base, action="failed", error=text))
        for later in self.plan.steps:
            if later.cell > number:
                reason = f"cell {number} failed"
                self.done.append(CellReport(later.cell, "skipped", reason))
        self.done.sort(key=lambda cell: cell.cell)


class BlobError(IntegrityError):
    """A blob of the image is missing or corrupt; the message names the cell."""

    def __init__(self, message: str) -> None:
        NbrwError.__init__(self, message)


def _write_notebook(notebook: dict[str, Any], report: Report, path: Path) -> None:
    code = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    for cell, done in zip(code, report.cells, strict=True):
        cell.setdefault("metadata", {})["nbrw"] = {
            "action": done.action,
            "reason": done.reason,
            "outputs": done.outputs,
        }
        if done.action == "skipped":
            cell.update(outputs=[], execution_count=None)
    notebook.setdefault("metadata", {})["nbrw"] = {
        "image": report.image,
        "created_by": report.created_by,
        "equal": report.equal,
    }
    data = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, data.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise StorageError(f"write {path}: {error.strerror}; name another with -o") from error
