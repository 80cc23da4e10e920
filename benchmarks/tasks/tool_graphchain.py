"""graphchain as the optimisation of Dask's delayed tasks, with Dask's scheduler of two threads.

(Its graphs can be sent neither to a cluster nor to processes: "cannot pickle '_thread.RLock'".)
It stores what takes longer to compute than it thinks that it takes to load.
"""

from __future__ import annotations

import functools
from typing import Any

import dask
import graphchain


class Tool:
    """``cached`` False: Dask alone."""

    def __init__(self, place: Any, cached: bool) -> None:
        dask.config.set(scheduler="threads", num_workers=2)
        if cached:
            (place / "graphchain").mkdir(exist_ok=True)
            optimize = functools.partial(graphchain.optimize, location=str(place / "graphchain"))
            dask.config.set(delayed_optimize=optimize)

    def call(self, function: Any, *arguments: Any) -> Any:
        """A delayed task."""
        return dask.delayed(function)(*arguments)

    def map(self, calls: list[tuple[Any, Any]]) -> list[Any]:
        """The values of many calls with one argument."""
        return list(dask.compute(*[self.call(*call) for call in calls]))

    def value(self, found: Any) -> Any:
        """Of what ``call`` gave."""
        return found.compute()

    def close(self) -> None:
        """End."""
