"""The canonical pickle: only hashed, never loaded. Equal content gives equal bytes where two plain
pickles differ although nobody could tell the objects apart:

- whether two equal texts are one object (a literal beside a restored text);
- the order of a set, which depends on the hash seed and on what was in it before;
- in which line a function was defined.
"""

from __future__ import annotations

import io
from typing import Any

from nbrw_runtime.codec import SaveContext, StatePickler

_LARGE = 4 << 20  # bytes beside arrays; of larger pickles the bytes tell: a second pass is slower
_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})
_WHOLE = frozenset({bool, int, str, bytes, type(None)})  # those whose equality is identity
_MANY = 10_000


class CanonicalPickler(StatePickler):
    """A StatePickler that names texts by content and puts sets in order."""

    canonical = True

    def __init__(
        self, stream: io.BytesIO, context: SaveContext, keep_views: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(stream, context, keep_views)
        self._same: dict[Any, Any] = {}
        self._sets: dict[int, tuple[int, Any]] = {}

    def persistent_id(self, obj: Any) -> Any:
        """What stands for an object: the one of all equal texts; a list, for a set."""
        kind = type(obj)
        if kind is str or kind is bytes:
            return self._same.setdefault((kind, obj), obj)
        if kind is tuple:
            types = tuple(map(type, obj))
            return self._same.setdefault((types, obj), obj) if _WHOLE.issuperset(types) else None
        if kind is set or kind is frozenset:
            known = self._sets.get(id(obj))
            if known is not None:
                return ["again", known[0]]
            self._sets[id(obj)] = (len(self._sets), obj)
            return [kind.__name__, self._in_order(obj)]
        return None

    def _in_order(self, values: Any) -> list[Any]:
        if all(type(value) in _ATOMS for value in values):
            return sorted(values, key=lambda value: (type(value).__name__, repr(value)))
        if len(values) > _MANY:
            return list(values)
        return sorted(values, key=self._alone)

    def _alone(self, value: Any) -> bytes:
        stream = io.BytesIO()
        CanonicalPickler(stream, self.context).dump(value)
        return stream.getvalue()


def canonical_pickle(
    objects: dict[str, Any],
    context: SaveContext,
    keep_views: frozenset[int],
    payload: bytes,
    in_band: int,
) -> bytes | None:
    """The canonical pickle of what was pickled to ``payload``, without its buffers.

    ``in_band`` bytes of the payload are the content of arrays.

    None if it would be too large, cannot be made, or if the objects have changed since (a thread
    of the notebook's works on them): then the payload itself is the identity.
    """
    if len(payload) - in_band > _LARGE:
        return None
    stream, again = io.BytesIO(), io.BytesIO()
    try:
        CanonicalPickler(stream, context, keep_views).dump(objects)
        StatePickler(again, context, keep_views).dump(objects)
    except Exception:
        return None
    return stream.getvalue() if again.getvalue() == payload else None
