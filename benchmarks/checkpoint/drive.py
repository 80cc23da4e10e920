"""One tool runs one notebook, or restores its state, in this process; prints JSON.

    python drive.py record TOOL NOTEBOOK DIRECTORY
    python drive.py restore TOOL NOTEBOOK DIRECTORY [NAME] [--cold]

A real IPython shell without front end. Timed is what the tool does around the cells, and the
restore alone (of one name, or of all): not the start of Python, nor imports of numpy and pandas.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_notebooks import Notebook, notebooks
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

TOOLS = {
    "nbrw": "tool_nbrw",
    "kishu-full": "tool_kishu",
    "kishu-incremental": "tool_kishu",
    "kishu-tracker": "tool_kishu",
    "dill": "tool_dill",
    "store": "tool_store",
}


def make_shell() -> InteractiveShell:
    """A shell whose namespace is this process' main module, as in a kernel."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    sys.modules["__main__"] = shell.user_module
    return shell


class Stopwatch:
    """Sums what the tool's hooks take, cell by cell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.taken = 0.0
        self._shell = shell

    def wrap(self) -> None:
        """Time every callback that is registered now."""
        for callbacks in self._shell.events.callbacks.values():
            callbacks[:] = [self._timed(callback) for callback in callbacks]

    def _timed(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            with self:
                return callback(*arguments)

        return timed

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.taken += time.perf_counter() - self._began


def record(tool: Any, notebook: Notebook, shell: InteractiveShell) -> dict[str, Any]:
    """Run all cells; what each cost. If the tool fails: in which cell, and how."""
    watch = Stopwatch(shell)
    tool.attach(shell, notebook)
    watch.wrap()
    hooks, walls = [], []
    for number, cell in enumerate(notebook.cells, 1):
        watch.taken = 0.0
        began = time.perf_counter()
        with capture_output() as captured:
            result = shell.run_cell(cell.source, store_history=True)
        if not result.success:
            raise SystemExit(f"cell {number} failed: {result.error_in_exec!r}")
        if "Error in callback" in captured.stdout:
            return {"failed": f"from cell {number} on: {captured.stdout.strip().splitlines()[-1]}"}
        try:
            with watch:
                tool.after(shell, number, cell)
        except Exception as error:
            return {"failed": f"from cell {number} on: {type(error).__name__}: {error}"}
        walls.append(time.perf_counter() - began)
        hooks.append(watch.taken)
        tool.settle(number)
    watch.taken = 0.0
    with watch:
        tool.finish(shell)
    return {
        "setup": sum(hooks[: notebook.setup]),
        "finish": watch.taken,
        "hooks": hooks[notebook.setup :],
        "cells": [wall - hook for wall, hook in zip(walls, hooks, strict=True)][notebook.setup :],
        "bytes": tool.stored(),
        "checks": checks(notebook, shell),
        "not_kept": tool.not_kept(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def checks(notebook: Notebook, shell: InteractiveShell) -> dict[str, float | str]:
    """A number for each name to check, or why there is none."""
    found: dict[str, float | str] = {}
    space = dict(shell.user_ns)
    space.update(np=sys.modules.get("numpy"), pd=sys.modules.get("pandas"))
    for name, text in notebook.checks.items():
        try:
            found[name] = float(eval(text, space))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def restore(tool: Any, notebook: Notebook, shell: InteractiveShell, name: str) -> dict[str, Any]:
    """Bring a name back, or (if empty) all; how long until it is there, has been read, is sure."""
    for module in ("numpy", "pandas"):
        importlib.import_module(module)
    tool.prepare(shell, notebook)
    began = time.perf_counter()
    with capture_output():
        tool.restore(shell, name)
    restored = time.perf_counter() - began
    some = {name: notebook.checks[name]} if name else notebook.checks
    found = checks(replace(notebook, checks=some), shell)
    used = time.perf_counter() - began
    tool.confirm(shell)
    sure = time.perf_counter() - began
    return {"seconds": restored, "used": used, "sure": sure, "checks": found}


def evict(place: Path) -> None:
    """Have no byte of these files in the page cache."""
    os.sync()
    for path in (path for path in place.rglob("*") if path.is_file()):
        with open(path, "rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(place: Path) -> None:
    """Have all bytes of these files in the page cache."""
    for path in (path for path in place.rglob("*") if path.is_file()):
        with open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass


def main() -> None:
    """Do what is asked for and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["record", "restore"])
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("notebook")
    parser.add_argument("directory", type=Path)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--profile", help="write cProfile's figures of the hooks to this file")
    options = parser.parse_args()
    place = options.directory.resolve()
    place.mkdir(parents=True, exist_ok=True)
    os.environ["IPYTHONDIR"] = str(place / "ipython")
    os.chdir(place)
    notebook = notebooks(options.scale, options.cells)[options.notebook]
    tool = importlib.import_module(TOOLS[options.tool]).Tool(options.tool, place)
    shell = make_shell()
    if options.action == "record":
        found = profiled(lambda: record(tool, notebook, shell), options.profile)
    else:
        (evict if options.cold else read_all)(place)
        found = profiled(lambda: restore(tool, notebook, shell, options.name), options.profile)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    # No exit hooks: the tool's own might write what is not measured.
    os._exit(0)


def profiled(action: Callable[[], dict[str, Any]], path: str | None) -> dict[str, Any]:
    """Do it, under cProfile if a path is given."""
    if not path:
        return action()
    import cProfile

    profile = cProfile.Profile()
    try:
        return profile.runcall(action)
    finally:
        profile.dump_stats(path)


if __name__ == "__main__":
    main()
