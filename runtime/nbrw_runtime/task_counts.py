"""What became of a cell's Dask tasks, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.task_explain import Explained
from nbrw_runtime.task_reasons import classes


@dataclass
class TaskCounts:
    """What became of a cell's tasks; ``misses`` are reasons why tasks ran, with their number."""

    loaded: int = 0
    run: int = 0
    needless: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    saved: float = 0.0  # seconds that the loaded tasks took
    same: int = 0  # of those loaded: their inputs ran, and came to what they were
    bytes: int = 0  # of the results that were known to be loaded before any task ran
    explained: Explained = field(default_factory=Explained)

    def spare(self, reason: str, seconds: float) -> None:
        """A task that was to run for this reason was loaded instead."""
        self.same += 1
        self.loaded += 1
        self.run -= 1
        self.misses[reason] -= 1
        self.saved += seconds

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "loaded": self.loaded,
            "run": self.run,
            "needless": self.needless,
            "same": self.same,
            "misses": classes({why: n for why, n in self.misses.items() if n > 0}),
            "saved": round(self.saved, 3),
            "bytes": self.bytes,
            **self.explained.as_json(),
        }
