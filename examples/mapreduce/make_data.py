"""Synthetic measurements for `mapreduce.ipynb`: eight files of records.

    python make_data.py [DIRECTORY] [--small | --scale N]

(default: data; 60,000 records each, --small 500, --scale N times as many)

A record has an id, a group from A to D, and a value: normal, with means of 10, 20, 30, 40 and
standard deviations of 2, 4, 6, 8. Half of the files are CSV, half JSON lines; one value in a
thousand is missing. The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SEED = 42
FILES = 8
GROUPS = np.array(["A", "B", "C", "D"])
MEAN = np.array([10.0, 20.0, 30.0, 40.0])
STD = np.array([2.0, 4.0, 6.0, 8.0])


def records(file: int, count: int) -> list[tuple[str, str, str]]:
    """Id, group and value of each record of a file. More records begin with the same ones."""
    which, noise, gaps = (np.random.default_rng([SEED, file, part]) for part in range(3))
    group = which.integers(0, len(GROUPS), count)
    value = MEAN[group] + STD[group] * noise.standard_normal(count)
    texts = np.where(gaps.random(count) < 0.001, "", np.char.mod("%.4f", value))
    ids = (f"{file:03d}-{number:06d}" for number in range(count))
    return list(zip(ids, GROUPS[group].tolist(), texts.tolist(), strict=True))


def main(directory: Path, count: int) -> None:
    """Write the files."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in range(FILES):
        found = records(file, count)
        if file % 2 == 0:
            path = directory / f"input_{file:03d}.csv"
            lines = ["id,group,value", *(",".join(record) for record in found)]
        else:
            path = directory / f"input_{file:03d}.jsonl"
            lines = [
                f'{{"id": "{id}", "group": "{group}", "value": {value or "null"}}}'
                for id, group, value in found
            ]
        path.write_text("\n".join(lines) + "\n")
    print(f"{directory}: {FILES} files of {count:,} records")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--small", action="store_true", help="for tests: seconds, not minutes")
    parser.add_argument("--scale", type=int, default=1, metavar="N", help="N times as much")
    options = parser.parse_args()
    main(options.directory, 500 if options.small else 60_000 * options.scale)
