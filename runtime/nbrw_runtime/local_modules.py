"""Modules that are neither Python's own nor installed: those that a notebook brings along."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")


def leads_to_local_module(value: Any) -> bool:
    """Whether this is such a module, or something that was defined in one."""
    if isinstance(value, types.ModuleType):
        return is_local(value.__name__)
    kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
    return is_local(getattr(kind, "__module__", None) or "")


def is_local(name: str) -> bool:
    """Whether a loaded module is a notebook's own. Packages are what their files are."""
    if name in ("", "__main__", "builtins") or name.partition(".")[0] == "nbrw_runtime":
        return False
    module = sys.modules.get(name)
    return module is not None and _is_own_file(getattr(module, "__file__", None))


@functools.cache
def _is_own_file(path: str | None) -> bool:
    if not path:
        return False
    path = os.path.abspath(path)
    if any(f"/{part}/" in path for part in _INSTALLED):
        return False
    roots = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(root and path.startswith(os.path.join(root, "")) for root in roots)
