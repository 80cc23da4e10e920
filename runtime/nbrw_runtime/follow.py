"""One kernel's way through the cells: at each it is decided anew whether it must run."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbrw_runtime.accesses import Used, used
from nbrw_runtime.again import Again, BlobError, missing_name, unstored
from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredObject
from nbrw_runtime.compare import IGNORE_TAG, is_ignored
from nbrw_runtime.comparing import Comparing
from nbrw_runtime.digest import Digest, canonical_json
from nbrw_runtime.errors import CellError, IntegrityError, NbrwError, NotFoundError, StorageError
from nbrw_runtime.execute import RepeatKernel, started
from nbrw_runtime.file_watch import FileWatch
from nbrw_runtime.follow_tasks import TaskKeeper
from nbrw_runtime.image_software import image_software
from nbrw_runtime.kept_results import FIRST, KeptResults, NotKept, Ran
from nbrw_runtime.names import names_of
from nbrw_runtime.notebook import Cell
from nbrw_runtime.outputs import CellOutputs
from nbrw_runtime.outside import from_outside
from nbrw_runtime.read_watch import ReadWatch
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.repeat_kernel import kernel_argv, kernel_environment, prepare_session
from nbrw_runtime.report import CellReport, with_tasks
from nbrw_runtime.result import Result
from nbrw_runtime.session_file import ClusterOrders
from nbrw_runtime.store import StackedStore
from nbrw_runtime.tolerance import DEFAULT, Tolerance
from nbrw_runtime.versions import Changes
from nbrw_runtime.view import View
from nbrw_runtime.walk import Action, Audit, Step, Walk
from nbrw_runtime.workdir import WorkDirectory
from nbrw_runtime.written_files import WrittenFiles

_BLOB = re.compile(r"blob (sha256:[0-9a-f]{64})")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")

Watch = Callable[[str], None]


class Follower:
    """Goes through the cells once."""

    def __init__(
        self,
        recipe: Recipe,
        notebook: dict[str, Any],
        cells: Sequence[Cell],
        forced: Mapping[int, str],
        work: WorkDirectory,
        files: FileWatch,
        view: View,
        scratch: Path,
        watch: Watch,
        *,
        timeout: float | None = None,
        allow_errors: bool = False,
        everything: bool = False,
        verify: bool = False,
        tolerance: Tolerance = DEFAULT,
        kept: KeptResults | None = None,
        tasks: bool = True,
        cluster: ClusterOrders | None = None,
    ) -> None:
        self.recipe = recipe
        self.cells = {cell.number: cell for cell in cells}
        self.raw = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
        self.forced = forced
        self.work = work
        self.view = view
        self.scratch = scratch
        self.watch = watch
        self.timeout = timeout
        self.allow_errors = allow_errors
        self.everything = everything
        self.notes: list[str] = []
        self.done: list[CellReport] = []
        self.kept = kept
        self.tasks = tasks
        self.cluster = cluster
        self.keeper = TaskKeeper(kept if tasks and recipe.uses_dask else None)
        self.accesses: Callable[[], Used] = Used
        self.walk = Walk(Audit(recipe), cells, work.changed, kept.find if kept else None)
        self.files = files
        self.comparing = Comparing(tolerance, self._takes_from_outside)
        self.written = WrittenFiles(work, tolerance, thorough=verify)
        self.store = StackedStore(())
        self._live: dict[str, str] = {}  # names in the kernel -> the version they are there in
        self._unplaced: list[int] = []  # audited cells whose files are yet to be placed
        self._audited: dict[int, int] = {}  # cells that ran, as they were numbered in the audit
        self._imports = 0
        self._results: list[Result] = []  # to be kept, if a sweep finds nothing
        self._unchecked = False  # the kernel still checks what it was given
        self._unswept = False  # a cell that ran may have changed what nobody has looked at
        self._settled = False  # all that the rest of the cells may use is there
        shifted = len(cells) != len(recipe.cells)
        self._renumber = shifted and not any(names_of(c.source).history for c in cells)

    def execute(self, runs: bool) -> list[CellReport]:
        """Go through all cells; ``runs``: whether any is foreseen to run.

        Raises Again, IntegrityError, UsageError, StorageError.
        """
        cells = list(self.cells.values())
        session, stores = prepare_session(
            self.recipe,
            cells,
            self.view.cwd,
            self.scratch,
            self.kept.store.blobs if self.kept else None,
            self.tasks,
            self.keeper.documents,
            self.cluster,
        )
        self.store = StackedStore(stores)
        if not runs:
            self._follow(None)
            return self.done
        try:
            self._with_kernel(session)
        except CellError as error:
            if error.cell not in self.cells:
                raise
            self._fail(error.cell, str(error))
        self.done = self.comparing.end(self.done)
        return self.done

    def _with_kernel(self, session: Path) -> None:
        environment = kernel_environment(self.recipe, self.scratch)
        log = self.scratch / "kernel.log"
        self.watch("start the kernel")
        with (
            self._watched() as socket,
            started(
                kernel_argv(self.recipe, session, socket), self.view.cwd, environment, log
            ) as kernel,
        ):
            self._follow(kernel)
            self._look_once_more(kernel)
            ending = kernel.begin("finish_json")
            self._keep()
            with contextlib.suppress(NbrwError):
                answer = kernel.asked("finish_json", ending)
                self.notes += answer["notes"]
                self.done = with_tasks(self.done, answer["tasks"])
                self.keeper.ended(answer)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[str]:
        """Have the kernel watched, for the sake of results that are kept; yields the socket."""
        if self.kept is None or self.kept.store.why_not:
            yield ""
            return
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            mounts = ""
        ignored = [str(self.scratch), str(self.kept.store.blobs.root.parent)]
        software = image_software(mounts, str(self.work.root))
        with ReadWatch(self.scratch / "watch", ignored, software) as watch:
            self.accesses = lambda: used(watch.take())
            yield watch.socket_path

    def _checkpoint(self, number: int | None) -> Checkpoint | None:
        """Of a cell of the audit, or of a result of an earlier repeat."""
        if self.kept is not None and number is not None and number >= FIRST:
            return self.kept.checkpoint(number)
        return self.recipe.checkpoint(number)

    def _look_once_more(self, kernel: RepeatKernel) -> None:
        """Before what cells did is kept: did they change nothing else?"""
        if self._results:
            self._sweep(kernel, max(result.checkpoint.cell for result in self._results))

    def _keep(self) -> None:
        """Keep what cells did, for later repeats."""
        if self.kept is not None:
            self.kept.keep(self._results)
            self._results = []

    def _follow(self, kernel: RepeatKernel | None) -> None:
        self.files.begin(None if kernel is None else self.scratch / "before")
        for cell in self.cells.values():
            step = self.walk.decide(cell, self.forced.get(cell.number, ""))
            more = {n: why for n, why in self.walk.demanded.items() if n not in self.forced}
            if more:
                raise Again({**self.forced, **more}, next(iter(more.values())))
            if step.action is Action.RESTORE:
                self._sweep(kernel)
                self._restored(cell, step)
            elif step.action is Action.SKIP:
                self.done.append(CellReport(step.cell, "skipped", step.reason))
            elif kernel is None:
                raise Again({**self.forced, step.cell: step.reason}, step.reason)
            elif not self._run(kernel, cell, step):
                return
        self._place_files()

    def _sweep(self, kernel: RepeatKernel | None, last: int | None = None) -> None:
        """Before a cell counts as unaffected: did cells that ran change what they do not show?

        ``last``: those up to this one.
        """
        if kernel is not None and self._unswept:
            self._unswept = last is not None
            self._check_late(kernel.ask("sweep_json", last))

    def _check_late(self, answer: Mapping[str, Any]) -> None:
        for name, first in sorted(answer["late"].items()):
            reason = f"`{name}` changed after cell {first} began, by something that no cell shows"
            later = {cell.number: reason for cell in self._from(first)}
            raise Again({**later, **self.forced}, reason)

    def _check(self, kernel: RepeatKernel) -> None:
        """Before what a cell did counts: was what it worked with what the author stored?"""
        if self._unchecked:
            self._unchecked = False
            for failed in kernel.ask("checked_json")["failed"]:
                self._not_brought(failed)

    @contextlib.contextmanager
    def _blobs(self) -> Iterator[None]:
        """Within the block a blob that cannot be read has the cells run that made it."""
        try:
            yield
        except (IntegrityError, NotFoundError) as error:
            self._remake(str(error))
            raise

    def _remake(self, text: str) -> None:
        """Run the restored cells again whose blob this text complains of. Raises Again."""
        for found in _BLOB.findall(text):
            makers = self.walk.makers_of(Digest(found))
            for known in map(self.walk.known, makers):
                if self.kept is not None and known is not None:
                    self.kept.drop(known.cell)
            self._again(makers, f"a blob of cell {makers[0]} is lost: {text}" if makers else "")

    def _again(self, makers: Iterable[int], reason: str) -> None:
        fresh = {number: reason for number in makers if number not in self.forced}
        if fresh:
            raise Again({**self.forced, **fresh}, reason)

    def _restored(self, cell: Cell, step: Step) -> None:
        known = self.walk.restored(cell)
        if known.kept and self.kept is not None:
            self.kept.restored(known.cell)
        self._unplaced.append(known.cell)
        raw = self.raw[cell.number - 1]
        with self._blobs():
            raw["outputs"] = self._author_outputs(step)
        raw["execution_count"] = self._place(cell)
        self.done.append(
            CellReport(
                cell.number,
                "restored",
                step.reason,
                audit_seconds=known.checkpoint.seconds,
                outputs="restored",
            )
        )

    def _place_files(self) -> None:
        found = [self._checkpoint(number) for number in self._unplaced]
        self._unplaced = []
        last: dict[str, Any] = {}
        for checkpoint in found:
            if checkpoint is not None:
                last.update(dict.fromkeys(checkpoint.removed))
                last.update({stored.path: stored for stored in checkpoint.files})
        if not last:
            return
        with self._blobs():
            unplaced = self.work.restore_files(
                [stored for stored in last.values() if stored is not None],
                [path for path, stored in last.items() if stored is None],
                self.store.path,
            )
        for path in unplaced:
            self.notes.append(
                f"{path}, which a restored cell wrote, lies outside the work directory"
            )
        self.files.look()

    def _author_outputs(self, step: Step) -> list[dict[str, Any]]:
        checkpoint = self._checkpoint(step.audited)
        if checkpoint is None or checkpoint.outputs is None:
            return []
        return list(json.loads(self.store.get(checkpoint.outputs)))

    def _outputs_to_compare(self, cell: Cell, step: Step) -> list[dict[str, Any]] | None:
        try:
            return self._author_outputs(step)
        except (IntegrityError, NotFoundError) as error:
            self.notes.append(f"cell {cell.number} cannot be compared with the author's: {error}")
            return None

    # -- a cell that runs ----------------------------------------------------------------------

    def _bring(self, kernel: RepeatKernel, cell: Cell, step: Step) -> None:
        """Make what the cell may use be there, and nothing that is out of date."""
        now = self.walk.now
        wanted: dict[int, set[str]] = {}
        for name in self._needed(cell):
            audited, stored = now.sources[name]
            if self._live.get(name) != now.names[name]:
                # With all that shares its objects.
                same = {n for n in stored.names if now.sources.get(n) == (audited, stored)}
                wanted.setdefault(audited, set()).update(same)
        coming = {name for names in wanted.values() for name in names}
        drop = sorted(
            name
            for name, version in self._live.items()
            if not self._settled and now.names.get(name) != version and name not in coming
        )
        sources = self.walk.imports[self._imports :]
        self._imports = len(self.walk.imports)
        if wanted:
            self.watch(f"restore {len(coming)} names for cell {cell.number}")
        for number in (*wanted, *dict(sources)):
            self._tell(number)
        request = {
            "wanted": {str(number): sorted(names) for number, names in sorted(wanted.items())},
            "drop": drop,
            "sources": sources,
            "count": self._count(cell, step),
        }
        answer = kernel.ask("bring_json", json.dumps(request))
        for failed in answer["failed"]:
            self._not_brought(failed)
        self._unchecked = answer["pending"]
        for name in drop:
            del self._live[name]
        self._live.update({name: now.names[name] for name in coming})
        self._settled = self._all_forced(cell.number)

    def _tell(self, number: int) -> None:
        """Give the kernel the checkpoint of a result; those of the audit it has."""
        checkpoint = self._checkpoint(number)
        path = self.scratch / "checkpoints" / f"{number:04d}.json"
        if checkpoint is not None and not path.exists():
            path.write_text(json.dumps(to_json(checkpoint)))

    def _needed(self, cell: Cell) -> set[str]:
        if self._settled:
            return set()
        if self.everything:
            return set(self.walk.now.sources)
        users = self._from(cell.number) if self._all_forced(cell.number) else [cell]
        return set().union(*(self.walk.needed(user) for user in users))

    def _from(self, number: int) -> list[Cell]:
        return [cell for cell in self.cells.values() if cell.number >= number and cell.runs]

    def _all_forced(self, number: int) -> bool:
        """Whether this cell and all after it run in any case: then nobody asks what they change."""
        return all(cell.number in self.forced for cell in self._from(number))

    def _not_brought(self, failed: Mapping[str, Any]) -> None:
        names = ", ".join(failed["names"])
        text = f"what cell {failed['cell']} left ({names}) could not be brought back: "
        reason = text + failed["reason"]
        self._again(sorted({self.walk.now.makers[name] for name in failed["names"]}), reason)
        raise BlobError(reason)

    def _count(self, cell: Cell, step: Step) -> int:
        """The execution count. Names such as ``_5`` are part of the state: they must not collide
        with those of the audit, and a cell of the audit must have the one it had."""
        if not self._renumber:
            return self._place(cell)
        audited = self.recipe.cells
        if step.audited is None:
            return len(audited) + cell.number
        return sum(1 for c in audited if c.source.strip() and c.number <= step.audited)

    def _place(self, cell: Cell) -> int:
        """Which of the cells that run it is, as Jupyter counts them."""
        return sum(1 for c in self.cells.values() if c.runs and c.number <= cell.number)

    def _run(self, kernel: RepeatKernel, cell: Cell, step: Step) -> bool:
        """Run one cell; False if it failed and nothing after it runs."""
        self._place_files()
        self._bring(kernel, cell, step)
        self.watch(f"cell {cell.number}/{len(self.cells)}  {step.reason}")
        self.written.begin()
        self.accesses()  # what the preparations used
        began = time.monotonic()
        outputs = kernel.run(cell.number, cell.source, self.timeout)
        self._check(kernel)
        if outputs.strange:
            shown = [done.cell for done in self.done if done.action == "restored"]
            shown = [n for n in shown if any("data" in out for out in self.raw[n - 1]["outputs"])]
            self._again(shown, f"cell {cell.number} changes what an earlier cell shows")
        seconds = round(time.monotonic() - began, 3)
        raw = self.raw[cell.number - 1]
        raw["outputs"] = outputs.outputs
        raw["execution_count"] = self._place(cell)
        checkpoint = self.recipe.checkpoint(step.audited)
        report = CellReport(
            cell.number,
            "run",
            step.reason,
            seconds,
            checkpoint.seconds if checkpoint else None,
            **self._compared(cell, step, outputs.outputs),
        )
        files = self.files.changes()
        self.work.note_written(files)
        error = outputs.error
        expected = checkpoint is not None and checkpoint.status != "ok"
        allowed = self.allow_errors or "raises-exception" in cell.tags or expected
        if error is not None:
            text = f"{error['ename']}: {_ANSI.sub('', error['evalue'])}"
            self._remake(text)
            hint = self._hint(text)
            if not allowed:
                self._fail(cell.number, f"cell {cell.number} failed: {text}{hint}", report)
                return False
        self.done.append(report)
        if self._settled:
            self.walk.will_run(cell)
            self.keeper.keep(kernel, cell, self.accesses())
        else:
            self._learn(kernel, cell, files, outputs, seconds)
        return True

    def _learn(
        self,
        kernel: RepeatKernel,
        cell: Cell,
        files: dict[str, str | None],
        outputs: CellOutputs,
        seconds: float,
    ) -> None:
        """What did the cell change? Of ``files`` it is known."""
        keep = self.kept is not None and not self.kept.store.why_not and outputs.error is None
        answer = kernel.ask("changes_json", keep)
        self._check_late(answer)
        self._unswept = answer["unswept"]
        for name in answer["threads"][:1]:
            # It may change anything, at any time: nobody can say that a cell is unaffected.
            reason = f"thread {name}, which cell {cell.number} left, still runs"
            later = {c.number: reason for c in self._from(cell.number + 1)}
            self.forced = {**later, **self.forced}
        objects = [from_json(StoredObject, value, "the kernel") for value in answer["objects"]]
        omitted = [from_json(Omitted, value, "the kernel") for value in answer["omitted"]]
        seen = self.accesses() if self.kept is not None else Used()
        if self.kept is not None:
            # Files that the audit never met: another cell may ask whether they are there.
            left = self.kept.written(seen)
            self.work.note_written(left)
            files = self.files.unknown(left) | files
        changes = Changes(
            [(stored.names, str(stored.digest), stored) for stored in objects],
            answer["deleted"],
            {found.name: found for found in omitted},
            files,
        )
        read = None
        if self.kept is not None:
            read = functools.partial(self.kept.read_by, seen, cell.source, self.walk.now)
            self.keeper.keep(kernel, cell, seen)
            if answer["kept"]:
                self._note_result(cell, changes, outputs, seconds, seen)
        self.walk.ran(cell, changes, read)
        now = self.walk.now.names
        for stored in objects:
            self._live.update({name: now[name] for name in stored.names})
        self._live.update({found.name: now[found.name] for found in omitted})
        for name in answer["deleted"]:
            self._live.pop(name, None)

    def _note_result(
        self, cell: Cell, changes: Changes, outputs: CellOutputs, seconds: float, seen: Used
    ) -> None:
        """Have the result kept if nothing speaks against it."""
        found = self.walk.keepable(cell, changes)
        if isinstance(found, str) or self.kept is None:
            return
        key, conditions = found
        checkpoint = Checkpoint(
            cell.number,
            cell.digest,
            objects=tuple(stored for _, _, stored in changes.objects if stored is not None),
            deleted=tuple(changes.deleted),
            outputs=self.kept.store.blobs.put(canonical_json(outputs.outputs)),
            seconds=seconds,
            reads=tuple(sorted(names_of(cell.source).used)),
        )
        ran = Ran(key, conditions, checkpoint, seen, cell.source)
        with contextlib.suppress(NotKept, StorageError):
            self._results.append(self.kept.result(ran, self.walk.now))

    def _hint(self, text: str) -> str:
        """Why a name that the cell asked for is not there. Raises Again if it could be."""
        name = missing_name(text)
        if name in self.walk.now.sources and name not in self._live and not self.everything:
            raise Again(self.forced, f"`{name}` is used in a way that cannot be foreseen", True)
        found = self.walk.now.omitted.get(name)
        if found is None:
            return ""
        return unstored(name, *found)

    def _compared(self, cell: Cell, step: Step, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """What the report says of a comparison with the author's outputs and files."""
        checkpoint = self.recipe.checkpoint(step.audited)
        if checkpoint is None:
            return {}
        self._audited[cell.number] = checkpoint.cell
        files = self.written.compare(checkpoint, self.store)
        self.work.note_written(files.equal)
        if is_ignored(cell.source, cell.tags):
            compared = "not compared"
            files.remarks.append(f"its outputs are not compared ({IGNORE_TAG})")
        else:
            author = self._outputs_to_compare(cell, step)
            compared = "not compared" if author is None else "equal"  # unless it turns out else
            if author is not None:
                self.comparing.begin(cell.number, author, outputs)
        return {
            "outputs": "different" if files.differences else compared,
            "differences": tuple(files.differences),
            "files": tuple(files.names),
            "remarks": tuple(files.remarks),
        }

    @functools.cached_property
    def _outside(self) -> dict[int, tuple[str, ...]]:
        """What the author's cells take from outside; asked for only where outputs differ."""
        return from_outside(self.recipe)

    def _takes_from_outside(self, cell: int) -> tuple[str, ...]:
        return self._outside.get(self._audited.get(cell, 0), ())

    def _fail(self, number: int, text: str, report: CellReport | None = None) -> None:
        base = report or CellReport(number, "failed", self.forced.get(number, ""))
        self.done.append(replace(base, action="failed", error=text))
        for later in self.cells:
            if later > number:
                self.done.append(CellReport(later, "skipped", f"cell {number} failed"))
