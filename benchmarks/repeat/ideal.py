"""How long a changed notebook would take if nothing ran that need not. Pure.

From a plain run of it, in which it was seen when which task ran:

    ideal = a kernel that starts and ends (a plain run of an empty notebook)
          + the cells that must run, as long as they took in the plain run
          - the time from the first task's start to the last one's end
          + the same for the tasks alone that must run, one after the other on as many workers

Cells that must run are those that the repeat runs, the one that imports, as modules are in no file,
and, if tasks run, the one that starts the cluster. What is restored and loaded is taken to be there
at no cost at all, and workers never to wait: so no repeat can be quite as fast.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oracle import Task

#: The cells that import, and those that start a cluster and no tasks.
IMPORTS = {"dv5": 1, "mapreduce": 2, "dconv": 1, "rag": 1, "ctrend": 2}
CLUSTER = {"dv5": 9, "dconv": 5, "rag": 5, "ctrend": 3}


@dataclass(frozen=True)
class Ran:
    """A task that a worker executed; ``texts`` are among its arguments. Times in seconds."""

    key: str
    label: str
    texts: tuple[str, ...]
    above: tuple[str, ...]
    start: float
    stop: float


def read_times(directory: Path) -> list[Ran]:
    """What `task_times.py` wrote."""
    lines = [line for p in directory.glob("*.jsonl") for line in p.read_text().splitlines()]
    values = map(json.loads, lines)
    return [Ran(**{**v, "texts": tuple(v["texts"]), "above": tuple(v["above"])}) for v in values]


def cell_seconds(notebook: Mapping[str, Any]) -> dict[int, float]:
    """How long the code cells of a notebook took that nbclient executed."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = {}
    for number, cell in enumerate(code, 1):
        times = cell["metadata"].get("execution", {})
        began, ended = (
            datetime.fromisoformat(times[name].replace("Z", "+00:00"))
            for name in ("iopub.status.busy", "shell.execute_reply")
        )
        found[number] = (ended - began).total_seconds()
    return found


def must_run(workload: str, ran: Iterable[int], tasks: bool) -> set[int]:
    """The cells that must run, of which the repeat ran some."""
    cells = {*ran, IMPORTS[workload]}
    if tasks and workload in CLUSTER:
        cells.add(CLUSTER[workload])
    return cells


def ideal_seconds(
    empty: float,
    cells: Mapping[int, float],
    must: Collection[int],
    tasks: Sequence[Task],
    reached: Collection[int],
    seen: Sequence[Ran],
    workers: int = 2,
) -> float:
    """The above. ``reached`` are the places of the tasks that must run."""
    total = empty + sum(cells[number] for number in must)
    if not reached:
        return total
    times = {place: ran.stop - ran.start for place, ran in matched(tasks, seen).items()}
    all_of_them = max(ran.stop for ran in seen) - min(ran.start for ran in seen)
    return total - all_of_them + span({p: tasks[p] for p in reached}, times, workers)


def span(tasks: Mapping[int, Task], seconds: Mapping[int, float], workers: int) -> float:
    """How long workers need for tasks, each of which is started as soon as it can be."""
    free = [0.0] * workers
    done: dict[int, float] = {}
    for place in sorted(tasks):
        ready = max((done[above] for above in tasks[place].above if above in done), default=0.0)
        worker = free.index(min(free))
        done[place] = free[worker] = max(free[worker], ready) + seconds[place]
    return max(done.values())


def matched(tasks: Sequence[Task], seen: Sequence[Ran]) -> dict[int, Ran]:
    """Which of the tasks that ran is which: by label, the file among its arguments, and its inputs.

    Where several fit they are alike. Raises ValueError if none does.
    """
    found: dict[int, Ran] = {}
    by_label: dict[str, list[Ran]] = {}
    for ran in sorted(seen, key=lambda ran: ran.start):
        by_label.setdefault(ran.label, []).append(ran)
    for place, task in enumerate(tasks):
        above = {found[number].key for number in task.above}
        fitting = [
            ran
            for ran in by_label.get(task.label, ())
            if above <= set(ran.above) and all(t in task.uses for t in ran.texts if "/" in t)
        ]
        if not fitting:
            raise ValueError(f"no task {task.label} with {sorted(task.uses)} was executed")
        found[place] = fitting[0]
        by_label[task.label].remove(fitting[0])
    return found
