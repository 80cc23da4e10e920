"""What planning costs, and what a checkpoint costs after many cells.

    python benchmarks/plan/run.py [--rounds N] [--only plan|audit] [--plot docs/plots/plan.svg]

Planning: `make_plan` for a made-up recipe of 10,000 names, by the number of cells and by the edit.
Audit: what the session does after each of 1,000 small cells, by the number of cells before it.
Prints Markdown tables; ``--plot`` writes both as SVG (needs matplotlib).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import made_recipe
import many_cells
from growth import WINDOW, slope, windows

from nbrw_runtime.effects import effects_of
from nbrw_runtime.names import names_of, parsed
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.plan import Action, Request, make_plan

NAMES = 10_000
CELLS = (100, 200, 400, 700, 1000)
GOAL = 1.0


def edited(texts: list[str], number: int) -> list[str]:
    """The cell with this number (from 0) does something else."""
    return [*texts[:number], texts[number] + "\nprint(1)", *texts[number + 1 :]]


EDITS: dict[str, Callable[[list[str]], list[str]]] = {
    "nothing": lambda texts: texts,
    "last cell edited": lambda texts: edited(texts, len(texts) - 1),
    "first cell edited": lambda texts: edited(texts, 0),
    "cell inserted at the top": lambda texts: ["print(1)", *texts],
    "last cell may use any name": lambda texts: [*texts[:-1], "exec('v0_0')"],
}


def planning(rounds: int) -> dict[str, list[tuple[int, float, int]]]:
    """For each edit: number of cells, median seconds of planning, cells that would run."""
    found: dict[str, list[tuple[int, float, int]]] = {}
    for cells in CELLS:
        texts = made_recipe.sources(cells, NAMES)
        recipe = made_recipe.recipe(texts)
        now = {name: code_cells(made_recipe.notebook(edit(texts))) for name, edit in EDITS.items()}
        times: dict[str, list[float]] = {name: [] for name in EDITS}
        runs = {}
        for _ in range(rounds):
            for name, seen in now.items():
                for kept in (parsed, names_of, effects_of):
                    kept.cache_clear()  # as in a new process
                began = time.perf_counter()
                plan = make_plan(recipe, seen, Request())
                times[name].append(time.perf_counter() - began)
                runs[name] = len(plan.cells(Action.RUN))
        for name, taken in times.items():
            found.setdefault(name, []).append((cells, statistics.median(taken), runs[name]))
    return found


def auditing(rounds: int, cells: int) -> dict[str, list[float]]:
    """For each kind of notebook: median seconds after each cell, of rounds in new processes."""
    runs: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for kind in many_cells.KINDS:
            command = [sys.executable, many_cells.__file__, kind, str(cells)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            runs.setdefault(kind, []).append(json.loads(done.stdout))
    return {
        kind: [statistics.median(column) for column in zip(*taken, strict=True)]
        for kind, taken in runs.items()
    }


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["plan", "audit"])
    parser.add_argument("--cells", type=int, default=1000, help="of the audited notebooks")
    parser.add_argument("--plot", type=Path, help="write the plot to this SVG file")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {options.rounds} rounds\n")
    planned = planning(options.rounds) if options.only != "audit" else {}
    audited = auditing(options.rounds, options.cells) if options.only != "plan" else {}
    if planned:
        print_planning(planned)
    if audited:
        print_auditing(audited)
    if options.json:
        options.json.write_text(json.dumps({"plan": planned, "audit": audited}))
    if options.plot:
        import plot

        points = {kind: windows(taken) for kind, taken in audited.items()}
        plot.draw(planned, points, options.plot)


def print_planning(planned: dict[str, list[tuple[int, float, int]]]) -> None:
    """Seconds of planning, a column for each number of cells."""
    print(f"| planning, {NAMES:,} names | {' | '.join(f'{n} cells' for n in CELLS)} | goal |")
    print("|---|" + "---|" * (len(CELLS) + 1))
    for name, points in planned.items():
        columns = " | ".join(f"{seconds:.3f} s ({runs} run)" for _, seconds, runs in points)
        print(f"| {name} | {columns} | <= {GOAL:g} s |")
    print()


def print_auditing(audited: dict[str, list[float]]) -> None:
    """Milliseconds after each cell, at the start and at the end."""
    cells = len(next(iter(audited.values())))
    width = min(WINDOW, cells)
    last = f"the last {width} of {cells}"
    print(f"| after a cell | first {width}, median ms | {last} | slope, ms per 1,000 cells |")
    print("|---|---|---|---|")
    for kind, taken in audited.items():
        first, end = statistics.median(taken[:width]), statistics.median(taken[-width:])
        print(f"| {kind} | {1e3 * first:.2f} | {1e3 * end:.2f} | {1e6 * slope(taken):+.2f} |")


if __name__ == "__main__":
    main()
