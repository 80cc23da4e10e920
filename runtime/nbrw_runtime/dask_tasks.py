"""Functions of ours that workers and schedulers execute, where nbrw_runtime cannot be imported.

They are made from source in a namespace of their own, so that pickling ships them by value, with
what they use of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nbrw_runtime import task_ship


def made(source: str, name: str) -> Callable[..., Any]:
    """A function of this source."""
    # As if defined in a notebook: what is in __main__ is pickled by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


@lru_cache(maxsize=1)
def store_function() -> Callable[[Any, str], str]:
    """``(value, store root) -> digest``, to be submitted to a worker."""
    return made(task_ship.text(), "store_value")


@lru_cache(maxsize=1)
def load_function() -> Callable[[str, str], Any]:
    """``(path, digest) -> value``, to be submitted to a worker."""
    return made(task_ship.text(), "load_value")
