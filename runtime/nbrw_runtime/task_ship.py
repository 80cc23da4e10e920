"""Has workers know the module ``nbrw_task_worker``, where nbrw_runtime cannot be imported."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

MODULE = "nbrw_task_worker"
PLUGIN_NAME = "nbrw-tasks"

_PLUGIN = """
from distributed.diagnostics.plugin import WorkerPlugin

class NbrwTasks(WorkerPlugin):
    name = "nbrw-tasks"

    def __init__(self, text, *orders):
        self.text, self.orders = text, orders

    def setup(self, worker):
        import sys, types
        module = sys.modules.get("nbrw_task_worker")
        if module is None:
            module = types.ModuleType("nbrw_task_worker")
            exec(compile(self.text, "<nbrw_task_worker>", "exec"), module.__dict__)
            sys.modules["nbrw_task_worker"] = module
        module.configure(*self.orders)
"""


#: The module's text.
SOURCE = Path(__file__).with_name("task_worker.py")


@lru_cache(maxsize=1)
def text() -> str:
    """The text of the module."""
    return SOURCE.read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def module() -> Any:
    """The module in this process, under the name that it has on workers."""
    found = types.ModuleType(MODULE)
    exec(compile(text(), f"<{MODULE}>", "exec"), found.__dict__)
    found.here = True  # type: ignore[attr-defined]
    sys.modules[MODULE] = found
    return found


def ship(client: Any, root: str, spool: str, software: Sequence[str]) -> None:
    """Have all workers of a client's cluster know it, and those that are yet to come.

    The rest as in ``configure`` of `task_worker.py`. Raises what Dask raises.
    """
    module()
    # As if defined in a notebook: what is in __main__ is pickled by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(_PLUGIN, "<nbrw>", "exec"), namespace)
    client.register_plugin(namespace["NbrwTasks"](text(), root, spool, tuple(software)))
