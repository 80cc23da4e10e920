"""From what the runs measured to what is printed. No I/O.

``results[notebook][tool]`` is a list of rounds. A round is what `drive.py record` printed, with
what the restores printed under "restored": by name ("" for all), " cold" after it if it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Round = Mapping[str, Any]
Results = Mapping[str, Mapping[str, list[Round]]]


@dataclass(frozen=True)
class Goal:
    """A figure that must not be larger than its limit; None: it was not measured."""

    text: str
    limit: float
    figure: float | None

    @property
    def met(self) -> str:
        """Whether it is, as a word."""
        if self.figure is None:
            return "not measured"
        return "yes" if self.figure <= self.limit else "no"


def median(
    results: Results, notebook: str, tool: str, value: Callable[[Round], float]
) -> float | None:
    """The median over the rounds; None if the tool was not run, or failed."""
    rounds = results.get(notebook, {}).get(tool, [])
    if not rounds or any("failed" in found for found in rounds):
        return None
    return statistics.median(value(found) for found in rounds)


def total(found: Round) -> float:
    """Seconds of all counted cells' checkpoints, and of what is done at the end."""
    return float(sum(found["hooks"]) + found["finish"])


def per_cell(found: Round) -> float:
    """Seconds of a counted cell's checkpoint, the median."""
    return statistics.median(found["hooks"])


def stored(found: Round) -> float:
    """Bytes on disk in the end."""
    return float(found["bytes"])


def restoring(name: str, until: str = "used") -> Callable[[Round], float]:
    """Seconds until the name is back and has been read; ``sure``: and its bytes are checked."""
    return lambda found: float(found["restored"][name][until])


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How many times theirs, if both are known."""
    return ours / theirs if ours is not None and theirs else None


def wrong(found: Round, name: str = "") -> list[str]:
    """The names that a restore in a new process gave another value than they had, or none.

    A round that failed restores nothing right.
    """
    if "failed" in found:
        return [str(found["failed"])]
    restored = found["restored"][name]["checks"]
    return [key for key, value in found["checks"].items() if restored.get(key) != value]


def goals(results: Results) -> list[Goal]:
    """The goals of the project, with what was measured."""

    def of(notebook: str, tool: str, value: Callable[[Round], float]) -> float | None:
        return median(results, notebook, tool, value)

    def against(notebook: str, tool: str, value: Callable[[Round], float]) -> float | None:
        return ratio(of(notebook, "nbrw", value), of(notebook, tool, value))

    # Increments that lack changes are no measure.
    kinds = ("kishu-incremental", "kishu-tracker")
    whole = [kind for kind in kinds if not any(map(wrong, results.get("a", {}).get(kind, [])))]
    increments = [found for kind in whole if (found := against("a", kind, stored)) is not None]
    overhead = of("c", "nbrw", per_cell)
    return [
        Goal("(a) stored bytes / Kishu's full dumps", 0.25, against("a", "kishu-full", stored)),
        Goal("(a) stored bytes / Kishu's increments", 1, max(increments, default=None)),
        Goal("(a) checkpoint time / dill's", 1 / 3, against("a", "dill", total)),
        Goal(
            "(b) one variable / dill's load, warm", 0.05, against("b", "dill", restoring("array3"))
        ),
        Goal(
            "(b) one variable / dill's load, cold",
            0.05,
            against("b", "dill", restoring("array3 cold")),
        ),
        Goal("(c) ms a cell, median", 5, None if overhead is None else 1e3 * overhead),
    ]
