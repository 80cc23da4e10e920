"""Packing the climate example: first, and again after an edit of the last cell.

    python benchmarks/pack/rebuild.py [--rounds N]

Every round begins with an empty cache. The ratio is the second build's packing time (`seconds` of
`nbrw-build --json`) over the first's, as medians. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KINDS = {"SIF": "climate.sif", "OCI directory": "climate", "OCI tar": "climate.tar"}
GOAL = 0.1


def build(place: Path, cache: Path, out: str) -> float:
    """Build; the seconds of packing."""
    command = [sys.executable, "-m", "nbrw_builder.cli", "build", "climate.ipynb", "-o", out]
    variables = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [*command, "--json"], cwd=place, env=variables,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"nbrw-build -o {out} failed")
    value: dict[str, Any] = json.loads(done.stdout)
    return float(value["seconds"]["pack"])


def edit(notebook: Path, number: int) -> None:
    """Add a line to the last code cell."""
    value = json.loads(notebook.read_text())
    last = [cell for cell in value["cells"] if cell["cell_type"] == "code"][-1]
    last["source"] = "".join(last["source"]) + f"\nprint({number})"
    notebook.write_text(json.dumps(value))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        place, cache = Path(directory, "work"), Path(directory, "cache")
        place.mkdir()
        shutil.copy(EXAMPLES / "climate.ipynb", place)
        maker = EXAMPLES / "make_climate_data.py"
        subprocess.run([sys.executable, maker, place / "data/climate"], check=True)
        for number in range(rounds):
            for kind, out in KINDS.items():
                shutil.rmtree(cache, ignore_errors=True)
                first = build(place, cache, out)
                edit(place / "climate.ipynb", number)
                times.setdefault(kind, []).append((first, build(place, cache, out)))
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {rounds} rounds\n")
    print("| image | first build s | after an edit of the last cell s | ratio | goal |")
    print("|---|---|---|---|---|")
    for kind, taken in times.items():
        first, again = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"| {kind} | {first:.2f} | {again:.2f} | {again / first:.3f} | <= {GOAL} |")


if __name__ == "__main__":
    main()
