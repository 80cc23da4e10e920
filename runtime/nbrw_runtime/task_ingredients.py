"""What a task's fingerprint is made of, by name, for a person who asks why a task ran again.

To tell takes about as long as it took to make the fingerprint, but for large values, which are told
by their size and a sample: nobody waits for an explanation that was not asked for.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.task_code import importable_name
from nbrw_runtime.task_modules import PYTHON, Modules
from nbrw_runtime.task_program import argument_name, task_types
from nbrw_runtime.task_refused import Refused
from nbrw_runtime.task_values import Walker, described

_LARGE = 1 << 18  # bytes of a value of which a sample is looked at
_BUDGET = 2 << 20  # bytes that are looked at, of a task
_OBJECT = 1 << 10  # what an object counts that has no size
_SAMPLE = 1000  # items
_SIZED = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})
_ARRAYS = frozenset({"numpy", "pandas", "pyarrow", "xarray", "scipy", "torch", "cupy"})


def ingredients_of(
    node: Any, modules: Modules, namespace: Mapping[str, Any], graph: Mapping[Any, Any]
) -> dict[str, str]:
    """Ingredients by name, such as ``global THRESHOLD``: small values as text, others by digest.

    Inputs are named by the place they stand in, not by their keys, which Dask draws anew; those
    that are literals in ``graph`` are told as literals.
    """
    teller = _Teller(modules, namespace, graph)
    teller.add(node)
    teller.found["python"] = PYTHON
    return teller.found


class _Teller:
    """One task's ingredients."""

    def __init__(self, modules: Modules, namespace: Any, graph: Mapping[Any, Any]) -> None:
        self.found: dict[str, str] = {}
        self._walker = _Recorder(modules, namespace, [_BUDGET])
        self._graph = graph
        self._kinds = task_types()

    def add(self, node: Any) -> None:
        """Those of a node, and of what is fused into it."""
        kinds = self._kinds
        if type(node) is kinds.data:
            self._put("value", self._described(node.value))
        if not isinstance(node, kinds.task):
            return
        if node.func is kinds.fused:
            for part in _in_order(node.args[0], node.args[1]):
                self.add(part)
            values = [value for value in node.args[3:] if not isinstance(value, kinds.reference)]
            plain = [getattr(value, "value", value) for value in values]
            for text in sorted(map(self._described, plain)):
                self._put("argument", text)  # sorted: Dask orders them by the hashes of keys
            return
        if type(node) not in kinds.containers:  # Dask's own way to write a list
            self._record(node.func)
        places: list[tuple[Any, Any]] = [*enumerate(node.args), *node.kwargs.items()]
        for place, value in places:
            if isinstance(value, kinds.task):
                self.add(value)
            elif place == "id" and _module(node.func).startswith("distributed.shuffle"):
                continue  # drawn anew for each shuffle
            else:
                self._argument(argument_name(node, place).replace("`", ""), value)

    def _argument(self, name: str, value: Any) -> None:
        kinds = self._kinds
        while isinstance(value, (kinds.alias, kinds.reference)):
            key = value.target if isinstance(value, kinds.alias) else value.key
            value = self._graph.get(key)
            if not isinstance(value, (kinds.alias, kinds.data)):
                self._put(name, "an input")
                return
        plain = value.value if type(value) is kinds.data else value
        if isinstance(plain, (types.FunctionType, type)):
            self._record(plain)
        else:
            self._put(name, self._described(plain))

    def _record(self, value: Any) -> None:
        name = importable_name(value)
        if name:
            self._put(f"function {value.__qualname__}", name)
        try:
            self._walker.beside(self.found).walk(value)
        except Refused as error:
            name = getattr(value, "__name__", type(value).__name__)
            self.found[f"function {name}"] = f"without fingerprint: {error.through} {error}"

    def _described(self, value: Any) -> str:
        return described(value, self._walker.beside())

    def _put(self, name: str, value: str) -> None:
        """Under this name, or the next number where a fused task has several of that name."""
        place, number = name, 1
        while place in self.found:
            number += 1
            place = f"{name} {number}"
        self.found[place] = value


class _Recorder(Walker):
    """A walker that keeps ingredients, and takes a sample of what is large."""

    def __init__(
        self,
        modules: Modules,
        namespace: Any,
        left: list[int],
        record: dict[str, str] | None = None,
    ) -> None:
        super().__init__(modules, namespace, record=record)
        self._left = left  # bytes that it and those beside it may look at

    def walk(self, obj: Any) -> None:
        """Write an object, or a sample of it. Raises Refused."""
        size = _size(obj)
        self._left[0] -= min(size, _LARGE)
        if self._left[0] < 0:
            self.text("not looked at", type(obj).__name__)
        elif size > _LARGE:
            self.text("large", type(obj).__name__, str(getattr(obj, "shape", size)))
            sample = _sample(obj)
            if sample is not None:
                super().walk(sample)
        else:
            super().walk(obj)

    def note_text(self, kind: str, name: str, value: str) -> None:
        """Record an ingredient; beside others of that name, if it is another one."""
        if self.record is None:
            return
        place, number = f"{kind} {name}", 1
        while self.record.setdefault(place, value) != value:
            number += 1
            place = f"{kind} {name} {number}"

    def beside(self, record: dict[str, str] | None = None) -> _Recorder:
        """Another one, with a share in what may be looked at."""
        return _Recorder(self.modules, self.namespace, self._left, record)


def _module(function: Any) -> str:
    return str(getattr(function, "__module__", ""))


def _size(obj: Any) -> int:
    """Bytes of a value by itself, roughly; not of what it holds."""
    kind = type(obj)
    if kind in _SIZED:
        return _OBJECT + len(obj) * (1 if kind in (str, bytes, bytearray) else 8)
    if str(kind.__module__).partition(".")[0] in _ARRAYS:  # (of some metaclasses it is no text)
        for name in ("nbytes", "size"):
            found = getattr(obj, name, None)
            if type(found) is int:
                return found if name == "nbytes" else found * 8
    return _OBJECT


def _sample(obj: Any) -> Any:
    """A part of a large value that is soon looked at; None: of this kind there is none."""
    kind = type(obj)
    if kind in (str, bytes, bytearray, list, tuple):
        return obj[:: 1 + len(obj) // _SAMPLE]
    if hasattr(obj, "iloc"):
        return obj.iloc[:: 1 + len(obj) // _SAMPLE]
    if kind.__module__ == "numpy" and hasattr(obj, "flat") and not obj.dtype.hasobject:
        return obj.flat[:: 1 + obj.size // _SAMPLE]
    return None


def _in_order(inner: Mapping[Any, Any], last: Any) -> list[Any]:
    """The parts of a fused task, from its result on."""
    found: dict[Any, None] = {}
    todo = [last]
    while todo:
        key = todo.pop()
        if key in inner and key not in found:
            found[key] = None
            node = inner[key]
            if hasattr(node, "args"):
                todo += [arg.key for arg in node.args if hasattr(arg, "key") and arg.key in inner]
            todo += [key for key in node.dependencies if key in inner and key not in todo]
    return [inner[key] for key in found]
