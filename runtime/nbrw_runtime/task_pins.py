"""Whether a function of the notebook is what it was, told without looking at all of it again.

Whoever submits tasks one by one has the same function looked at for each, as a global that it uses
may have changed in between. Of functions that use nothing but plain values, modules and functions
of this kind all that a fingerprint depends on is in a few places: if each holds the very object
that it held, the fingerprint is what it was. Of all other functions nothing is remembered.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.names import FRAME_READERS
from nbrw_runtime.task_code import MISSING, facts_of, importable_name
from nbrw_runtime.task_modules import Modules, module_name

_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})


class Pins:
    """Places that a function's fingerprint depends on, and what was in them."""

    def __init__(self, modules: Modules, namespace: Mapping[str, Any] | None) -> None:
        self._modules = modules
        self._namespace = namespace
        self._places: list[tuple[Mapping[Any, Any], Any, Any]] = []
        self._functions: list[tuple[types.FunctionType, tuple[Any, ...]]] = []

    def hold(self) -> bool:
        """Whether all is as it was."""
        for function, state in self._functions:
            if function.__dict__ or function.__annotations__ or function.__kwdefaults__:
                return False
            if any(now is not then for now, then in zip(_state(function), state, strict=True)):
                return False
        return all(place.get(name, MISSING) is value for place, name, value in self._places)

    def add(self, start: types.FunctionType) -> bool:
        """Pin what a function depends on; False: it depends on more than can be pinned."""
        todo, met = [start], set()
        while todo:
            function = todo.pop()
            if function in met:
                continue
            met.add(function)
            if not self._is_simple(function):
                return False
            self._functions.append((function, _state(function)))
            if function.__module__ == "__main__" and function.__globals__ is self._namespace:
                below = self._of_globals(function)
                if below is None:
                    return False
                todo += below
            elif not self._pin_installed(function):
                return False
        return True

    def _is_simple(self, function: types.FunctionType) -> bool:
        defaults = function.__defaults__ or ()
        return (
            function.__closure__ is None
            and not (function.__dict__ or function.__annotations__ or function.__kwdefaults__)
            and _ATOMS.issuperset(map(type, defaults))
        )

    def _of_globals(self, function: types.FunctionType) -> list[types.FunctionType] | None:
        """Pin the global names that a function reads; the functions among them. None: no."""
        facts, space = facts_of(function.__code__), function.__globals__
        if facts.imports or not FRAME_READERS.isdisjoint((*facts.attributes, *facts.reads)):
            return None
        self._pin(space, "__name__")
        found = []
        for name in facts.reads:
            value = self._pin(space, name)
            if value is MISSING:
                builtins = self._pin(space, "__builtins__")
                inside = vars(builtins) if isinstance(builtins, types.ModuleType) else builtins
                if not isinstance(inside, dict):
                    return None
                self._pin(inside, name)
            elif type(value) is types.FunctionType:
                found.append(value)
            elif type(value) is types.ModuleType:
                if not self._pin_module(value, facts.attributes, set()):
                    return None
            elif type(value) not in _ATOMS:
                return None
        return found

    def _pin_module(self, module: types.ModuleType, attributes: set[str], met: set[int]) -> bool:
        """Pin an installed module, and its attributes of these names, as code may have set them."""
        if id(module) in met:
            return True
        met.add(id(module))
        name = module_name(module)
        if not name or name != module.__name__ or self._modules.is_own(name):
            return False
        inside = vars(module)
        self._pin(inside, "__name__")
        if self._pin(sys.modules, name) is not module:
            return False
        for attribute in attributes:
            value = self._pin(inside, attribute)
            if isinstance(value, types.ModuleType):
                if not self._pin_module(value, attributes, met):
                    return False
            elif getattr(value, "__module__", "") == "__main__":
                return False
        return True

    def _pin_installed(self, function: types.FunctionType) -> bool:
        """Pin a function of a library: where an import finds it."""
        module = function.__module__
        if not importable_name(function) or "." in function.__qualname__:
            return False
        return not self._modules.is_own(module) and self._pin_module(
            sys.modules[module], {function.__qualname__}, set()
        )

    def _pin(self, place: Mapping[Any, Any], name: str) -> Any:
        value = place.get(name, MISSING)
        self._places.append((place, name, value))
        return value


def _state(function: types.FunctionType) -> tuple[Any, ...]:
    return (
        function.__code__,
        function.__defaults__,
        function.__name__,
        function.__qualname__,
        function.__module__,
    )
