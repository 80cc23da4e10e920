"""Has workers know the module ``nbrw_task_worker``, where nbrw_runtime cannot be imported."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbrw_runtime.by_value import module_plugin

MODULE = "nbrw_task_worker"
PLUGIN_NAME = "nbrw-tasks"

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
    orders = (root, spool, tuple(software))
    client.register_plugin(module_plugin(PLUGIN_NAME, MODULE, text(), "configure", orders))
