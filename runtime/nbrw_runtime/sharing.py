"""Which names share something mutable, from what their dumps met. Pure."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.codec import Dump

#: Types whose values cannot change, so that sharing one means nothing.
ATOMS = (int, float, complex, bool, str, bytes, type(None), types.EllipsisType)
_NEVER = frozenset({*ATOMS, tuple, frozenset, range, slice, types.CodeType})
# Immutable, or one for all.
_IMMUTABLE_MODULES = ("datetime", "decimal", "fractions", "pathlib", "uuid", "re", "zoneinfo")


def groups(dumps: Mapping[str, Dump | None]) -> list[tuple[str, ...]]:
    """The names in groups that share mutable objects or memory, each group sorted.

    None stands for a value that shares nothing.
    """
    leader = {name: name for name in dumps}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    owner: dict[int, str] = {}
    for name, found in dumps.items():
        if found is None:
            continue
        for key, obj in found.memo.items():
            if type(obj) not in _NEVER and is_mutable(obj):
                other = owner.setdefault(key, name)
                if other != name:
                    leader[find(name)] = find(other)
        for key in found.roots:
            other = owner.setdefault(key, name)
            if other != name:
                leader[find(name)] = find(other)
    members: dict[str, list[str]] = {}
    for name in dumps:
        members.setdefault(find(name), []).append(name)
    return [tuple(sorted(names)) for names in members.values()]


def shared_roots(found: Dump) -> frozenset[int]:
    """Ids of the arrays whose memory more than one array of a dump uses."""
    return frozenset(key for key, (_, users) in found.roots.items() if len(users) > 1)


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
    if module in _IMMUTABLE_MODULES:
        return False
    if module.startswith(("numpy.dtypes", "pyarrow")) or kind.__name__.endswith("Dtype"):
        return False
    if module.startswith("pandas.core.indexes"):
        return False
    return not (module == "numpy" and kind.__name__ != "ndarray")


def _importable(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return module is not None and obj.__module__ != "__main__"
