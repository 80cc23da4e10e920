"""Whether two JSON values are equal for a reader, and where they first differ. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nbrw_runtime.compare_text import instead, quoted, same_text
from nbrw_runtime.tolerance import Tolerance


def tree_difference(old: Any, new: Any, tolerance: Tolerance) -> str | None:
    """Where ``new`` first differs from the author's ``old``, as a phrase; None if nowhere.

    Numbers are equal within the tolerance if one of them is no whole number; texts as in
    :mod:`nbrw_runtime.compare_text`; the order of an object's members does not count.
    """
    found = _differences(old, new, tolerance, "")
    first = next(found, None)
    if first is None:
        return None
    more = sum(1 for _ in found)
    return f"{first}, and {more} more value{'s' * (more > 1)}" if more else first


def _differences(old: Any, new: Any, tolerance: Tolerance, place: str) -> Iterator[str]:
    where = f"at `{place}`: " if place else ""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inside = f"{place}.{key}" if place else str(key)
            if key not in new:
                yield f"`{inside}` is missing"
            elif key not in old:
                yield f"`{inside}` is new"
            else:
                yield from _differences(old[key], new[key], tolerance, inside)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{where}{len(new)} values instead of {len(old)}"
        for index, (a, b) in enumerate(zip(old, new, strict=False)):
            yield from _differences(a, b, tolerance, f"{place}[{index}]")
    elif isinstance(old, str) and isinstance(new, str):
        if not same_text(old, new, tolerance):
            yield where + instead(old, new)
    elif not _same_scalar(old, new, tolerance):
        yield f"{where}{_shown(new)} instead of {_shown(old)}"


def _same_scalar(old: Any, new: Any, tolerance: Tolerance) -> bool:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (old, new))
    if numbers and (isinstance(old, float) or isinstance(new, float)):
        try:
            return tolerance.close(float(old), float(new))
        except OverflowError:
            return False
    return type(old) is type(new) and old == new


def _shown(value: Any) -> str:
    return quoted(json.dumps(value, ensure_ascii=False))
