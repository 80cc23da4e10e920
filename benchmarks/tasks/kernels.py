"""A notebook in a new kernel: plain, as the audit starts it, or as a repeat does.

Kernels are started by nbrw's own launcher and its session file, without tracer and without an
image: what is measured is what they do with tasks. (What tracing costs: benchmarks/audit.)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_runtime import launch
from nbrw_runtime.execute import RepeatKernel, started
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.outputs import CellOutputs
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.session_file import Session, write_session

HERE = Path(__file__).resolve().parent
MODES = ("plain", "audit", "repeat")
TIMEOUT = 3600.0


@dataclass(frozen=True)
class Place:
    """A directory for one notebook's audit, and the repeats of it."""

    root: Path

    @property
    def store(self) -> Path:
        """The image's, once the audit has ended."""
        return self.root / "store"

    @property
    def checkpoints(self) -> Path:
        """One file for each cell."""
        return self.root / "checkpoints"

    def session(self, mode: str, cells: Sequence[str]) -> Path:
        """Write what the kernel is told; in a repeat nothing is known of earlier repeats."""
        stores = [self.store]
        if mode == "repeat":
            first = self.root / "store of the repeat"
            shutil.rmtree(first, ignore_errors=True)
            stores.insert(0, first)
        for directory in (*stores, self.checkpoints):
            directory.mkdir(parents=True, exist_ok=True)
        made = [{"cell_type": "code", "source": cell} for cell in cells]
        orders = Session(
            mode=mode,
            cells=recipe_cells(code_cells({"cells": made})),
            stores=tuple(map(str, stores)),
            checkpoints=str(self.checkpoints),
            cwd=str(self.root),
            author_cwd=str(self.root),
            tasks=mode == "repeat",
        )
        path = self.root / f"session of {mode}.json"
        write_session(orders, path)
        return path


def run(
    place: Place, mode: str, cells: Sequence[str], probe: bool = False, ask: str = "out"
) -> dict[str, Any]:
    """Run the cells: how long each took with what nbrw did after it, and the value of ``ask``.

    ``probe``: also what the rewriting of graphs took (`probe.py`). Exits if a cell fails.
    """
    place.root.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher"]
    if mode != "plain":
        root = str(Path(launch.__file__).parents[1])
        argv = [sys.executable, launch.__file__, "--fallback", root]
        argv += ["--session", str(place.session(mode, cells))]
    argv += ["-f", "{connection_file}"]
    probe = probe and mode != "plain"
    variables = {**os.environ, "IPYTHONDIR": str(place.root / "ipython")}
    found: dict[str, Any] = {"seconds": [], "out": None}
    with started(argv, str(place.root), variables, place.root / f"{mode}.log") as kernel:
        if probe:
            text = (HERE / "probe.py").read_text(encoding="utf-8")
            execute(kernel, 0, f"exec({text!r}, {{'__name__': 'nbrw_bench_probe'}})")
        for number, cell in enumerate(cells, 1):
            began = time.perf_counter()
            execute(kernel, number, cell)
            found["seconds"].append(time.perf_counter() - began)
        found["out"] = value(kernel, ask)
        if probe:
            found["probe"] = value(kernel, "__import__('sys').modules['nbrw_bench_probe'].told()")
        if mode == "plain":
            execute(kernel, 0, "client.close(); cluster.close()")
        else:
            finished = kernel.ask("finish_json")
            found["tasks"], found["notes"] = finished["tasks"], finished["notes"]
    return found


def execute(kernel: RepeatKernel, number: int, source: str) -> CellOutputs:
    """Run a cell. Exits if it fails."""
    outputs = kernel.run(number, source, TIMEOUT)
    if outputs.error:
        sys.exit(f"cell {number} failed: {outputs.error['ename']}: {outputs.error['evalue']}")
    return outputs


def value(kernel: RepeatKernel, expression: str) -> Any:
    """Of an expression in the kernel, by way of JSON."""
    outputs = execute(kernel, 0, f"print(__import__('json').dumps({expression}))")
    return json.loads(outputs.outputs[0]["text"])
