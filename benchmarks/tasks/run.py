"""Dask's tasks: plain, with a cold and a warm cache, and with one function edited; other caches.

    python benchmarks/tasks/run.py [--rounds N] [--parts costs,times,peers,wrong] [--quick]

costs: of fingerprint and look-up, for each task, by the shape of the graph and its size: the median
of all tasks. times: of tasks that do nothing, and of 50 ms. peers: the same tasks with
joblib.Memory, Parsl's memoisation and graphchain. wrong: what each tool gives after an edit. Each
run is a new kernel (or process) with a new cluster of two workers of one thread each; rounds are
interleaved, figures are medians, "±" is half of what lies between the largest and the smallest. The
time of a cell has all of what nbrw does after it. Every value is checked; one that is wrong is a
failure. Kernels are those that audits and repeats start, without tracer and image (benchmarks/audit
and repeat have these).

The others are installed into environments of their own (--environments DIR keeps them). All of it
takes some two hours; --quick, a minute or two, shows whether it works at all. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kernels
import peers
import tables
import wrong_results
from edits import EDITS
from figures import VARIANTS, goals
from workloads import Workload, by_size

PARTS = ("costs", "times", "peers", "wrong")
SHAPES = ("map", "tree", "delayed", "array", "frame")
LEAF = 0.05


class Bench:
    """All that is measured, in a directory of its own."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self.place = place
        self.options = options
        self.results: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.others: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.edits: dict[str, wrong_results.Results] = {}
        self.failures: list[str] = []
        self.pythons: dict[str, Path] = {}

    def workload(self, workload: Workload) -> None:
        """A round of all variants."""
        place = kernels.Place(self.place / "notebook")
        found = self.results.setdefault(workload.name, {name: [] for name in VARIANTS})
        for variant in VARIANTS:
            mode = {"plain": "plain", "cold": "audit"}.get(variant, "repeat")
            edited = variant == "edited"
            print(f"{workload.name}: {variant}", file=sys.stderr, flush=True)
            run = kernels.run(place, mode, workload.cells(edited), probe=True)
            found[variant].append(run)
            if run["out"] != workload.expected(edited):
                self.failures.append(f"{workload.name}, {variant}: {run['out']}")
            self.failures += [f"{workload.name}, {variant}: {n}" for n in run.get("notes", ())]
        shutil.rmtree(place.root)

    def python(self, peer: peers.Peer) -> Path:
        """Its interpreter; its environment is made when it is first asked for."""
        if peer.environment not in self.pythons:
            print(f"installing {peer.name}", file=sys.stderr, flush=True)
            where = self.options.environments or self.place / "environments"
            self.pythons[peer.environment] = peers.install(peer, where)
        return self.pythons[peer.environment]

    def peer(self, peer: peers.Peer, workload: Workload) -> None:
        """A round of another tool with the functions and numbers of a map."""
        place = self.place / "peer"
        place.mkdir()
        (place / "bench_functions.py").write_text(f"import time\n{workload.functions}")
        found: dict[str, Any] = {}
        for variant in VARIANTS[:3]:
            print(f"{workload.name}: {variant}, {peer.name}", file=sys.stderr, flush=True)
            cached = "plain" if variant == "plain" else "cached"
            words = ("tasks", cached, str(workload.tasks))
            found[variant] = peers.run(peer, self.python(peer), place, *words)
        shutil.rmtree(place)
        self.others.setdefault(workload.name, {}).setdefault(peer.name, []).append(found)

    def wrong(self) -> None:
        """The table of edits; nbrw must give no wrong result."""
        print("edits: nbrw", file=sys.stderr, flush=True)
        self.edits["nbrw"] = ours = wrong_results.of_nbrw(EDITS, self.place / "edits")
        for name, edited in wrong_results.RUNS:
            for edit, run in zip(EDITS, ours[name], strict=True):
                if run["out"] != (edit.after if edited else edit.before):
                    self.failures.append(f"edit of {edit.name}, {name}: {run['out']}")
        for peer in peers.PEERS:
            place = self.place / f"edits-{peer.environment}-{peer.tool}"
            print(f"edits: {peer.name}", file=sys.stderr, flush=True)
            self.edits[peer.name] = wrong_results.of_peer(peer, self.python(peer), EDITS, place)


