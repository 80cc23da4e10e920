"""Which global names a cell's source may use. Pure, and always an over-approximation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
# Whoever mentions one of these may use any name there is.
_DYNAMIC_NAMES = {
    "__builtins__", "__import__", "__main__", "builtins", "compile", "dir", "eval", "exec",
    "get_ipython", "globals", "importlib", "inspect", "locals", "vars",
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """``used`` are identifiers that may be read or written; ``dynamic``: it may be any name."""

    used: frozenset[str]
    dynamic: bool = False


def names_of(source: str) -> Names:
    """The names that a cell with this source may use.

    Source that is not plain Python (magics, shell escapes) uses every identifier in its text, and
    any name if it has a cell magic or ``%run``.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        words = frozenset(_IDENTIFIER.findall(source))
        dynamic = "%%" in source or "%run" in source or "%load" in source
        return Names(words, dynamic or bool(words & _DYNAMIC_NAMES))
    used: set[str] = set()
    star = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            used.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            star = star or any(alias.name == "*" for alias in node.names)
            used.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            used.add(node.name)
    return Names(frozenset(used), star or bool(used & _DYNAMIC_NAMES))


def reach(used: Iterable[str], refers: Mapping[str, Iterable[str]]) -> set[str]:
    """These names, and those that the functions among them refer to, directly or not."""
    seen: set[str] = set()
    todo = list(used)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(refers.get(name, ()))
    return seen
