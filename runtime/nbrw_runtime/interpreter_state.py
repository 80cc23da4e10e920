"""Limits and defaults of the interpreter and the standard library that a function call sets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def _ask(module: str, name: str) -> Callable[[], Any]:
    def ask() -> Any:
        function = getattr(sys.modules.get(module), name, None)
        return None if function is None else function()

    return ask


#: What is asked, and what sets it; modules that are not loaded have nothing to tell.
_LIMITS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "recursion": (_ask("sys", "getrecursionlimit"), "sys", "setrecursionlimit"),
    "digits": (_ask("sys", "get_int_max_str_digits"), "sys", "set_int_max_str_digits"),
    "switching": (_ask("sys", "getswitchinterval"), "sys", "setswitchinterval"),
    "csv field": (_ask("csv", "field_size_limit"), "csv", "field_size_limit"),
    "sockets": (_ask("socket", "getdefaulttimeout"), "socket", "setdefaulttimeout"),
}
_USUAL = {"csv field": 131072}


class Interpreter:
    """Reads and sets them, against how they were when the kernel started."""

    def __init__(self) -> None:
        self.start = {**{name: ask() for name, (ask, _, _) in _LIMITS.items()}}
        self.start["csv field"] = self.start["csv field"] or _USUAL["csv field"]

    def get(self) -> Any:
        """What differs, or None."""
        changed = {}
        for name, (ask, module, _) in _LIMITS.items():
            if module in sys.modules:
                now = ask()
                if now != self.start[name]:
                    changed[name] = now
        return changed or None

    def set(self, value: Any) -> None:
        """Make it so; what is not said is as it was at the start."""
        for name, (ask, module, setter) in _LIMITS.items():
            wanted = (value or {}).get(name, self.start[name])
            if module in sys.modules or wanted != self.start[name]:
                __import__(module)
                if ask() != wanted:
                    getattr(sys.modules[module], setter)(wanted)
