"""Functions of ours that workers and schedulers execute, where nbrw_runtime cannot be imported.

They are made from source in a namespace of their own, so that pickling ships them by value, with
what they use of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nbrw_runtime import task_ship
from nbrw_runtime.by_value import made


@lru_cache(maxsize=1)
def store_function() -> Callable[[Any, str], str | bytes]:
    """``(value, store root) -> digest``, to be submitted to a worker. If that does not see the
    store, it gives the value's pickle.
    """
    return made(task_ship.text(), "store_value")


@lru_cache(maxsize=1)
def load_function() -> Callable[[str, str], Any]:
    """``(path, digest) -> value``, to be submitted to a worker."""
    return made(task_ship.text(), "load_value")
