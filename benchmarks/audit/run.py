"""What auditing costs: the same work plain, under nbrw's tracer, under strace, under ReproZip.

    python benchmarks/audit/run.py [--rounds N]

Rounds are interleaved, so that what else the machine does falls on all alike; the ratios are of
medians. strace and ReproZip (`pip install reprozip`) are measured where they are installed. Prints
a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALLS = "open,openat,execve,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,link,symlink"
COMPUTE = """
import numpy as np
a = np.random.default_rng(0).random((1200, 1200))
for _ in range(120):
    a = a @ a
    a /= a.max()
total = 0
for n in range(20_000_000):
    total += n * n
"""
CLUSTER = str(Path(__file__).with_name("cluster_work.py"))
NOTEBOOK = str(Path(__file__).with_name("notebook_work.py"))
WORK: dict[str, tuple[float | None, list[str]]] = {
    "import-heavy": (1.3, [str(ROOT / "tests/tracees/imports.py")]),
    "LocalCluster notebook": (1.15, [NOTEBOOK, "plain"]),
    "LocalCluster, 14 s": (None, [CLUSTER, "4000", "3"]),
    "LocalCluster, 3 s": (None, [CLUSTER, "2000", "2"]),
    "compute-bound": (1.02, ["-c", COMPUTE]),
}


def commands(argv: list[str], place: Path) -> dict[str, list[str]]:
    """How each contender runs a Python program."""
    program = [sys.executable, *argv]
    found = {"plain": program}
    out = str(place / "nbrw")
    if argv[0] == NOTEBOOK:
        found["nbrw, checkpoints too"] = [sys.executable, NOTEBOOK, "audited"]
    else:
        found["nbrw"] = [sys.executable, "-m", "nbrw_builder.tracer", "--out", out, "--", *program]
    if shutil.which("strace"):
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(place / "s")]
        found["strace --seccomp-bpf"] = [*strace, "-e", f"trace={CALLS}", *program]
    reprozip = Path(sys.executable).with_name("reprozip")
    if reprozip.exists():
        trace = ["trace", "--overwrite", "--dont-identify-packages", "-d", str(place / "r")]
        found["ReproZip"] = [str(reprozip), *trace, *program]
    return found


def seconds(argv: list[str], place: Path) -> float:
    """Wall time of one run."""
    paths = f"{ROOT / 'builder'}:{ROOT / 'runtime'}"
    variables = {
        **os.environ,
        "PYTHONPATH": paths,
        "REPROZIP_USAGE_STATS": "off",
        "XDG_CACHE_HOME": str(place.parent / "cache"),
    }
    began = time.perf_counter()
    done = subprocess.run(
        argv, cwd=place, env=variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{argv[:4]} failed: {done.stderr.decode(errors='replace')[-500:]}")
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="the work whose name contains this")
    options = parser.parse_args()
    rounds = options.rounds
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {rounds} interleaved rounds\n")
    print("| work | contender | median s | ratio to plain | goal |")
    print("|---|---|---|---|---|")
    for name, (goal, argv) in WORK.items():
        if options.only and options.only not in name:
            continue
        times: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory, "work")
            place.mkdir()
            if argv[0] == NOTEBOOK:
                shutil.copy(ROOT / "examples/climate.ipynb", place)
                seconds(
                    [sys.executable, str(ROOT / "examples/make_climate_data.py"), "data/climate"],
                    place,
                )
            contenders = commands(argv, place)
            for command in contenders.values():
                seconds(command, place)
            for _ in range(rounds):
                for contender, command in contenders.items():
                    times.setdefault(contender, []).append(seconds(command, place))
        plain = statistics.median(times["plain"])
        for contender, taken in times.items():
            median = statistics.median(taken)
            wanted = f"<= {goal}" if goal and contender.startswith("nbrw") else ""
            print(f"| {name} | {contender} | {median:.2f} | {median / plain:.3f} | {wanted} |")


if __name__ == "__main__":
    main()
