"""State that others know how to keep: the entry points ``nbrw.state`` of installed distributions.

The value of an entry point is a callable without arguments. It returns a pair of functions
``(get, set)``, or an object with these two. See `docs/state.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from nbrw_runtime.codec_kinds import LIKE_NO_OTHER, Lost

GROUP = "nbrw.state"


def extensions(taken: Iterable[str]) -> tuple[dict[str, tuple[Callable, Callable]], list[str]]:
    """Name -> (reader, setter) of all that is installed, and what could not be used, as notes."""
    found: dict[str, tuple[Callable, Callable]] = {}
    notes = []
    used = set(taken)
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        what = f"state {point.name!r} of {point.value}"
        if point.name in used or not point.name or set(point.name) & set("<>"):
            notes.append(f"{what} is not kept: its name is taken, or is none")
            continue
        used.add(point.name)
        try:
            found[point.name] = _pair(point.load()())
        except Exception as error:
            notes.append(f"{what} is not kept: {type(error).__name__}: {error}")
    return found, notes


def _pair(made: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    get, set_ = made if isinstance(made, tuple) else (made.get, made.set)
    if not callable(get) or not callable(set_):
        raise TypeError("it must give two functions, get() and set(value)")

    def safe_get() -> Any:
        try:
            return get()
        except Exception as error:
            return Lost(f"it could not be read: {type(error).__name__}: {error}", LIKE_NO_OTHER)

    return safe_get, set_
