"""Five workloads: plain, audited, repeated without change, repeated with each change.

    python benchmarks/repeat/run.py [--rounds N] [--change-rounds N] [--only NAME] [--small]
    python benchmarks/repeat/run.py --changes [--goals] [--scale N] ...    the changes, built once

Times are of whole commands. Rounds are interleaved; ratios are of medians. Every repeat starts in a
directory with nothing but the change, and what it leaves is compared with a plain run of the
same notebook on the same data: one that differs is a failure, whatever it took. A change is run
plain and repeated twice: with no results of earlier repeats, and with what the first one kept. The
image is unpacked, where the engine does that, before the repeats; how long it takes is told apart.
What the ideal of a repeat with a change is, `ideal.py` says; which tasks it may at best leave out,
`oracle.py`. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import task_times
from check import wrong
from ideal import cell_seconds, ideal_seconds, must_run, read_times
from oracle import reached, tasks_of
from tables import changes_table, workloads_table
from workload import NAMES, Change, Workload

ROOT = Path(__file__).resolve().parents[2]
NBRW = [sys.executable, "-m", "nbrw_builder.cli"]
PLAIN = str(Path(__file__).with_name("plain.py"))


class Bench:
    """One workload in a directory of its own."""

    def __init__(self, name: str, place: Path, options: argparse.Namespace) -> None:
        self.workload = Workload(name)
        self.place = place / name
        self.options = options
        self.data = self.place / "data"
        self.image = self.place / "image" / (name + {"sif": ".sif", "oci": ""}[options.kind])
        self.plain_of: dict[str, Path] = {}  # by change: the executed notebook
        self.failures: list[str] = []
        self.measured: dict[str, Any] = {
            "plain": [], "audit": [], "resolve": [], "pack": [], "unpack": [], "unchanged": [],
            "changes": {c.name: {"plain": [], "repeat": [], "again": [], "ideal": [],
                                 "paper": c.paper, "goal": c.goal}
                        for c in self.workload.changes},
        }  # fmt: skip
        self.workload.make_data(self.data, options.small, options.scale)
        self.tasks = tasks_of(name, self.data)

    def round(self, number: int) -> None:
        """All contenders once."""
        if number == 0 or not self.options.changes:
            shutil.rmtree(self.place / "cache", ignore_errors=True)
            seconds, self.plain_of[""] = self.plain(None)
            self.measured["plain"].append(seconds)
            self.build()
            inspect = [*NBRW, "run", *self.engine(), self.image, "inspect"]
            self.measured["unpack"].append(self.command(inspect, self.place)[0])
        for _ in range(0 if self.options.changes else 3):
            self.measured["unchanged"].append(self.repeat(None)[0])
        limit = self.options.change_rounds
        for change in self.workload.changes if limit is None or number < limit else ():
            if change.goal or not self.options.goals:
                self.changed(change)

    def changed(self, change: Change) -> None:
        """A change: plain, repeated, and repeated again."""
        found = self.measured["changes"][change.name]
        empty = self.empty()
        seconds, self.plain_of[change.name] = self.plain(change)
        found["plain"].append(seconds)
        self.forget()
        seconds, report = self.repeat(change)
        found["repeat"].append(seconds)
        found["again"].append(self.repeat(change)[0])
        cells = [cell["cell"] for cell in report["cells"] if cell["action"] == "run"]
        places = reached(self.tasks, change.touched)
        executed = sum(cell.get("tasks", {}).get("run", 0) for cell in report["cells"])
        found.update(
            cells=cells, executed=executed, all=len(self.tasks), reached=len(places), empty=empty
        )
        ideal = ideal_seconds(
            empty,
            cell_seconds(json.loads(self.plain_of[change.name].read_bytes())),
            must_run(self.workload.name, cells, bool(places)),
            self.tasks,
            places,
            read_times(self.place / "times"),
        )
        found["ideal"].append(ideal)

    def plain(self, change: Change | None) -> tuple[float, Path]:
        """The notebook without nbrw; seconds, and the executed notebook."""
        where = self.place / f"plain {change.name if change else ''}".strip()
        shutil.rmtree(where, ignore_errors=True)
        path = self.workload.lay_out(where, self.data, change)
        out = where / "executed.ipynb"
        shutil.rmtree(self.place / "times", ignore_errors=True)
        (self.place / "times").mkdir()
        variables = {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": task_times.__file__,
            "TASK_TIMES": str(self.place / "times"),
        }
        return self.command([sys.executable, PLAIN, path, out], where, variables)[0], out

    def empty(self) -> float:
        """Seconds of a notebook that does nothing, without nbrw."""
        path = self.place / "empty.ipynb"
        notebook = self.workload.notebook()
        notebook["cells"] = []
        path.write_text(json.dumps(notebook))
        return self.command([sys.executable, PLAIN, path, path], self.place)[0]

    def build(self) -> None:
        """Audit and pack afresh."""
        author = self.place / "author"
        shutil.rmtree(author, ignore_errors=True)
        shutil.rmtree(self.image.parent, ignore_errors=True)
        self.image.parent.mkdir()
        path = self.workload.lay_out(author, self.data)
        words = [*NBRW, "build", path.name, "-o", self.image, "--fresh", "--json"]
        built = json.loads(self.command(words, author)[1])
        for part, seconds in built["seconds"].items():
            self.measured[part].append(seconds)
        self.measured["bytes"] = size(self.image)

    def repeat(self, change: Change | None) -> tuple[float, dict[str, Any]]:
        """Repeat in a new directory and check; seconds, and the report."""
        work = self.place / "work"
        shutil.rmtree(work, ignore_errors=True)
        words = self.workload.lay_out_change(work, self.data, change)
        command = [*NBRW, "run", *self.engine(), self.image, "repeat", *words, "--json"]
        seconds, text = self.command(command, work)
        report = json.loads(text)
        out = work / f"{self.workload.name}.repeat.ipynb"
        what = change.name if change else "no change"
        plain = self.plain_of[change.name if change else ""]
        self.failures += [f"{self.workload.name}, {what}: {text}" for text in wrong(plain, out)]
        return seconds, report

    def forget(self) -> None:
        """Have no results of earlier repeats."""
        self.command([*NBRW, "cache", "prune", "--all", "--kind", "results"], self.place)

    def engine(self) -> list[str]:
        """Options for `nbrw run`."""
        return ["--engine", self.options.engine] if self.options.engine else []

    def command(
        self, argv: Sequence[object], cwd: Path, more: Mapping[str, str] | None = None
    ) -> tuple[float, str]:
        """Wall time and output of a command; one that fails ends the benchmark."""
        variables = {
            **os.environ,
            **(more or {}),
            "PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'runtime'}",
            "XDG_CACHE_HOME": str(self.place / "cache"),
        }
        words = [str(word) for word in argv]
        began = time.perf_counter()
        done = subprocess.run(
            words, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        took = time.perf_counter() - began
        if done.returncode:
            sys.exit(
                f"{self.workload.name}: {words} failed: {done.stdout[-800:]}{done.stderr[-800:]}"
            )
        return took, done.stdout


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())


def main() -> None:
    """Measure and print; exit code 1 if a repeat was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--change-rounds", type=int, help="rounds with changes (all)")
    parser.add_argument("--changes", action="store_true", help="the changes alone, built once")
    parser.add_argument("--only", choices=NAMES, action="append", help="this workload alone")
    parser.add_argument("--small", action="store_true", help="small data: whether it works at all")
    parser.add_argument("--scale", type=int, default=1, help="times as much data (not for dconv)")
    parser.add_argument("--goals", action="store_true", help="only the changes that have a goal")
    parser.add_argument("--kind", choices=("sif", "oci"), default="sif", help="of images")
    parser.add_argument("--engine", help="as in `nbrw run --engine`")
    parser.add_argument("--work", type=Path, help="where the (large) temporary files go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times as well")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nbrw-repeat-", dir=options.work) as directory:
        benches = [Bench(name, Path(directory), options) for name in options.only or NAMES]
        for number in range(options.rounds):
            for bench in benches:
                print(f"round {number + 1}: {bench.workload.name}", file=sys.stderr, flush=True)
                bench.round(number)
    measured = {bench.workload.name: bench.measured for bench in benches}
    failures = [text for bench in benches for text in bench.failures]
    if options.json:
        options.json.write_text(json.dumps({"measured": measured, "wrong": failures}, indent=1))
    print(
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {options.rounds} rounds,", end=" "
    )
    data = "small data" if options.small else f"data x {options.scale}"
    print(f"{data}, {options.kind}, engine {options.engine or 'chosen by nbrw'}\n")
    tables = [] if options.changes else [workloads_table(measured)]
    print(*tables, changes_table(measured), sep="\n\n")
    print("\nwrong: " + ("; ".join(failures) or "none"))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
