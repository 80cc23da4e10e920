"""Audits and repeats in this process: real shells and sessions, no kernel to start, no tracer.

What a tracer would see of files is taken from Python's audit events.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from nbrw_runtime import dask_contents
from nbrw_runtime import session as session_module
from nbrw_runtime.accesses import Used
from nbrw_runtime.again import Again
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import canonical_json, digest_file
from nbrw_runtime.file_watch import FileWatch
from nbrw_runtime.follow import Follower
from nbrw_runtime.kept_results import KeptResults, _stamp
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.outputs import CellOutputs
from nbrw_runtime.plan import Action, Request, make_plan
from nbrw_runtime.recipe import Environment, Recipe, recipe_cells
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.result import environment_digest
from nbrw_runtime.session import KernelSession
from nbrw_runtime.session_file import Session, write_atomically
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.workdir import WorkDirectory

_OUT = re.compile(r"^Out\[\d+\]: ", re.MULTILINE)
_watching = []
#: The part of the run time that sweeps of the state may take; None: the usual.
SWEEP_SHARE = None


def _hook(event, arguments):
    if event in ("open", "os.listdir", "os.remove") and _watching:
        writes = event == "open" and str(arguments[1] or "r")[0] in "wx"
        _watching[-1].seen("written" if writes else event, arguments[0])


sys.addaudithook(_hook)


def notebook(sources):
    """A notebook of code cells."""
    return {
        "cells": [{"cell_type": "code", "source": s, "outputs": []} for s in sources],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip


class Kernel:
    """A shell with a session; speaks as a repeat kernel does."""

    def __init__(self, session):
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.shell = InteractiveShell(config=config)
        sys.modules["__main__"], self._main = self.shell.user_module, sys.modules["__main__"]
        os.chdir(session.cwd)
        random.seed()
        self.files = Files(Path(session.cwd), session)
        self.shell.events.register("pre_run_cell", self.files.begin)
        self.shell.events.register("post_run_cell", self.files.end)
        self.session = KernelSession(session, self.shell)
        self.session.register()
        if SWEEP_SHARE is not None:
            self.session.tracker.sweep_share = SWEEP_SHARE

    def run(self, number, source, timeout=None):
        """Run a cell."""
        outputs = CellOutputs()
        self.files.cell = number
        with capture_output() as captured:
            result = self.shell.run_cell(source, store_history=True)
        error = result.error_in_exec or result.error_before_exec
        text = captured.stdout if error is None else captured.stdout.partition("-----")[0]
        if text:
            outputs.add("stream", {"name": "stdout", "text": _OUT.sub("", text)})
        if error is not None:
            content = {"ename": type(error).__name__, "evalue": str(error), "traceback": []}
            outputs.add("error", content)
        return outputs

    def ask(self, function, *arguments):
        """Call a function of the session."""
        session_module._current = self.session
        return json.loads(getattr(session_module, function)(*arguments))

    def close(self):
        """Give the process its main module and its settings back."""
        here = os.getcwd()
        self.notes = self.session.tasks.end()
        for provider in self.session.providers.values():
            provider.set(None)
        os.chdir(here)
        sys.modules["__main__"] = self._main
        # Else each of hundreds of shells collects all garbage once more when Python ends.
        atexit.unregister(self.shell.atexit_operations)


class Files:
    """Which files a cell reads, lists and leaves."""

    def __init__(self, place, session):
        self.place, self.session, self.cell = place, session, 0
        self.read, self.listed = {}, {}
        self.used = Used()
        self._before = {}
        self.depth = 0  # of cells that run one another

    def begin(self, info):
        self.depth += 1
        if self.depth > 1:
            return
        self._before = self._look()
        _watching.append(self)

    def end(self, result):
        self.depth -= bool(result.info.raw_cell.strip())
        if self.depth:
            return
        _watching.clear()
        now = self._look()
        written = [p for p, stamp in now.items() if self._before.get(p) != stamp]
        self.used.written.update(written)
        self.used.removed.update(set(self._before) - set(now))
        for path in written:
            self.read.setdefault(path, []).append(self.cell)
        if self.session.written:
            value = {"written": sorted(written), "removed": sorted(set(self._before) - set(now))}
            with open(f"{self.session.written}/{self.cell}.json", "w") as stream:
                json.dump(value, stream)

    def _look(self):
        found = [p for p in self.place.rglob("*") if p.is_file() and not p.name.startswith(".nbrw")]
        return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns, p.stat().st_size) for p in found}

    def seen(self, event, path):
        """An audit event in a cell."""
        if not isinstance(path, (str, type(None))):
            return
        path = os.path.abspath(path or ".")
        if event == "os.listdir" and path == str(self.place):
            self.used.listed.setdefault(path, _stamp(path))
            self.listed.setdefault(path, []).append(self.cell)
        elif path.startswith(f"{self.place}/"):
            if event != "written":
                self.used.read.setdefault(path, _stamp(path))
            self.read.setdefault(path, []).append(self.cell)

    def take(self):
        """What was used since the last call, as a read watch tells it."""
        found, self.used = self.used, Used()
        return found


@contextlib.contextmanager
def outside_kept():
    """Settings of this process are afterwards as they were."""
    cwd, environ, path, state = os.getcwd(), dict(os.environ), list(sys.path), random.getstate()
    try:
        yield
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:] = path
        random.setstate(state)


def disconnect():
    """End all clients of Dask and their clusters, lest the next shell finds them."""
    for client in dask_contents.live_clients():
        cluster = client.cluster
        client.close()
        if cluster is not None:
            cluster.close()


def _put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def plain_run(place, sources, files=None):
    """Outputs of running a notebook from top to bottom, in a new directory."""
    place.mkdir(parents=True)
    for name, text in (files or {}).items():
        _put(place / name, text)
    with outside_kept():
        kernel = Kernel(Session("plain", (), (str(place.parent / "s"),), "", str(place)))
        kernel.session.tasks.end()  # Dask is left alone
        try:
            return [kernel.run(n, s).outputs if s else [] for n, s in enumerate(sources, 1)]
        finally:
            kernel.close()


def audit(place, sources, files=None):
    """The recipe of a notebook, and the store of its checkpoints."""
    work = place / "author"
    for directory in (work, place / "checkpoints", place / "written"):
        directory.mkdir(parents=True)
    initial = {}
    for name, text in (files or {}).items():
        _put(work / name, text)
        initial[str(work / name)] = digest_file(work / name)
    cells = code_cells(notebook(sources))
    store = DirectoryStore(place / "store")
    orders = Session(
        "audit", recipe_cells(cells), (str(place / "store"),), str(place / "checkpoints"),
        str(work), str(work), str(place / "written"),
    )  # fmt: skip
    checkpoints = []
    with outside_kept():
        kernel = Kernel(orders)
        try:
            for cell in (cell for cell in cells if cell.runs):
                outputs = kernel.run(cell.number, cell.source)
                assert kernel.session.failure is None and not kernel.session.notes
                path = place / "checkpoints" / f"{cell.number:04d}.json"
                found = from_json(Checkpoint, json.loads(path.read_bytes()), str(path))
                blob = store.put(canonical_json(outputs.outputs))
                status = "error" if outputs.error else "ok"
                write_atomically(
                    path, json.dumps(to_json(replace(found, outputs=blob, status=status))).encode()
                )
            kernel.session.sweep()
            for path in sorted((place / "checkpoints").glob("*.json")):
                checkpoints.append(from_json(Checkpoint, json.loads(path.read_bytes()), str(path)))
        finally:
            kernel.close()
    data = [
        Data(path, DataState.LISTED, tuple(sorted(set(numbers))))
        for path, numbers in kernel.files.listed.items()
    ]
    for path, numbers in kernel.files.read.items():
        some = tuple(sorted(set(numbers)))
        written = any(f.path == path for c in checkpoints for f in c.files)
        if path in initial:
            data.append(Data(path, DataState.READ, some, digest=initial[path][0]))
        if written:
            data.append(Data(path, DataState.WRITTEN, some))
        elif path not in initial:
            data.append(Data(path, DataState.ABSENT, some))
    recipe = Recipe(
        notebook=notebook(sources),
        cells=recipe_cells(cells),
        checkpoints=tuple(checkpoints),
        environment=Environment(sys.executable, str(work)),
        dependencies=Dependencies(data=tuple(data)),
    )
    return recipe, store


def _silent(text):
    pass


class View:
    """Where the notebook runs."""

    def __init__(self, cwd):
        self.cwd = str(cwd)


class Repeat:
    """A repeat of a recipe with these sources, in a directory of its own.

    ``options`` are the follower's: ``verify``, ``tolerance``. In ``cache`` results are kept.
    """

    def __init__(
        self, place, recipe, store, sources, request=None, files=None, cache=None, **options
    ):
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.notebook = notebook(sources)
        cells = code_cells(self.notebook)
        for name, text in (files or {}).items():
            _put(place / name, text)
        work = WorkDirectory(place, recipe.environment.cwd)
        work.open(recipe.dependencies)
        self.store, self.cache = store, None
        if cache is None:
            self._repeat(recipe, cells, request, work, None, options)
            return
        with open_caller_store(place / "aside", {"NBRW_CACHE_DIR": str(cache)}) as self.cache:
            kept = KeptResults(self.cache, environment_digest(recipe), work, str(place), "")
            self._repeat(recipe, cells, request, work, kept, options)

    def _repeat(self, recipe, cells, request, work, kept, options):
        place, store = self.place, self.store
        find = kept.find if kept else None
        self.plan = make_plan(recipe, cells, request or Request(), work.changed, find=find)
        forced, everything, self.notes, self.tasks = self.plan.forced, False, [], {}
        seen = FileWatch(work, recipe.dependencies.data)
        while True:
            kernel = None
            scratch = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
            follower = Follower(
                recipe, self.notebook, cells, forced, work, seen, View(place), scratch, _silent,
                everything=everything, allow_errors=True, kept=kept, **options,
            )  # fmt: skip
            first = [kept.store.blobs] if kept else []
            follower.store = StackedStore([*first, store])
            try:
                with outside_kept():
                    if self.notes or self.plan.cells(Action.RUN):
                        kernel = self._kernel(scratch, recipe, [*first, store], cells)
                        follower.accesses = kernel.files.take
                    follower._follow(kernel)
                    if kernel is not None:
                        follower._look_once_more(kernel)
                        follower._keep()
                work.close()
                break
            except Again as again:
                self.notes.append(again.reason)
                forced, everything = again.forced, everything or again.everything
                assert len(self.notes) <= len(cells) + 1
                seen.rewind()
                work.open(recipe.dependencies)
            finally:
                if kernel is not None:
                    self.tasks = kernel.session.tasks.by_cell()
                    kernel.close()
                    self.task_notes = kernel.notes
        self.report = follower.comparing.end(follower.done)
        self.outputs = [cell["outputs"] for cell in self.notebook["cells"]]

    def _kernel(self, scratch, recipe, stores, cells):
        (scratch / "checkpoints").mkdir(parents=True)
        for checkpoint in recipe.checkpoints:
            path = scratch / "checkpoints" / f"{checkpoint.cell:04d}.json"
            path.write_text(json.dumps(to_json(checkpoint)))
        own = [] if len(stores) > 1 else [str(scratch / "store")]
        stores = (*own, *(str(store.root) for store in stores))
        orders = Session(
            "repeat", recipe_cells(cells), stores, str(scratch / "checkpoints"), str(self.place),
            recipe.environment.cwd, tasks=True, worker_data=recipe.dependencies.data,
        )  # fmt: skip
        return Kernel(orders)

    @property
    def actions(self):
        """A letter for each cell: r restored, X run, - skipped, F failed."""
        letters = {"restored": "r", "run": "X", "skipped": "-", "failed": "F"}
        return "".join(letters[cell.action] for cell in self.report)
