"""`repeat`: restore what holds, run the rest, compare, report."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_runtime.again import Again
from nbrw_runtime.caller_store import CallerStore, open_caller_store
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import StorageError, UsageError
from nbrw_runtime.file_watch import FileWatch
from nbrw_runtime.follow import Follower, Watch
from nbrw_runtime.held_directory import held
from nbrw_runtime.kept_results import KeptResults
from nbrw_runtime.last_report import for_notebook, output_name
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.plan import Action, Request, make_plan, requested
from nbrw_runtime.planned import load_notebook, planned
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.repeat_kernel import image_stores, kernel_environment
from nbrw_runtime.report import Report
from nbrw_runtime.result import environment_digest
from nbrw_runtime.session_file import ClusterOrders, write_atomically
from nbrw_runtime.store import StackedStore
from nbrw_runtime.tolerance import DEFAULT, Tolerance
from nbrw_runtime.view import View, open_view, temporary_directory
from nbrw_runtime.workdir import WorkDirectory


@dataclass(frozen=True)
class RepeatOptions:
    """What to repeat. ``notebook`` None: the author's. ``timeout`` in seconds for each cell.

    ``verify``: the files of cells are compared more thoroughly, and the report counts. ``keep``:
    results are kept for later repeats, and those of earlier ones are used. ``tasks``: the audit's
    results of Dask tasks are loaded. ``cluster``: where tasks run. ``identity`` is the digest of
    the recipe's bytes, ``signature`` what is known of the image's.
    """

    notebook: Path | None = None
    request: Request = field(default_factory=Request)
    dry_run: bool = False
    output: Path | None = None
    work_dir: Path = Path()
    timeout: float | None = None
    allow_errors: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    verify: bool = False
    tolerance: Tolerance = DEFAULT
    keep: bool = True
    tasks: bool = True
    cluster: ClusterOrders = field(default_factory=ClusterOrders)
    identity: Digest | None = None
    signature: str = ""


def run_repeat(recipe: Recipe, options: RepeatOptions, watch: Watch = lambda text: None) -> Report:
    """Repeat; returns the report, in which a failed cell is the last that is not skipped.

    The output notebook is written in any case. Raises UsageError (a cell out of range, not a
    notebook, a file in the way), IntegrityError (a corrupt blob), StorageError.
    """
    began = time.monotonic()
    notebook = load_notebook(recipe, options.notebook, options.parameters)
    cells = code_cells(notebook)
    requested(cells, options.request)  # what is wrong with the request comes first
    root = Path(options.work_dir).resolve()
    if not root.is_dir():
        raise UsageError(f"repeat in {root}: it is not a directory; make it first")
    work = WorkDirectory(root, recipe.environment.cwd)
    if options.dry_run:
        return planned(recipe, notebook, options.request)
    with contextlib.ExitStack() as stack:
        stack.callback(work.close)
        work.open(recipe.dependencies)
        output = options.output or root / output_name(recipe.title)
        place = stack.enter_context(held(output))
        # Before the view, which may hide where it is.
        hidden = "" if str(root) == recipe.environment.cwd else recipe.environment.cwd
        kept_here = Path(stack.enter_context(temporary_directory("nbrw-kept-")))
        caller = stack.enter_context(open_caller_store(kept_here, hidden=hidden))
        view = open_view(recipe.environment.cwd, root, work.outside(recipe.dependencies))
        work.root = Path(view.work or root)
        notes = _view_notes(recipe, view)
        scratch = Path(stack.enter_context(temporary_directory("nbrw-repeat-")))
        kept = _kept(recipe, caller, work, view, scratch) if options.keep else None
        find = kept.find if kept else None
        plan = make_plan(recipe, cells, options.request, work.changed, find=find)
        files = FileWatch(work, recipe.dependencies.data)
        runs, forced, everything = bool(plan.cells(Action.RUN)), plan.forced, False
        while True:
            run = Follower(
                recipe,
                notebook,
                cells,
                forced,
                work,
                files,
                view,
                scratch,
                watch,
                timeout=options.timeout,
                allow_errors=options.allow_errors,
                everything=everything,
                verify=options.verify,
                tolerance=options.tolerance,
                kept=kept,
                tasks=options.tasks,
                cluster=options.cluster,
            )
            try:
                done = run.execute(runs)
                break
            except Again as again:
                notes.append(again.reason)
                runs, forced = True, again.forced
                everything = everything or again.everything
                notes += [
                    f"{path} is not as it was when the repeat began: a cell changed it, and then "
                    "all was begun again"
                    for path in files.rewind()
                ]
                work.open(recipe.dependencies)
        notes += caller.notes
        if caller.why_not and options.keep and runs and caller.why_not not in notes:
            notes.append(caller.why_not)
        report = Report(
            recipe.title,
            recipe.created_by,
            tuple(done),
            notebook=str(output),
            work_dir=str(root),
            view=view.strategy,
            seconds=round(time.monotonic() - began, 3),
            notes=(*notes, *run.notes),
            verify=options.verify,
            tolerance=options.tolerance if options.verify or options.tolerance != DEFAULT else None,
            signature=options.signature,
            recipe=options.identity,
        )
        _write_notebook(notebook, report, place)
    return report


def _kept(
    recipe: Recipe, store: CallerStore, work: WorkDirectory, view: View, scratch: Path
) -> KeptResults:
    store.image = StackedStore(image_stores(recipe))
    variables = kernel_environment(recipe, scratch)
    environment = environment_digest(recipe, variables, view.cwd, str(scratch))
    return KeptResults(store, environment, work, view.cwd, recipe.title)


def _view_notes(recipe: Recipe, view: View) -> list[str]:
    notes = [view.note] if view.note else []
    users = {data.path: data.cells for data in recipe.dependencies.data}
    for path in view.unreachable[:5]:
        cells = ", ".join(str(cell) for cell in users.get(path, ())) or "none"
        notes.append(f"{path} cannot be reached under its name (read by cells: {cells})")
    return notes


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
        "report": for_notebook(report),
    }
    data = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, data.encode("utf-8", "surrogatepass"))
    except OSError as error:
        name = report.notebook
        raise StorageError(f"write {name}: {error.strerror}; name another with -o") from error
