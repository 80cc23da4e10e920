"""The tasks of the five workloads, and which of them a change reaches.

Written by hand, from the notebooks. Nothing here comes from nbrw, whose counts it judges.
A task is made from names of the notebook (functions that it may call, values that are among its
arguments) and from files; a change touches names or a file. It reaches the tasks that are made from
these, and all below them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """``label`` is what Dask shows; ``above`` are its inputs, by their place in the list of all."""

    label: str
    uses: frozenset[str]
    above: tuple[int, ...] = ()


def tasks_of(workload: str, data: Path) -> list[Task]:
    """All tasks of a workload with these inputs; what is above comes first."""
    return _GRAPHS[workload](data)


def reached(tasks: Sequence[Task], touched: Collection[str]) -> set[int]:
    """The places of the tasks that must run."""
    found: set[int] = set()
    for place, task in enumerate(tasks):
        if not task.uses.isdisjoint(touched) or not found.isdisjoint(task.above):
            found.add(place)
    return found


def labels(tasks: Sequence[Task], places: Iterable[int]) -> Counter[str]:
    """How many of them have each label."""
    return Counter(tasks[place].label for place in places)


def _task(label: str, *uses: str, above: Iterable[int] = ()) -> Task:
    return Task(label, frozenset((label, *uses)), tuple(above))


def _dv5(data: Path) -> list[Task]:
    samples = json.loads((data / "samples.json").read_text())
    particles = ("muons", "electrons", "taus")
    region = {"zjets": ("one_muon", *particles[:2]), "hbb": ("no_lepton", *particles)}
    jets = ("recombine", "leaves", "soft_drop", "distance", "energy_correlators", "upper_bound")
    tasks: list[Task] = []
    for name, sample in samples.items():
        first = len(tasks)
        for file in sample["files"]:
            tasks.append(_task("analysis", *region[name], *jets, "betas", f"data/{file}"))
        tasks.append(_task("concat", above=range(first, len(tasks))))
    return tasks


def _mapreduce(data: Path) -> list[Task]:
    paths = sorted(f"data/{path.name}" for path in data.glob("input_*"))
    uses = ("read_records", "bootstrap_error", "resamples", "seed")
    tasks = [_task("map_file_to_stats", *uses, path) for path in paths]
    for start in range(0, len(paths), 2):
        above = range(start, min(start + 2, len(paths)))
        tasks.append(_task("combine_stats_files", "merge", above=above))
    tasks.append(_task("final_reduce", "merge", above=range(len(paths), len(tasks))))
    return tasks


def _dconv(data: Path) -> list[Task]:
    # Tiles of the north-east have a kernel of their own, all others the one that is selected.
    kernels = [
        "QUARTERS" if row < 16 <= column else "SELECT_KERNEL"
        for row in range(32)
        for column in range(32)
    ]
    return [_task("apply_convolution", kernel, "data/earth.npy") for kernel in kernels]


def _rag(data: Path) -> list[Task]:
    uses = ("chunks_of", "split", "terms_of", "stem", "chunk_size", "overlap", "separators")
    paths = sorted(f"data/{path.name}" for path in data.glob("*.txt"))
    return [_task("clean_and_chunk_book", *uses, path) for path in paths]


def _ctrend(data: Path) -> list[Task]:
    names = json.loads((data / "csv_index.json").read_text())[:200]
    tasks = [_task("load_and_clean", f"data/stations/{name}") for name in names]
    # A station that never measured a temperature has no anomalies.
    usable = [place for place, name in enumerate(names) if _measured(data / "stations" / name)]
    uses = ("slope_of", "slope_interval", "BASELINE", "RESAMPLES")
    tasks += [_task("monthly_anomalies", *uses, above=(place,)) for place in usable]
    tasks.append(_task("annual_trends", above=range(len(names), len(tasks))))
    return tasks


def _measured(path: Path) -> bool:
    return any(line.split(",")[4] for line in path.read_text().splitlines()[1:])


_GRAPHS = {"dv5": _dv5, "mapreduce": _mapreduce, "dconv": _dconv, "rag": _rag, "ctrend": _ctrend}
