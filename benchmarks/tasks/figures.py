"""From what the runs measured to what is printed. No I/O.

``results[workload][variant]`` is a list of rounds. A round is what `kernels.run` found; its last
cell is the one with the tasks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workloads import Workload, by_size

Round = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Sequence[Round]]]
#: Plain Dask, an audit, an unchanged repeat, a repeat with one function edited.
VARIANTS = ("plain", "cold", "warm", "edited")
LIMIT_US, LIMIT_SLOPE, LIMIT_COLD, LIMIT_WARM = 150.0, 1.1, 1.1, 20.0


@dataclass(frozen=True)
class Goal:
    """A figure and the limit of it; ``least``: it must not be less, else not more."""

    text: str
    figure: float | None
    limit: float
    least: bool = False

    @property
    def met(self) -> str:
        """Whether it is, as a word."""
        if self.figure is None:
            return "not measured"
        good = self.figure >= self.limit if self.least else self.figure <= self.limit
        return "yes" if good else "no"


def work(found: Round) -> float:
    """Seconds of the cell with the tasks, and of what nbrw does after it."""
    return float(found["seconds"][-1])


def whole(found: Round) -> float:
    """Seconds of all cells, so with the start of the cluster."""
    return float(sum(found["seconds"]))


def per_task(found: Round, part: str = "rewriting") -> float:
    """Microseconds for a task, the median of all tasks; a graph's tasks share its cost.

    ``part``: ``rewriting`` is fingerprints, look-up, plan and new graph; ``fingerprints`` are these
    alone, ``cpu`` is the rewriting's CPU time (the notebook's thread may wait for Dask's).
    """
    graphs = [graph for graph in found["probe"]["graphs"] if graph["tasks"]]
    costs = sorted((graph[part] / graph["tasks"], graph["tasks"]) for graph in graphs)
    left = sum(count for _, count in costs) / 2
    for cost, count in costs:
        left -= count
        if left <= 0:
            return 1e6 * float(cost)
    return 0.0


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float | None:
    """Over the rounds; None if there are none."""
    return statistics.median(map(value, rounds)) if rounds else None


def spread(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """The largest less the smallest."""
    values = list(map(value, rounds))
    return max(values) - min(values)


def ratio(one: float | None, other: float | None) -> float | None:
    """How many times the other, if both are known."""
    return one / other if one is not None and other else None


def slope(sizes: Sequence[int], totals: Sequence[float]) -> float | None:
    """The exponent with which a total grows: 1 is linear. From the smallest to the largest."""
    if len(sizes) < 2:
        return None
    return math.log(totals[-1] / totals[0]) / math.log(sizes[-1] / sizes[0])


def growth(results: Results, names: Mapping[int, str], variant: str) -> float | None:
    """The slope of one shape's cost; ``names``: of its workloads, by their number of tasks."""
    found: dict[int, float] = {}
    for size, name in sorted(names.items()):
        cost = median(results.get(name, {}).get(variant, ()), per_task)
        if cost is not None:
            found[size] = cost * size
    return slope(list(found), list(found.values()))


def times_plain(results: Results, name: str, variant: str) -> float | None:
    """The cell's seconds in a variant, of those plain."""
    variants = results.get(name, {})
    return ratio(median(variants.get(variant, ()), work), median(variants.get("plain", ()), work))


def goals(results: Results, costs: Sequence[Workload], times: Sequence[Workload]) -> list[Goal]:
    """The goals of the project, with the worst of what was measured for each."""
    repeats = VARIANTS[1:]
    micros = [
        cost
        for workload in costs
        for variant in repeats
        if (cost := median(results.get(workload.name, {}).get(variant, ()), per_task)) is not None
    ]
    slopes = [
        found
        for names in by_size(costs).values()
        for variant in repeats
        if (found := growth(results, names, variant)) is not None
    ]
    found = [
        Goal("µs a task for fingerprint and look-up, the worst", largest(micros), LIMIT_US),
        Goal("exponent of its growth, the worst", largest(slopes), LIMIT_SLOPE),
    ]
    for workload in times:
        if workload.leaf:
            what = f"{workload.tasks:,} tasks of {1e3 * workload.leaf:g} ms ({workload.work})"
            cold = times_plain(results, workload.name, "cold")
            warm = times_plain(results, workload.name, "warm")
            found.append(Goal(f"{what}: cold / plain", cold, LIMIT_COLD))
            if workload.work == "sleep":
                gain = None if warm is None else 1 / warm
                found.append(Goal(f"{what}: plain / warm", gain, LIMIT_WARM, least=True))
    return found


def largest(values: Sequence[float]) -> float | None:
    """None if there are none."""
    return max(values, default=None)


@dataclass(frozen=True)
class Case:
    """What a tool did with an edit of the table of wrong results."""

    words: str
    stale: bool = False


def judged(
    before: Round, again: Round, after: Round, right: tuple[object, object], loaded: float
) -> Case:
    """``right``: the results before and after the edit; less than ``loaded`` s: no task ran."""
    failures = [run["failed"] for run in (before, again, after) if "failed" in run]
    if failures:
        return Case(f"fails: {failures[0]}")
    if before["out"] != right[0] or again["out"] != right[0]:
        return Case("wrong without an edit", True)
    if after["out"] != right[1]:
        return Case("stale", True)
    if again["seconds"] >= loaded:
        return Case("never loaded")
    if right[0] != right[1]:
        return Case("right")
    return Case("loaded" if after["seconds"] < loaded else "runs again")
