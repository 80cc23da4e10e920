"""From `repeat` to the first task on Slurm, beside bare Dask in the same image.

    python benchmarks/cluster/run.py [--rounds N] [--workers 8] [--json FILE]

Needs root: it starts the test site (tests/site: two nodes, Slurm, Apptainer). It builds an image of
a notebook that connects, runs one task and then one on each worker. Then alice runs it on both
nodes, in turns: `repeat --cluster slurm` from the login node, the job of `slurm-script`, and for
each the peer: `dask scheduler`, `srun apptainer exec IMAGE dask worker`, a client. Seconds are from
the command's start to the time that the task itself tells. Prints a Markdown table; exit code 1
if the goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contenders import (
    ALL,
    CONNECT,
    CONTENDERS,
    FILES,
    FIRST,
    IMAGE,
    PARAMETERS,
    SCRIPT,
    Contender,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from notebook_helper import ROOT, write_notebook
from site_helper import Site, start_site, why_not

SLOWER = 1.5  # of the peer's time to the first task, at most
_NBRW = [sys.executable, "-m", "nbrw_builder.cli"]


def build(share: Path, workers: int) -> None:
    """The image, the notebook for so many workers and the peer's script to the shared folder."""
    with tempfile.TemporaryDirectory(prefix="nbrw-cluster-") as directory:
        place = Path(directory)
        write_notebook(place / FILES[0], PARAMETERS, CONNECT, FIRST, ALL)
        variables = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"),
                     "PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'runtime'}"}  # fmt: skip
        words = [*_NBRW, "build", FILES[0], "-o", "first-task.sif", "-q"]
        subprocess.run(words, cwd=place, env=variables, stdin=subprocess.DEVNULL, check=True)
        shutil.copy(place / "first-task.sif", share / Path(IMAGE).name)
        write_notebook(share / FILES[0], f"workers = {workers}", CONNECT, FIRST, ALL)
        (share / FILES[1]).write_text(SCRIPT)


def one(site: Site, contender: Contender, workers: int) -> dict[str, float]:
    """Seconds from the command's start to the first task, and to a task on each worker."""
    _until_idle(site)
    files = " ".join(f"/share/{name}" for name in FILES)
    script = f"rm -rf w; mkdir w; cd w; cp {files} .\n{contender.command(workers)}"
    done = site.run("bash", "-c", script)
    text = done.stdout
    if contender.peer:
        cells = json.loads(site.run("cat", "w/out.ipynb").stdout)["cells"]
        text += "".join("".join(out.get("text", "")) for c in cells for out in c["outputs"])
    found = {word: float(value) for word, value in re.findall(r"^(\w+) (\d+\.\d+)$", text, re.M)}
    if not {"began", "first", "all"} <= set(found):
        raise SystemExit(f"{contender.name} showed no times:\n{text}{done.stderr}")
    return {word: found[word] - found["began"] for word in ("first", "all")}


def _until_idle(site: Site, seconds: float = 120) -> None:
    """No job of an earlier contender holds a node."""
    deadline = time.monotonic() + seconds
    while site.run("squeue", "--noheader").stdout.strip():
        if time.monotonic() > deadline:
            raise SystemExit(f"jobs do not end:\n{site.run('squeue').stdout}")
        time.sleep(0.5)


def report(found: dict[str, list[dict[str, float]]], workers: int) -> int:
    """Print the table; 1 if the goal is missed."""
    print(f"{workers} workers on 2 nodes, {len(next(iter(found.values())))} rounds;", end=" ")
    print("median (least to most) seconds.\n")
    print("| | first task | of the peer's | a task on each worker | of the peer's |")
    print("|---|---|---|---|---|")
    missed = []
    for contender in CONTENDERS:
        cells = [contender.name]
        for word in ("first", "all"):
            ours = _values(found, contender.name, word)
            cells.append(f"{statistics.median(ours):.2f} ({min(ours):.2f} to {max(ours):.2f})")
            if not contender.peer:
                cells.append("1")
                continue
            share = ratio(found, contender, word)
            cells.append(f"{share:.2f}")
            if word == "first" and share > SLOWER:
                missed.append(f"{contender.name}: {share:.2f} of the peer's time, not {SLOWER}")
        print(f"| {' | '.join(cells)} |")
    for text in missed:
        print(f"\nGoal missed: {text}.")
    return 1 if missed else 0


def ratio(found: dict[str, list[dict[str, float]]], contender: Contender, word: str) -> float:
    """Of the medians of a contender and its peer."""
    ours, theirs = (_values(found, name, word) for name in (contender.name, contender.peer))
    return statistics.median(ours) / statistics.median(theirs)


def _values(found: dict[str, list[dict[str, float]]], name: str, word: str) -> list[float]:
    return [times[word] for times in found[name]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8, help="in all, on two nodes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times as well")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        raise SystemExit(reason)
    site = start_site()
    build(site.share, options.workers)
    found: dict[str, Any] = {contender.name: [] for contender in CONTENDERS}
    for number in range(options.rounds + 1):
        for contender in CONTENDERS if number % 2 else reversed(CONTENDERS):
            print(f"round {number}: {contender.name}", file=sys.stderr, flush=True)
            times = one(site, contender, options.workers)
            if number:  # the first one warms caches
                found[contender.name].append(times)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return report(found, options.workers)


if __name__ == "__main__":
    sys.exit(main())
