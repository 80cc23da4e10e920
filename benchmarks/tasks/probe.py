"""Runs in a kernel: how long the rewriting of each graph took, and the fingerprints in it.

Graphs are rewritten in the notebook's thread, before Dask gets them. What is sent to the workers
for each client, once, is told apart.
"""

import functools
import sys
import time
import types

from nbrw_runtime import task_ship
from nbrw_runtime.task_cache import TaskCache
from nbrw_runtime.task_fingerprint import Fingerprinter

graphs = []  # of each: its tasks; seconds of its rewriting, of the fingerprints in it, of the CPU
_inside = {"tasks": 0, "fingerprints": 0.0, "shipped": 0.0}
_shipped = [0.0]  # seconds; once for each client


def _rewritten(original):
    @functools.wraps(original)
    def rewritten(*args, **options):
        _inside.update(tasks=0, fingerprints=0.0, shipped=0.0)
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            return original(*args, **options)
        finally:
            took, cpu = time.perf_counter() - began, time.thread_time() - cpu
            shipped = _inside.pop("shipped")
            graphs.append({**_inside, "rewriting": took - shipped, "cpu": cpu})

    return rewritten


def _fingerprints(original):
    @functools.wraps(original)
    def fingerprints(*args, **options):
        began = time.perf_counter()
        found = original(*args, **options)
        _inside["tasks"] += len(found)
        _inside["fingerprints"] += time.perf_counter() - began
        return found

    return fingerprints


def _ship(original):
    @functools.wraps(original)
    def ship(*args, **options):
        began = time.perf_counter()
        try:
            return original(*args, **options)
        finally:
            took = time.perf_counter() - began
            _shipped[0] += took
            _inside["shipped"] = _inside.get("shipped", 0.0) + took

    return ship


def told():
    """What was measured since the start."""
    return {"graphs": graphs, "shipped": _shipped[0]}


TaskCache.rewritten = _rewritten(TaskCache.rewritten)
Fingerprinter.fingerprints = _fingerprints(Fingerprinter.fingerprints)
task_ship.ship = _ship(task_ship.ship)
sys.modules["nbrw_bench_probe"] = module = types.ModuleType("nbrw_bench_probe")
module.told = told
