"""joblib.Memory, in processes by joblib.Parallel."""

from __future__ import annotations

from typing import Any

import joblib


class Tool:
    """Functions are cached as its documentation says; ``cached`` False: not at all."""

    def __init__(self, place: Any, cached: bool) -> None:
        self._memory = joblib.Memory(place / "joblib", verbose=0) if cached else None

    def call(self, function: Any, *arguments: Any) -> Any:
        """The value, at once."""
        return self._wrapped(function)(*arguments)

    def map(self, calls: list[tuple[Any, Any]]) -> list[Any]:
        """The values of many calls with one argument, on two processes."""
        wrapped = {function: self._wrapped(function) for function, _ in calls}
        jobs = (joblib.delayed(wrapped[function])(argument) for function, argument in calls)
        return list(joblib.Parallel(n_jobs=2)(jobs))

    def value(self, found: Any) -> Any:
        """Of what ``call`` gave."""
        return found

    def close(self) -> None:
        """End."""

    def _wrapped(self, function: Any) -> Any:
        return self._memory.cache(function) if self._memory is not None else function
