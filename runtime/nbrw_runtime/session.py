"""One kernel's session: marks cells, takes checkpoints, restores. `docs/design.md`, section 2.

The functions at the end are what the executor calls by silent requests; they answer in JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbrw_runtime import restore as restoring
from nbrw_runtime.blob_checks import BlobChecks
from nbrw_runtime.cell_files import CellFiles
from nbrw_runtime.cell_sources import know_sources
from nbrw_runtime.checkpoint import (
    CHECKPOINT_FORMAT,
    CHECKPOINT_VERSION,
    Checkpoint,
    Omitted,
)
from nbrw_runtime.codec import LoadContext, SaveContext
from nbrw_runtime.errors import NbrwError, StorageError
from nbrw_runtime.gc_paused import gc_paused, grown_up
from nbrw_runtime.held_store import HeldStore
from nbrw_runtime.import_watch import when_loaded
from nbrw_runtime.kernel_end import end_children, ends_in_order
from nbrw_runtime.kernel_tasks import KernelTasks
from nbrw_runtime.names import names_of
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.recipe import RecipeCell, load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.session_file import UNSWEPT, Session, write_atomically
from nbrw_runtime.state import StateTracker, type_name
from nbrw_runtime.state_providers import Baseline
from nbrw_runtime.still_running import still_running
from nbrw_runtime.store import DirectoryStore, StackedStore

if TYPE_CHECKING:
    from nbrw_runtime.worker_traces import WorkerTraces
    from nbrw_runtime.worker_window import Window

# A result is kept if it can be written and read in about the time that the cell took.
_WORTH_BYTES = 200e6  # bytes that are written and read in a second
_WORTH_SECONDS = 0.05  # a cell that takes less is taken to take this
_MANY_BYTES = 4_000_000  # that are brought at once

_LATE = "it changed by something that no cell shows, such as a callback or a thread"


class KernelSession:
    """Lives in the kernel, beside the notebook's namespace, from before the first cell."""

    def __init__(self, session: Session, shell: Any) -> None:
        self.session = session
        self.shell = shell
        self.failure: str | None = None
        self.notes: list[str] = []
        # A blob that a power failure cost shows by its digest, so nothing waits for the disk.
        roots = [DirectoryStore(root, sync=False) for root in session.stores]
        self.store = StackedStore(roots)
        self._files = CellFiles(session.written, roots[0], session.author_cwd)
        self.baseline = Baseline(session.author_cwd or session.cwd, session.cwd)
        self.context = SaveContext(shell.user_ns, self.store, roots[0].root)
        providers = self.baseline.providers()
        self.notes += self.baseline.notes
        self.providers = {provider.name: provider for provider in providers}
        hidden = frozenset(shell.user_ns_hidden)
        self.tracker = StateTracker(shell.user_ns, hidden, self.context, providers)
        self.tracker.baseline()
        self.tasks = self._kernel_tasks(roots[0])
        self._workers: WorkerTraces | None = None  # with Dask
        self._last = 0
        self._ran: list[int] = []  # the cells that the tracker's time counts
        self._late: dict[str, int] = {}
        self._checks = BlobChecks()
        self._cell: RecipeCell | None = None
        self._depth = 0  # of cells that run: one may run others, as ``%%capture`` does
        self._source = ""
        self._seconds = 0.0
        self._began = 0.0
        self._started = False
        self._sources_known = False

    def register(self) -> None:
        """Have IPython call us around each cell, before anyone else."""
        self.shell.events.register("pre_run_cell", self.before_cell)
        self.shell.events.register("post_run_cell", self.after_cell)
        self.tasks.install()
        if self.session.traces:
            when_loaded("distributed.client", self._watch_workers)

    def _watch_workers(self, module: Any) -> None:
        """What workers elsewhere use, they are asked for."""
        from nbrw_runtime.worker_traces import WorkerTraces

        self._workers = WorkerTraces(self.session.traces, self.tasks)
        self._workers.install(module.Client)
        self._workers.begin(self._last)

    def _window(self) -> Window | None:
        return self._workers.window if self._workers is not None else None

    def _kernel_tasks(self, first: DirectoryStore) -> KernelTasks:
        orders = self.session
        known = None if orders.mode == "audit" else self._checkpoints_with_tasks
        return KernelTasks(
            self.shell.user_ns,
            orders.cwd,
            self.store,
            first,
            known,
            (*orders.worker_data, *orders.kernel_data),
            orders.kept_tasks,
            orders.mode == "audit" or orders.keep_tasks,
            orders.mode == "audit" and bool(orders.traces),
        )

    def _checkpoints_with_tasks(self) -> Iterator[Checkpoint]:
        """Those whose tasks may be loaded."""
        if not self.session.tasks:
            return
        for path in sorted(Path(self.session.checkpoints).glob("*.json")):
            with contextlib.suppress(NbrwError, OSError, ValueError):
                yield self.checkpoint_of(int(path.stem))

    # -- around a cell -------------------------------------------------------------------------

    def before_cell(self, info: Any) -> None:
        """A cell is about to run: which one is it?"""
        self._depth += 1
        if self._depth > 1:
            return  # by another one, which it is a part of
        self._start()
        self._source = info.raw_cell or ""
        self._cell = self._find(self._source)
        if self._cell is not None:
            self._look_back(lambda: self.tracker.before(self._source))
            self._last = self._cell.number
            self.tasks.begin(self._cell.number)
            if self._workers is not None:
                self._workers.begin(self._cell.number)
            _mark(self._cell.number, "begin")
        self._began = time.perf_counter()

    def _start(self) -> None:
        if not self._started:
            # What the kernel did while it started is not the first cell's doing.
            self.tracker.baseline()
            self._started = True

    def after_cell(self, result: Any) -> None:
        """A cell has run."""
        if result is not None and not (result.info.raw_cell or "").strip():
            return  # nobody was told that it began
        self._depth = max(0, self._depth - 1)
        if self._depth:
            return
        cell, self._cell = self._cell, None
        if cell is not None:
            self._settle_dask()
        self._seconds = seconds = time.perf_counter() - self._began
        if cell is None:
            return
        self._ask_workers()
        self.tracker.look_at_modules()
        _mark(cell.number, "end")
        if self.session.mode != "audit":
            return
        try:
            self._checkpoint(cell, bool(result.success), seconds)
        except StorageError as error:
            self.failure = str(error)
        except Exception as error:
            # A defect of ours must not touch the notebook; without checkpoint the cell runs again.
            self.notes.append(f"no checkpoint of cell {cell.number}: {error!r}")

    def _find(self, source: str) -> RecipeCell | None:
        """The next cell with this source; the notebook's order decides between equal ones."""
        digest = cell_digest(source)
        later = [c for c in self.session.cells if c.number > self._last]
        for cell in later:
            if cell.source == source:
                return cell
        for cell in later:
            if cell.digest == digest:
                return cell
        return next((c for c in self.session.cells if c.source == source), None)

    @gc_paused()
    def _checkpoint(self, cell: RecipeCell, success: bool, seconds: float) -> None:
        began = time.perf_counter()
        self._prepare_dask()
        self._ran.append(cell.number)
        changes = self.tracker.changes(self._source)
        self._note_late(changes.late)
        tasks, blobs = self.tasks.collect()
        files, removed, unstored = self._files.left_by(cell.number, self._window())
        notes = []
        secrets = self.baseline.private()
        if secrets:
            notes.append(
                f"environment variables that look private are not stored: {', '.join(secrets)}"
            )
        checkpoint = Checkpoint(
            cell=cell.number,
            code=cell.digest,
            status="ok" if success else "error",
            objects=changes.objects,
            deleted=changes.deleted,
            omitted=changes.omitted + unstored,
            files=files,
            removed=removed,
            seconds=round(seconds, 6),
            overhead=round(time.perf_counter() - began, 6),
            notes=tuple(notes),
            reads=tuple(sorted(names_of(self._source).used)),
            tasks=tasks,
            task_blobs=blobs,
        )
        self._mark_unswept(cell.number)
        self._write(checkpoint)

    def _write(self, checkpoint: Checkpoint) -> None:
        path = Path(self.session.checkpoints) / f"{checkpoint.cell:04d}.json"
        write_atomically(path, json.dumps(to_json(checkpoint)).encode() + b"\n")

    @gc_paused()
    def _look_back(self, look: Callable[[], Mapping[str, int]]) -> None:
        """Have the tracker look for what changed behind our back."""
        try:
            self._note_late(look())
        except Exception as error:
            self.notes.append(f"the state before the next cell could not be looked at: {error!r}")

    def _note_late(self, late: Mapping[str, int]) -> None:
        """Names that changed since a time, in whichever cell: from the first of these cells on
        nobody knows what they held. In the audit the checkpoint says so.
        """
        for name, since in sorted(late.items()):
            first = self._ran[since]
            self._late[name] = min(first, self._late.get(name, first))
            if self.session.mode != "audit":
                continue
            self.notes.append(
                f"`{name}` changed after cell {first} began, by something that no cell shows"
            )
            with contextlib.suppress(NbrwError, OSError):
                found = self.checkpoint_of(first)
                if all(omitted.name != name for omitted in found.omitted):
                    why = Omitted(name, type_name(self.shell.user_ns.get(name)), _LATE)
                    self._write(replace(found, omitted=(*found.omitted, why)))

    def _mark_unswept(self, number: int) -> None:
        """Leave word from which cell on checkpoints hold only if a sweep finds nothing."""
        path = Path(self.session.checkpoints) / UNSWEPT
        if not self.tracker.unswept:
            path.unlink(missing_ok=True)
        elif not path.exists():
            write_atomically(path, f"{number}\n".encode())

    def _settle_dask(self) -> None:
        """Tasks that a cell started are part of it: so are the files that they read and write."""
        if "distributed" not in sys.modules:
            return
        from nbrw_runtime import dask_state

        try:
            dask_state.settle()
        except Exception as error:
            self.notes.append(f"tasks of a cell were not waited for: {error!r}")

    def _ask_workers(self) -> None:
        """What workers elsewhere did for the cell is written down."""
        if self._workers is not None:
            try:
                self._workers.end()
            except OSError as error:
                self.failure = f"what workers elsewhere used cannot be written down: {error}"

    def _prepare_dask(self) -> None:
        if "distributed" in sys.modules:
            from nbrw_runtime import dask_state

            self.notes += dask_state.prepare(self.context)

    # -- what the executor asks for ------------------------------------------------------------

    def checkpoint_of(self, number: int) -> Checkpoint:
        """A cell's checkpoint, as it is on disk. Raises FormatError or OSError."""
        path = Path(self.session.checkpoints) / f"{number:04d}.json"
        value = load_document(path.read_bytes(), CHECKPOINT_FORMAT, CHECKPOINT_VERSION, str(path))
        return from_json(Checkpoint, value, str(path))

    def _know_sources(self) -> None:
        if not self._sources_known:
            self._sources_known = True
            know_sources(self.shell, self.session.cells)

    @gc_paused()
    def bring(
        self,
        wanted: dict[str, list[str]],
        drop: list[str],
        sources: list[tuple[int, str]],
        count: int,
        last: int | None = None,
    ) -> dict[str, Any]:
        """Prepare a cell's run: names from checkpoints (by cell), and names that must be gone.

        What ``sources`` import is imported, each with what the cell beside it (0: none) left for
        imports; the cell's execution count will be ``count``, and its number is above ``last``.
        """
        self._start()
        if wanted:
            self._know_sources()
        namespace = self.shell.user_ns
        if last is not None:
            self._last = last
        for name in drop:
            namespace.pop(name, None)
        self.tracker.removed(drop)
        context = LoadContext(namespace, self.store, self.session.mode == "repeat")
        imports = [(self.checkpoint_of(cell) if cell else None, text) for cell, text in sources]
        self.tracker.restored(restoring.import_again(imports, context, self.providers))
        checkpoints = [(self.checkpoint_of(int(cell)), names) for cell, names in wanted.items()]
        result = restoring.bring(checkpoints, namespace, context, self.providers, self._checks)
        self._prepare_dask()
        self.tracker.restored(result.objects)
        if sum(stored.size for stored in result.objects) > _MANY_BYTES:
            grown_up()
        self.shell.execution_count = count
        outputs = namespace.get("_oh")
        for name in (name for names in wanted.values() for name in names):
            if isinstance(outputs, dict) and name[:1] == "_" and name[1:].isdigit():
                outputs[int(name[1:])] = namespace.get(name)
        pending = self._checks.pending
        return {"failed": result.failed, "pending": pending}

    def checked(self) -> dict[str, Any]:
        """Wait for the checks of what was brought; ``failed`` as in :meth:`bring`."""
        return {"failed": self._checks.failures()}

    @gc_paused()
    def changes(self, keep: bool = False) -> dict[str, Any]:
        """What the cell that ran last changed, with the identities of what it left.

        ``keep``: its blobs are put into the first store, if they are worth it; ``kept`` says so.
        """
        self._prepare_dask()
        self._ran.append(self._last)
        held = HeldStore()
        self.context.store, usual = held, self.context.store
        try:
            found = self.tracker.changes(self._source, keep)
        finally:
            self.context.store = usual
        self._note_late(found.late)
        kept = (
            keep
            and not self._reads_unseen()
            and not self._still_running()
            and held.size <= _WORTH_BYTES * max(self._seconds, _WORTH_SECONDS)
        )
        if kept:
            try:
                held.release(self.store)
            except StorageError as error:
                self.notes.append(f"results are not kept: {error}")
                kept = False
        return {
            "kept": kept,
            "late": self._late,
            "unswept": self.tracker.unswept,
            "threads": self._still_running(),
            "objects": [to_json(stored) for stored in found.objects],
            "deleted": list(found.deleted),
            "omitted": [to_json(omitted) for omitted in found.omitted],
        }

    def _reads_unseen(self) -> bool:
        """Whether Dask's workers may have read for the cell where nobody watches them."""
        elsewhere = self.session.cluster.kind != "local" and "distributed" in sys.modules
        note = "cells are not kept: nobody sees what workers of another scheduler read"
        if elsewhere and note not in self.notes:
            self.notes.append(note)
        return elsewhere

    def ran_tasks(self) -> dict[str, Any]:
        """The document of the tasks that the cell that ran last executed; empty: there is none."""
        self._settle_dask()
        return {"document": str(self.tasks.collect()[0] or "")}

    @gc_paused()
    def sweep(self, cell: int | None = None) -> dict[str, Any]:
        """Look at all names; those that changed behind our back, with the first suspicious cell.

        ``cell``: for what cells did up to this one, whatever those after it changed.
        """
        since = None
        if cell in self._ran:
            since = len(self._ran) - self._ran[::-1].index(cell)
        if self.tracker.unswept:
            self._look_back(lambda: self.tracker.sweep(since))
            if self.session.mode == "audit":
                self._mark_unswept(0)
        return {"late": self._late}

    def status(self) -> dict[str, Any]:
        """What went wrong since the start, and what may have."""
        return {
            "failure": self.failure,
            "notes": self.notes,
            "cell": self._last,
            "late": self._late,
            "unswept": self.tracker.unswept,
            "threads": self._still_running(),
        }

    def _still_running(self) -> list[str]:
        return still_running(self.shell.user_ns, self.session.cwd)

    def finish(self) -> dict[str, Any]:
        """The notebook has ended, and the kernel will."""
        if self.session.mode == "audit":
            self.sweep()
        if self._workers is not None:
            self._workers.finish()
        end_children()
        self.tracker.close()
        ends_in_order()
        redirect = sys.modules.get("nbrw_runtime.dask_redirect")
        self.notes += self.tasks.end()
        return {
            "notes": [*self.notes, *(redirect.all_notes() if redirect is not None else ())],
            "tasks": self.tasks.by_cell(),
            "documents": [str(digest) for digest in self.tasks.used()],
        }


