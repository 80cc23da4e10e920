"""Functions with a cache of results (``functools.lru_cache``): stored with their results, in order.

A function that reads a file, or draws at random, gives what it has in its cache; and two callers
get one object. So a restored function with an empty cache would be another function.
"""

from __future__ import annotations

import functools
import gc
from typing import Any

from nbrw_runtime.codec_refused import Unstorable

_CALLS = 5_000_000  # counts are made by calling: more would take seconds
_OWN = frozenset({"cache_parameters", "__wrapped__"})


class _Replay:
    """What a restored function calls: gives stored results first, then calls the function."""

    def __init__(self) -> None:
        self.function: Any = None
        self.result: Any = None
        self.mode = "fail"

    def __call__(self, *args: Any, **more: Any) -> Any:
        if self.mode == "call":
            return self.function(*args, **more)
        if self.mode == "fail":
            raise LookupError
        return self.result


def reduce_cached(pickler: Any, function: Any) -> Any:
    """The function inside, and the calls with their results, the one that goes first first."""
    info = function.cache_info()
    calls = _calls(function)
    if calls is None or info.hits + info.misses > _CALLS:
        raise Unstorable("a function with a cache of results cannot be stored: it is too full")
    attributes = {key: value for key, value in vars(function).items() if key not in _OWN}
    typed = bool(function.cache_parameters()["typed"])
    state = (function.__wrapped__, calls, info.hits, info.misses, attributes)
    return make_cached, (info.maxsize, typed), state, None, None, set_cached


def _calls(function: Any) -> list[tuple[tuple[Any, ...], dict[str, Any], Any]] | None:
    found = gc.get_referents(function)
    size = function.cache_info().currsize
    if not size:
        return []
    caches = [f for f in found if type(f) is dict and f is not vars(function) and len(f) == size]
    if len(caches) != 1:
        return None
    cache = caches[0]
    marks = {id(obj) for obj in found if type(obj) is object}
    if function.cache_info().maxsize is None:
        pairs = list(cache.items())
    else:
        # A ring of links; each is visited as key, result, type.
        kind = type(next(iter(cache.values())))
        pairs = [
            (found[place - 2], found[place - 1])
            for place in range(2, len(found))
            if found[place] is kind
        ][:size]
        if [id(key) for key, _ in pairs if key in cache] != [id(key) for key, _ in pairs]:
            return None
        if {id(key) for key, _ in pairs} != {id(key) for key in cache}:
            return None
    typed = bool(function.cache_parameters()["typed"])
    return [(*_call(key, marks, typed), result) for key, result in pairs]


def _call(key: Any, marks: set[int], typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments from what the cache has made of them (``functools._make_key``)."""
    if type(key) is not tuple:
        return (key,), {}
    named: dict[str, Any] = {}
    args = key
    place = next((n for n, part in enumerate(key) if id(part) in marks), None)
    if place is not None:
        args, rest = key[:place], key[place + 1 :]
        count = len(rest) if not typed else (len(rest) - place) * 2 // 3
        named = {rest[n]: rest[n + 1] for n in range(0, count, 2)}
    elif typed:
        args = key[: len(key) // 2]
    return args, named


def make_cached(maxsize: int | None, typed: bool) -> Any:
    """A function with an empty cache, that has nothing to call yet."""
    replay = _Replay()
    made = functools.lru_cache(maxsize=maxsize, typed=typed)(replay)  # type: ignore[var-annotated]
    made.__wrapped__ = replay  # type: ignore[attr-defined]
    return made


def set_cached(made: Any, state: Any) -> None:
    """Call it as it was called, and give the results that it had given."""
    function, calls, hits, misses, attributes = state
    replay = made.__wrapped__
    for _ in range(misses - len(calls)):
        try:
            made()
        except LookupError:
            continue
    replay.mode = "replay"
    for args, named, replay.result in calls:
        made(*args, **named)
    if calls:
        args, named, _ = calls[-1]
        for _ in range(hits):
            made(*args, **named)
    replay.result, replay.function, replay.mode = None, function, "call"
    vars(made).update(attributes)
    made.__wrapped__ = function
