"""What tells states apart that cannot be stored: what can be of their parts, and kinds of others.

Handlers of libraries (rich's, say) keep settings beside what belongs to one process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from nbrw_runtime.codec_refused import Unstorable

_DEPTH = 6
#: What objects note as they work, which decides of blanks at most (rich leaves out equal times).
_NOTES = {"rich._log_render.LogRender": frozenset({"_last_time"})}
_OF_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


def outline(value: Any, storable: Callable[[Any], bool], depth: int = _DEPTH) -> Any:
    """The value, or a list of what is in it, with the names of classes.

    What threads have of their own is left out, and what objects note as they work. Raises
    Unstorable if nobody can tell what is in some part of it.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind not in _NOTES and storable(value):
        return value
    if isinstance(value, threading.local):
        return kind
    if depth == 0 or type(value).__module__ == "__main__":
        raise Unstorable(f"nobody can tell one {kind} from another")

    def parts(values: Any) -> list[Any]:
        return [outline(part, storable, depth - 1) for part in values]

    if type(value) in (list, tuple):
        return [kind, *parts(value)]
    if type(value) is dict:
        return [kind, parts(value), parts(value.values())]
    bases = type(value).__mro__[:-1]
    if not all(base.__flags__ & _OF_PYTHON and "__slots__" not in vars(base) for base in bases):
        raise Unstorable(f"nobody can tell one {kind} from another")
    notes = _NOTES.get(kind, ())
    inside = {name: part for name, part in vars(value).items() if name not in notes}
    return [kind, outline(inside, storable, depth - 1)]
