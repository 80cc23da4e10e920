"""What a task's fingerprint is made of, by name, for a person who asks why a task ran again."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.task_code import importable_name
from nbrw_runtime.task_modules import PYTHON, Modules
from nbrw_runtime.task_program import argument_name, task_types
from nbrw_runtime.task_refused import Refused
from nbrw_runtime.task_values import Walker, described


def ingredients_of(node: Any, modules: Modules, namespace: Mapping[str, Any]) -> dict[str, str]:
    """Ingredients by name, such as ``global THRESHOLD``: small values as text, others by digest.

    Inputs are named by the place they stand in, not by their keys, which Dask draws anew.
    """
    found: dict[str, str] = {}
    _add(node, modules, namespace, found, task_types())
    found["python"] = PYTHON
    return found


def _add(node: Any, modules: Modules, namespace: Any, found: dict[str, str], kinds: Any) -> None:
    if type(node) is kinds.data:
        found["value"] = described(node.value, modules, namespace)
    if not isinstance(node, kinds.task):
        return
    if node.func is kinds.fused:
        inner = node.args[0]
        for part in _in_order(inner, node.args[1]):
            _add(part, modules, namespace, found, kinds)
        values = [value for value in node.args[3:] if not isinstance(value, kinds.reference)]
        plain = [getattr(value, "value", value) for value in values]
        for text in sorted(described(value, modules, namespace) for value in plain):
            _put(found, "argument", text)  # sorted: Dask orders them by the hashes of keys
        return
    _record(node.func, modules, namespace, found)
    places: list[tuple[Any, Any]] = [*enumerate(node.args), *node.kwargs.items()]
    for place, value in places:
        if isinstance(value, kinds.task):
            _add(value, modules, namespace, found, kinds)
        elif type(value) is kinds.alias or isinstance(value, kinds.reference):
            _put(found, argument_name(node, place).replace("`", ""), "an input")
        else:
            plain = value.value if type(value) is kinds.data else value
            if isinstance(plain, (types.FunctionType, type)):
                _record(plain, modules, namespace, found)
            else:
                text = described(plain, modules, namespace)
                _put(found, argument_name(node, place).replace("`", ""), text)


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


def _record(value: Any, modules: Modules, namespace: Any, found: dict[str, str]) -> None:
    name = importable_name(value)
    if name:
        _put(found, f"function {value.__qualname__}", name)
    try:
        Walker(modules, namespace, record=found).walk(value)
    except Refused as error:
        name = getattr(value, "__name__", type(value).__name__)
        found[f"function {name}"] = f"without fingerprint: {error.through} {error}"


def _put(found: dict[str, str], name: str, value: str) -> None:
    """Under this name, or the next number where a fused task has several of that name."""
    place, number = name, 1
    while place in found:
        number += 1
        place = f"{name} {number}"
    found[place] = value
