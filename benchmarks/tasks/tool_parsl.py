"""Parsl's memoisation with checkpoints on disk, in two worker processes on this machine."""

from __future__ import annotations

from typing import Any

import parsl
from parsl.config import Config
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


class Tool:
    """Functions are apps; what earlier runs in this place left is loaded."""

    def __init__(self, place: Any, cached: bool) -> None:
        self._cached = cached
        self._apps: dict[Any, Any] = {}
        executor = HighThroughputExecutor(
            label="two",
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=2,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
            encrypted=False,
        )
        memoizer = BasicMemoizer(checkpoint_mode="task_exit" if cached else None, memoize=cached)
        parsl.load(
            Config(
                executors=[executor],
                run_dir=str(place / "parsl"),
                memoizer=memoizer,
                usage_tracking=0,
            )
        )

    def call(self, function: Any, *arguments: Any) -> Any:
        """A future, that may be an argument of other calls."""
        app = self._apps.get(function)
        if app is None:
            app = self._apps[function] = parsl.python_app(function, cache=self._cached)
        return app(*arguments)

    def map(self, calls: list[tuple[Any, Any]]) -> list[Any]:
        """The values of many calls with one argument."""
        return [future.result() for future in [self.call(*call) for call in calls]]

    def value(self, found: Any) -> Any:
        """Of what ``call`` gave."""
        return found.result()

    def close(self) -> None:
        """End its processes."""
        parsl.dfk().cleanup()
