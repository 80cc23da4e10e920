"""Which names of a kernel's namespace are the notebook's own."""

from __future__ import annotations

import re
from typing import Any

_OUTPUT = re.compile(r"_\d+\Z")
_OWN = re.compile(r"(_{1,3}|_i{1,3}|_i\d+|_ih|_oh|_dh)\Z")
# Python binds these by itself, when and while cells run.
_PYTHONS = (
    "__annotate__", "__annotations__", "__builtins__", "__conditional_annotations__",
    "__warningregistry__",
)  # fmt: skip
_SHELL = ("In", "Out", "exit", "quit", "get_ipython", "open", "display")


class UserNames:
    """Tells the notebook's names from the shell's. Each name is judged once, when it appears.

    ``hidden`` are the names that the shell says are its own; they, and those with two underscores
    that are there at first, are the notebook's once it binds them to something else.
    """

    def __init__(self, namespace: dict[str, Any], hidden: frozenset[str]) -> None:
        self._namespace = namespace
        self._shell = {*hidden, *_SHELL}
        self._values: dict[str, Any] = {}
        self._user: set[str] = set()
        self._other: set[Any] = set()
        self.baseline()

    def baseline(self) -> None:
        """What is there now under the shell's names is the shell's."""
        here = self._namespace
        self._shell.update(n for n in here if isinstance(n, str) and n.startswith("__"))
        self._values = {name: here[name] for name in self._shell if name in here}

    def now(self) -> set[str]:
        """The names that are there."""
        present = self._namespace.keys()
        for name in present - self._user - self._other:
            (self._user if self._is_user(name) else self._other).add(name)
        found = self._user & present
        found.update(
            name
            for name, value in self._values.items()
            if self._namespace.get(name, value) is not value and not _OWN.match(name)
        )
        return found

    def _is_user(self, name: Any) -> bool:
        if not isinstance(name, str) or name in _PYTHONS:
            return False
        if _OUTPUT.match(name):
            return True
        return not _OWN.match(name) and name not in self._shell