def chosen(options: argparse.Namespace) -> dict[str, list[Workload]]:
    """The workloads of each part, smallest first."""
    if options.quick:
        leaves = [Workload("map", 40, "sleep", LEAF)]
        return {
            "costs": [Workload(shape, 40) for shape in (*SHAPES, "submit")],
            "times": [Workload("map", 40), *leaves],
            "peers": [Workload("map", 40), *leaves],
        }
    most = max(options.sizes)
    sizes = [size for size in sorted(options.sizes) if size <= 10_000]
    maps = [Workload("map", size) for size in sorted(options.sizes)]
    least = min(options.sizes)
    timed = [Workload("map", least, work, LEAF, rate()) for work in ("sleep", "cpu")]
    if most >= 10_000:
        timed.append(Workload("map", 10_000, "sleep", LEAF))
    others = [Workload(shape, size) for shape in SHAPES[1:] for size in sizes]
    return {
        "costs": [*maps, *others, Workload("submit", least)],
        "times": [*maps, *timed],
        "peers": [*(Workload("map", size) for size in sizes), timed[0]],
    }


def rate() -> float:
    """Numbers that are added in a second of CPU time."""
    began = time.thread_time()
    sum(range(10_000_000))
    return 1e7 / (time.thread_time() - began)


def is_large(workload: Workload) -> bool:
    """Whether a round takes minutes."""
    return workload.tasks * (workload.leaf / 2 + 0.002) > 100


def main() -> None:
    """Measure and print; exit code 1 if a value was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-rounds", type=int, default=1, help="of what takes minutes (1)")
    parser.add_argument("--sizes", type=lambda text: [int(word) for word in text.split(",")],
                        default=[1_000, 10_000, 100_000], help="numbers of tasks")  # fmt: skip
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them")
    parser.add_argument("--only", metavar="TEXT", default="", help="workloads whose name has it")
    parser.add_argument("--quick", action="store_true", help="few tasks, one round")
    parser.add_argument("--environments", type=Path, help="where the others' are, or are made")
    parser.add_argument("--work", type=Path, help="where the temporary files go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as well")
    options = parser.parse_args()
    parts = [part for part in PARTS if part in options.parts.split(",")]
    workloads = {
        part: [workload for workload in found if options.only in workload.name]
        for part, found in chosen(options).items()
    }
    rounds = 1 if options.quick else options.rounds
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nbrw-tasks-", dir=options.work) as directory:
        bench = Bench(Path(directory).resolve(), options)
        for number in range(rounds):
            measure(bench, parts, workloads, number)
        if "wrong" in parts:
            bench.wrong()
    if options.json:
        value = {"results": bench.results, "peers": bench.others, "edits": bench.edits}
        options.json.write_text(json.dumps({**value, "wrong": bench.failures}))
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {rounds} rounds")
    show(bench, parts, workloads)
    print("\nwrong: " + ("; ".join(bench.failures) or "none"))
    sys.exit(bool(bench.failures))


def measure(
    bench: Bench, parts: list[str], workloads: dict[str, list[Workload]], number: int
) -> None:
    """One round."""

    def is_due(workload: Workload) -> bool:
        return number < bench.options.large_rounds or not is_large(workload)

    for workload in dict.fromkeys(w for part in parts for w in workloads.get(part, ())):
        if is_due(workload):
            bench.workload(workload)
    for workload in workloads["peers"] if "peers" in parts else ():
        for peer in peers.PEERS:
            if is_due(workload):
                bench.peer(peer, workload)


def show(bench: Bench, parts: list[str], workloads: dict[str, list[Workload]]) -> None:
    """Print the tables."""
    results = bench.results
    if "costs" in parts:
        print(f"\n{tables.costs(workloads['costs'], results)}")
        print(f"\n{tables.slopes(by_size(workloads['costs']), results)}")
    if "times" in parts:
        print(f"\n{tables.times(workloads['times'], results)}")
    if "peers" in parts:
        measured = {}
        for workload in workloads["peers"]:
            ours = [
                {v: {"seconds": results[workload.name][v][n]["seconds"][-1]} for v in VARIANTS[:3]}
                for n in range(len(results[workload.name]["plain"]))
            ]
            title = f"{workload.tasks:,} x {tables.task(workload)}"
            measured[title] = {"nbrw": ours, **bench.others[workload.name]}
        print(f"\n{tables.peers(measured)}")
    if "wrong" in parts:
        print(f"\n{tables.wrong(EDITS, bench.edits)}")
    if {"costs", "times"} & set(parts):
        found = goals(results, workloads["costs"], workloads["times"])
        print(f"\n{tables.goals(found)}")


if __name__ == "__main__":
    main()
