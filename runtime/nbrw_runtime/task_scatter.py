"""Data that the notebook scatters: an input by its content, as if it stood in the task itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache


def patch(client: type, cache_of: Callable[[], TaskCache | None]) -> None:
    """Have clients of this class tell a cache what they scatter; once is enough."""
    original: Any = getattr(client, "scatter", None)
    if original is None or hasattr(original, "_nbrw"):
        return

    @functools.wraps(original)
    def scatter(self: Any, data: Any, *args: Any, **options: Any) -> Any:
        if hasattr(data, "__next__"):
            return original(self, data, *args, **options)  # to look is to consume
        futures = original(self, data, *args, **options)
        cache = cache_of()
        if cache is not None and not inspect.iscoroutine(futures):
            values: dict[Any, Any] = {}
            try:
                values = {future.key: value for future, value in _pairs(futures, data)}
                cache.scattered(values)
            except Exception as error:
                cache.forget(values)
                cache.note(f"scattered data are not known: {type(error).__name__}: {error}")
        return futures

    scatter._nbrw = True  # type: ignore[attr-defined]
    setattr(client, "scatter", scatter)  # noqa: B010


def _pairs(futures: Any, data: Any) -> list[tuple[Any, Any]]:
    if isinstance(futures, Mapping):
        return [(future, data[name]) for name, future in futures.items()]
    if isinstance(futures, (list, tuple, set, frozenset)):
        # Dask keeps the order, but for sets, whose order nobody knows.
        values = list(data)
        if isinstance(futures, (list, tuple)) and len(values) == len(futures):
            return list(zip(futures, values, strict=True))
        return []
    return [(futures, data)]
