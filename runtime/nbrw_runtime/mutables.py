"""The objects inside others that two holders would notice they share."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from typing import Any

#: Types whose values cannot change, so that sharing one means nothing.
ATOMS = (int, float, complex, bool, str, bytes, type(None), types.EllipsisType)
_ATOMS = frozenset(ATOMS)
_NEVER = frozenset({*ATOMS, tuple, frozenset, range, slice, types.CodeType})
# Immutable, or one for all.
_IMMUTABLE_MODULES = ("datetime", "decimal", "fractions", "pathlib", "uuid", "re", "zoneinfo")
_CONTAINERS = frozenset({list, dict, tuple, set, bytearray})


def is_mutable(obj: Any) -> bool:
    """Whether two names that hold this very object would notice that they share it."""
    kind = type(obj)
    if kind in _NEVER:
        return False
    if isinstance(obj, (types.ModuleType, types.BuiltinFunctionType)):
        return False
    if isinstance(obj, (type, types.FunctionType)):
        return not _importable(obj)
    module = kind.__module__
    if not isinstance(module, str):
        return True
    if module in _IMMUTABLE_MODULES:
        return False
    if module.startswith(("numpy.dtypes", "pyarrow")) or kind.__name__.endswith("Dtype"):
        return False
    if module.startswith("pandas.core.indexes"):
        return False
    return not (module == "numpy" and kind.__name__ != "ndarray")


def is_leaf(obj: Any) -> bool:
    """Whether nothing mutable is inside an object that is no container of Python's own."""
    module = type(obj).__module__
    if module == "numpy":
        dtype = getattr(obj, "dtype", None)
        return dtype is not None and not dtype.hasobject
    if module == "numpy.dtypes":
        return not obj.hasobject
    return module in _IMMUTABLE_MODULES or (
        isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)) and _importable(obj)
    )


def inside_containers(values: Iterable[Any]) -> dict[int, Any]:
    """Mutable containers by id, in objects that have nothing inside but containers and leaves.

    A pickler's memo tells the same, but to copy it takes longer than the pickling.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    todo = [value for value in values if type(value) in _CONTAINERS]
    while todo:
        obj = todo.pop()
        kind = type(obj)
        if id(obj) in seen:
            continue
        seen.add(id(obj))
        if kind is not tuple:
            found[id(obj)] = obj
        if kind is set or kind is bytearray:
            continue  # what can be in a set is not mutable, or no container
        parts = obj.values() if kind is dict else obj
        if not set(map(type, parts)) <= _ATOMS:
            todo += [part for part in parts if type(part) in _CONTAINERS]
    return found


def _importable(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return module is not None and obj.__module__ != "__main__"
