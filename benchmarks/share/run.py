"""What sharing through a registry costs, beside skopeo on the same layout.

    python benchmarks/share/run.py [--rounds N] [--mb 1000] [--work DIR]

Needs `docker-registry` and `skopeo`. Each round gives each tool a registry of its own, new and on
loopback, in turns: push, push again, push with the last cell edited, pull, pull --from N. Bytes are
those that crossed the loopback device, memory is the most that the tool's process had. Prints
Markdown tables; exit code 1 if a goal is missed.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from registry_helper import registry

MEMORY = 150e6
SLOWER = 1.0  # of skopeo's time, at most
EDIT = 0.02  # of the first push's bytes, at most
STEPS = ("push", "push again", "push, last cell edited", "pull", "pull --from N")
_NBRW = [sys.executable, "-m", "nbrw_builder.cli"]


@dataclass(frozen=True)
class Taken:
    """Of one command: seconds, bytes on the loopback device, peak memory in bytes."""

    seconds: float
    moved: int
    memory: int


def loopback() -> int:
    """Bytes that the loopback device has received."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[0])
    return 0


def timed(argv: list[str], environment: dict[str, str]) -> Taken:
    """Run a command to its end; it must succeed."""
    before, began = loopback(), time.monotonic()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv} ended with {process.returncode}")
    return Taken(seconds, loopback() - before, usage.ru_maxrss * 1024)


def nbrw(host: str, work: Path, out: Path, start: int) -> list[list[str]]:
    """Our commands for the steps."""
    name = f"docker://{host}/team/nb:v1"
    push = [*_NBRW, "push", "-q", "--plain-http"]
    pull = [*_NBRW, "pull", "-q", "--plain-http"]
    return [
        [*push, str(work / "image"), name],
        [*push, str(work / "image"), name],
        [*push, str(work / "edited"), name],
        [*pull, name, str(out / "whole")],
        [*pull, "--from", str(start), name, str(out / "part")],
    ]


def skopeo(host: str, work: Path, out: Path, start: int) -> list[list[str]]:
    """The same with skopeo, which knows of no cells."""
    name = f"docker://{host}/team/nb:v1"
    copy = ["skopeo", "copy", "-q", "--preserve-digests"]
    push = [*copy, "--dest-tls-verify=false"]
    return [
        [*push, f"oci:{work}/image", name],
        [*push, f"oci:{work}/image", name],
        [*push, f"oci:{work}/edited", name],
        [*copy, "--src-tls-verify=false", name, f"oci:{out}/whole:v1"],
    ]


TOOLS: dict[str, Callable[[str, Path, Path, int], list[list[str]]]] = {
    "nbrw": nbrw,
    "skopeo": skopeo,
}


def one(tool: str, work: Path, start: int) -> list[Taken]:
    """All steps of one tool, with a new registry, home and cache."""
    place = Path(tempfile.mkdtemp(prefix="round-", dir=work))
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "HOME": str(place)}
    try:
        with registry(place / "registry") as server:
            (place / "out").mkdir()
            commands = TOOLS[tool](server.host, work, place / "out", start)
            return [timed(command, environment) for command in commands]
    finally:
        shutil.rmtree(place)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mb", type=int, default=1000, help="size of the image")
    parser.add_argument("--start", type=int, default=9, help="N of --from N, of 10 cells")
    parser.add_argument("--work", type=Path, default=None)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="nbrw-share-", dir=options.work))
    try:
        # Elsewhere: what a process has had counts as memory of those that it starts.
        made = Path(__file__).with_name("made_image.py")
        size = options.mb * 1_000_000
        subprocess.run([sys.executable, str(made), str(work), str(size)], check=True)
        shutil.rmtree(work / "cache")
        found: dict[str, list[list[Taken]]] = {tool: [] for tool in TOOLS}
        for number in range(options.rounds + 1):
            for tool in TOOLS if number % 2 else reversed(TOOLS):
                steps = one(tool, work, options.start)
                if number:  # the first one warms caches
                    found[tool].append(steps)
    finally:
        shutil.rmtree(work)
    return report(found, options.mb, options.start)


def report(found: dict[str, list[list[Taken]]], mb: int, start: int) -> int:
    """Print the tables; 1 if a goal is missed."""

    def column(tool: str, step: int, read: Callable[[Taken], float]) -> list[float]:
        return [read(steps[step]) for steps in found[tool] if step < len(steps)]

    print(f"An image of {mb} MB, {len(found['nbrw'])} rounds; median (least to most).\n")
    print("| | nbrw, s | skopeo, s | nbrw, MB | skopeo, MB | nbrw, peak MB | skopeo, peak MB |")
    print("|---|---|---|---|---|---|---|")
    missed = []
    for step, name in enumerate(STEPS):
        cells = []
        for read, unit in (
            (lambda taken: taken.seconds, 1.0),
            (lambda taken: taken.moved, 1e6),
            (lambda taken: taken.memory, 1e6),
        ):
            for tool in TOOLS:
                cells.append(_shown([value / unit for value in column(tool, step, read)]))
        print(f"| {name.replace('N', str(start))} | {' | '.join(cells)} |")
        ours, theirs = (column(tool, step, lambda taken: taken.seconds) for tool in TOOLS)
        if theirs and statistics.median(ours) > SLOWER * statistics.median(theirs):
            missed.append(f"{name}: slower than skopeo")
        if max(column("nbrw", step, lambda taken: taken.memory)) > MEMORY:
            missed.append(f"{name}: more memory than {MEMORY / 1e6:.0f} MB")
    moved = [statistics.median(column("nbrw", step, lambda taken: taken.moved)) for step in (0, 2)]
    share = 100 * moved[1] / moved[0]
    print(f"\nAfter an edit of the last cell {share:.2f} % of the bytes travel.")
    if moved[1] > EDIT * moved[0]:
        missed.append("push, last cell edited: too many bytes")
    for text in missed:
        print(f"\nGoal missed: {text}.")
    return 1 if missed else 0


def _shown(values: list[float]) -> str:
    if not values:
        return "-"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


if __name__ == "__main__":
    sys.exit(main())
