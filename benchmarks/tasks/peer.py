"""Runs in an environment of a peer's; prints what happened as JSON, in its last line.

peer.py TOOL DIRECTORY tasks plain|cached COUNT     module `bench_functions` in DIRECTORY
peer.py TOOL DIRECTORY edits cached NAME...         these modules in DIRECTORY
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def tasks(tool: Any, count: int) -> dict[str, Any]:
    """Many tasks, of two functions."""
    functions = importlib.import_module("bench_functions")
    calls = [(f, n) for f in (functions.first, functions.second) for n in range(count // 2)]
    began = time.perf_counter()
    out = sum(tool.map(calls))
    return {"out": out, "seconds": time.perf_counter() - began}


def edits(tool: Any, names: list[str]) -> list[dict[str, Any]]:
    """One result of each module, or why there is none."""
    found: list[dict[str, Any]] = []
    for name in names:
        module = importlib.import_module(name)
        began = time.perf_counter()
        try:
            out = tool.value(module.pipeline(tool.call))
            found.append({"out": out, "seconds": time.perf_counter() - began})
        except Exception as error:
            found.append(failed(error))
    return found


def failed(error: Exception) -> dict[str, Any]:
    """The first line that says anything."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return {"failed": f"{type(error).__name__}: {lines[0]}"}


def main() -> None:
    """See above."""
    name, directory, job, cached, *rest = sys.argv[1:]
    sys.path.insert(0, directory)
    found: Any
    try:
        tool = importlib.import_module(f"tool_{name}").Tool(Path(directory), cached == "cached")
        try:
            # Processes are started before time is taken.
            tool.map([(abs, -1), (abs, -2)])
            found = tasks(tool, int(rest[0])) if job == "tasks" else edits(tool, rest)
        finally:
            tool.close()
    except Exception as error:
        found = failed(error)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
