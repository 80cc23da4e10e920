"""Checkpoints and restores: nbrw against Kishu, dill.dump_session and IPython's %store.

    python benchmarks/checkpoint/run.py [--rounds N] [--only a|one-array|b|c] [--tools nbrw,dill]

The same notebooks in each tool, each time in a new process with an IPython shell; rounds are
interleaved, ratios are of medians. Times are those of the tool's hooks around the cells, and of
the restore alone; what nbrw does after the last cell is in the sum. Before each process all writes
are waited for; restores are measured with the tool's files in the page cache, and "cold" with none
of them in it. Kishu (SQLite) waits for the disk after each cell (fsync), the others do not.

Kishu is installed into an environment of its own, with this interpreter's versions of what both
use (--kishu PYTHON: one that has it). Its dumps need 9 GB of disk; --scale 0.1 a tenth of it.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import figures
from bench_notebooks import Notebook, notebooks
from drive import TOOLS

HERE = Path(__file__).resolve().parent
KISHU = "0.3.4"
SHARED = ("dill", "ipykernel", "ipython", "nbformat", "numpy", "pandas", "pyarrow", "traitlets")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="the notebook of this name")
    parser.add_argument("--tools", default=",".join(TOOLS), help="some of them")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--cells", type=int, help="how many are counted (not those of b)")
    parser.add_argument("--kishu", type=Path, help="a Python that has Kishu")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    tools = [tool for tool in TOOLS if tool in options.tools.split(",")]
    chosen = [
        notebook
        for name, notebook in notebooks(options.scale, options.cells).items()
        if options.only in (None, name)
    ]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    theirs = any(tool.startswith("kishu") for tool in tools)
    with tempfile.TemporaryDirectory() as directory:
        room = (10e9 if theirs else 2e9) * options.scale
        if shutil.disk_usage(directory).free < room:
            sys.exit(f"{directory} has less than {room / 1e9:g} GB free: set TMPDIR, or --scale")
        kishu = options.kishu
        if kishu is None and theirs:
            kishu = install_kishu(Path(directory, "kishu"))
        sizes = ["--scale", str(options.scale)]
        if options.cells:
            sizes += ["--cells", str(options.cells)]
        for _ in range(options.rounds):
            for notebook in chosen:
                for tool in tools:
                    python = str(kishu) if tool.startswith("kishu") else sys.executable
                    place = Path(directory, "run")
                    found = one_round(
                        [python, str(HERE / "drive.py")], tool, notebook, place, sizes
                    )
                    results.setdefault(notebook.name, {}).setdefault(tool, []).append(found)
                    shutil.rmtree(place)
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {options.rounds} rounds")
    for notebook in chosen:
        print_costs(notebook, results)
        if notebook.restore:
            print_restores(notebook, results)
    print("\n| goal | figure | limit | met |\n|---|---|---|---|")
    for goal in figures.goals(results):
        print(f"| {goal.text} | {number(goal.figure)} | <= {goal.limit:.3g} | {goal.met} |")
    if options.json:
        options.json.write_text(json.dumps(results))


def install_kishu(place: Path) -> Path:
    """A new environment with Kishu; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in SHARED]
    python = place / "bin/python"
    install = [python, "-m", "pip", "install", "-qqq", f"kishu=={KISHU}", *wanted]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    return python


def one_round(
    driver: list[str], tool: str, notebook: Notebook, place: Path, sizes: list[str]
) -> dict[str, Any]:
    """One tool's run of a notebook, then its restores, each in a new process."""
    found = drive([*driver, "record", tool, notebook.name, str(place), *sizes])
    if "failed" in found:
        return found
    again = [*driver, "restore", tool, notebook.name, str(place)]
    found["restored"] = {"": drive([*again, *sizes])}
    for name in notebook.restore:
        found["restored"][name] = drive([*again, name, *sizes])
        found["restored"][f"{name} cold"] = drive([*again, name, "--cold", *sizes])
    return found


def drive(command: list[str]) -> dict[str, Any]:
    """Run a driver; what it printed last."""
    os.sync()
    # Another nbrw that PYTHONPATH names is the one that is measured.
    paths = [os.environ.get("PYTHONPATH", ""), str(HERE.parents[1] / "runtime")]
    variables = {**os.environ, "PYTHONPATH": ":".join(path for path in paths if path)}
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        sys.exit(f"{command[1:5]} failed: {done.stderr.decode(errors='replace')[-800:]}")
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def print_costs(notebook: Notebook, results: figures.Results) -> None:
    """Time and space of one notebook's checkpoints."""
    name = notebook.name
    dill = figures.median(results, name, "dill", figures.total)
    print(f"\n| {notebook.title} | checkpoints, s | ms a cell | of dill's | MB | restored wrong |")
    print("|---|---|---|---|---|---|")
    for tool, rounds in results[name].items():
        failed = [found["failed"] for found in rounds if "failed" in found]
        if failed:
            print(f"| {tool} | fails {failed[0]} | | | | |")
            continue
        seconds = figures.median(results, name, tool, figures.total)
        cell = figures.median(results, name, tool, figures.per_cell)
        size = figures.median(results, name, tool, figures.stored)
        assert seconds is not None and cell is not None and size is not None
        bad = max((figures.wrong(found) for found in rounds), key=len)
        columns = [f"{seconds:.2f}", f"{1e3 * cell:.1f}", number(figures.ratio(seconds, dill))]
        shown = f"{len(bad)} of {len(notebook.checks)}" + (f": {', '.join(bad[:3])}" if bad else "")
        megabytes = f"{size / 1e6:,.2f}" if size < 1e7 else f"{size / 1e6:,.1f}"
        print(f"| {tool} | {' | '.join(columns)} | {megabytes} | {shown} |")


def print_restores(notebook: Notebook, results: figures.Results) -> None:
    """Time until a single variable is there and has been read (or checked)."""
    name = notebook.name
    wanted = [f"{one}{how}" for one in notebook.restore for how in ("", " cold")]
    print(f"\n| {notebook.title}, s | {' | '.join(wanted)} |\n|---|{'---|' * len(wanted)}")
    rows = [(tool, tool, "used") for tool in results[name]]
    if "nbrw" in results[name]:
        rows.insert(1, ("nbrw, checked", "nbrw", "sure"))
    for title, tool, until in rows:
        columns = []
        for one in wanted:
            if figures.median(results, name, tool, figures.total) is None:
                columns.append("")
                continue
            seconds = figures.median(results, name, tool, figures.restoring(one, until))
            dill = figures.median(results, name, "dill", figures.restoring(one))
            columns.append(f"{seconds:.3f} ({number(figures.ratio(seconds, dill))})")
        print(f"| {title} | {' | '.join(columns)} |")
    print("\n(in brackets: of dill's; nbrw checks digests of large buffers while they are used)")


def number(value: float | None) -> str:
    """Three digits."""
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
