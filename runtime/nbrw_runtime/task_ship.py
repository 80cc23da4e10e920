"""Has workers know the module ``nbrw_task_worker``, where nbrw_runtime cannot be imported."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbrw_runtime.by_value import joined, module_plugin, scheduler_plugin

MODULE = "nbrw_task_worker"
PLUGIN_NAME = "nbrw-tasks"

_ALONE = ("task_watch.py", "task_inputs.py", "task_worker.py")
#: What the module is made of where nothing waits to be fetched.
SOURCES = tuple(str(Path(__file__).with_name(name)) for name in _ALONE)
_PARTS = (
    *(Path(path).name for path in SOURCES),
    "process_identity.py", "distributions.py", "task_outbox.py",
)  # fmt: skip


@lru_cache(maxsize=1)
def text() -> str:
    """The text of the module."""
    return joined(_PARTS)


@lru_cache(maxsize=1)
def module() -> Any:
    """The module in this process, under the name that it has on workers."""
    found: Any = types.ModuleType(MODULE)
    exec(compile(text(), f"<{MODULE}>", "exec"), found.__dict__)
    found.here = True
    found.text = text()
    sys.modules[MODULE] = found
    return found


def ship(
    client: Any,
    root: str,
    spool: str,
    software: Sequence[str],
    kernel: list[Any] | None = None,
    name: str = PLUGIN_NAME,
) -> None:
    """Have all workers of a client's cluster know it, and those that are yet to come.

    The rest as for ``begin`` of `task_outbox.py`; ``name`` is the plugin's. Raises what Dask does.
    """
    module()
    orders = (root, spool, tuple(software), kernel)
    client.register_plugin(module_plugin(name, MODULE, text(), "begin", orders, "end"))


def ship_to_scheduler(client: Any, name: str) -> None:
    """Have the scheduler of a client know it, which is no process of ours. Raises what Dask raises.

    It looks into the graphs that it is given.
    """
    module()
    client.register_plugin(scheduler_plugin(name, MODULE, text()))
