"""The tasks of one graph: what is known of them, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.task_fingerprint import Fingerprint, Refusal
from nbrw_runtime.task_plan import TaskPlan
from nbrw_runtime.task_virtual import Load


@dataclass
class Rewritten:
    """What is left for Dask: a graph (None: nothing), and the keys wanted of it; the rest of the
    keys are known: ``virtual`` has how to load them. ``tasks`` are the keys of the graph.
    """

    expr: Any
    keys: list[Any]
    tasks: list[Any]
    virtual: dict[Any, Load]


@dataclass(frozen=True)
class Job:
    """A graph, what is known of its tasks, and what becomes of them."""

    graph: Mapping[Any, Any]
    found: Mapping[Any, Fingerprint | Refusal]
    plan: TaskPlan
    stateful: set[Any]
    inputs: Mapping[Any, Sequence[Any]]
    passive: set[Any]
    changed: Callable[[str, str | None], bool]  # `has_changed`, asked once for each file
    elsewhere: bool  # on workers of which nobody sees what they read: nothing is kept of them
    shared: Container[Any]  # those of the graph that more than one task uses, or the notebook

    def ordered(self, key: Any) -> list[Any]:
        """The inputs of a task, those first that its fingerprint numbers."""
        found, inputs = self.found[key], self.inputs[key]
        first = found.inputs if isinstance(found, Fingerprint) else ()
        return list(dict.fromkeys((*(other for other in first if other in inputs), *inputs)))

    def spoilable(self) -> set[Any]:
        """Inputs that a task which runs may change in place: they have to be what others get."""
        return {
            other
            for key in self.plan.run
            if getattr(self.found[key], "changes", False)
            for other in self.inputs[key]
        }

    def looked(self, key: Any, found: Fingerprint) -> tuple[Any, ...]:
        """Which inputs others may use, for a ticket: what `run` of `task_worker.py` looks at."""
        numbers = [
            number
            for number, other in enumerate(found.inputs)
            if other not in self.graph or other in self.shared
        ]
        return (numbers, found.changes) if numbers else ()


def is_coroutine(node: Any) -> bool:
    """Whether workers await a task. (Asked without need, Dask would load distributed.)"""
    return "distributed.utils" in sys.modules and node.is_coro
