"""Modules that are neither Python's own nor installed: those that a notebook brings along."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

from nbrw_runtime.digest import digest_file, digest_json

_INSTALLED = ("site-packages", "dist-packages")


def leads_to_local_module(value: Any) -> bool:
    """Whether this is such a module, or something that was defined in one."""
    return is_local(module_of(value))


def module_of(value: Any) -> str:
    """The name of a module, or of the one where a function, a class, or a value's class is from."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
    name = getattr(kind, "__module__", None)
    return name if isinstance(name, str) else ""


class LocalModules:
    """The contents of such modules that are loaded, as they were when first seen."""

    def __init__(self) -> None:
        self._judged: set[str] = set()
        self._files: dict[str, str] = {}

    def now(self) -> dict[str, str]:
        """Names of loaded modules, each with a digest of its file and of those that it uses."""
        for name in sys.modules.keys() - self._judged:
            self._judged.add(name)
            if is_local(name):
                self._files[name] = _content(sys.modules[name])
        return {name: self._digest(name) for name in self._files if name in sys.modules}

    def _digest(self, name: str) -> str:
        used: set[str] = set()
        todo = [name]
        while todo:
            module = sys.modules.get(todo.pop())
            if module is None or module.__name__ in used:
                continue
            used.add(module.__name__)
            found = {module_of(value) for value in list(vars(module).values())}
            todo += [other for other in found - used if other in self._files]
        return digest_json([[other, self._files.get(other, "")] for other in sorted(used)]).hex


def _content(module: types.ModuleType) -> str:
    try:
        return str(digest_file(module.__file__ or "")[0])
    except OSError:
        return "unreadable"


def is_local(name: str) -> bool:
    """Whether a loaded module is a notebook's own. Packages are what their files are."""
    if name in ("", "__main__", "builtins") or name.partition(".")[0] == "nbrw_runtime":
        return False
    module = sys.modules.get(name)
    return module is not None and is_own_file(getattr(module, "__file__", None))


@functools.cache
def is_own_file(path: str | None) -> bool:
    """Whether a module's file is neither Python's nor installed."""
    if not path:
        return False
    path = os.path.abspath(path)
    if any(f"/{part}/" in path for part in _INSTALLED):
        return False
    return not path.startswith(_roots())


@functools.cache
def _roots() -> tuple[str, ...]:
    # Once: sysconfig works them out anew each time, and there are a thousand modules.
    roots = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(os.path.join(root, "") for root in roots if root)