def _mark(number: int, edge: str) -> None:
    sys.audit("nbrw.cell", number, edge)
    try:
        os.readlink(f"/nbrw/cell/{number}/{edge}")
    except OSError:
        pass


_current: KernelSession | None = None


def begin(session: Session, shell: Any) -> KernelSession:
    """Make this process' session and register it."""
    global _current
    _current = KernelSession(session, shell)
    _current.register()
    return _current


def current() -> KernelSession:
    """This process' session. Raises LookupError if there is none."""
    if _current is None:
        raise LookupError("this kernel was not started by nbrw")
    return _current


def _answer(value: dict[str, Any]) -> str:
    return json.dumps(value)


def _as_in_a_cell() -> contextlib.AbstractContextManager[Any]:
    """Have ``get_ipython`` among the builtins, where cells have it.

    Libraries ask for it when they are imported, and take this for a terminal where it is not there:
    pandas then shows fewer columns.
    """
    trap: contextlib.AbstractContextManager[Any] = current().shell.builtin_trap
    return trap


def status_json() -> str:
    """See :meth:`KernelSession.status`."""
    return _answer(current().status())


def bring_json(request: str) -> str:
    """See :meth:`KernelSession.bring`; an error of ours is reported as a failure."""
    value = json.loads(request)
    try:
        with _as_in_a_cell():
            return _answer(current().bring(**value))
    except (NbrwError, OSError) as error:
        failed = {"cell": 0, "names": [], "reason": str(error), "integrity": True}
        return _answer({"failed": [failed], "pending": False})


def changes_json(keep: bool = False) -> str:
    """See :meth:`KernelSession.changes`."""
    return _answer(current().changes(keep))


def checked_json() -> str:
    """See :meth:`KernelSession.checked`."""
    return _answer(current().checked())


def tasks_json() -> str:
    """See :meth:`KernelSession.ran_tasks`."""
    return _answer(current().ran_tasks())


def sweep_json(cell: int | None = None) -> str:
    """See :meth:`KernelSession.sweep`."""
    return _answer(current().sweep(cell))


def finish_json() -> str:
    """See :meth:`KernelSession.finish`."""
    return _answer(current().finish())
