"""Effects of a cell that neither names nor files show: magics, and changes to loaded modules. Pure.

Such a cell cannot be restored. It is run again whenever something after it must run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

_MAGIC = re.compile(r"^\s*(?:\w[\w, ]*=\s*)?%{1,2}(\w+)(.*)$", re.MULTILINE)
# These measure, show, or do what every kernel of ours does anyway.
_HARMLESS_MAGICS = frozenset(
    {
        "time", "timeit", "prun", "memit", "mprun", "who", "whos", "pwd", "ls", "pinfo", "pprint",
        "precision", "capture", "latex", "html", "markdown", "svg", "javascript", "bash", "sh",
        "writefile", "cd", "env", "set_env", "pip", "conda", "mamba", "history", "lsmagic",
        "quickref", "doctest_mode", "debug", "page", "pycat", "psearch",
    }
)  # fmt: skip
# Types of names that stand for what libraries made.
_LOADED = frozenset({"module", "type", "function", "builtin_function_or_method"})
# State of libraries that is stored and restored (`state_providers.py`).
_COVERED = (
    "dask.config", "decimal", "locale", "logging", "matplotlib", "mpl", "np.random",
    "numpy.random", "os.environ", "pandas.options", "pd.options", "plt.rcParams", "random",
    "sys.path", "warnings.filters",
)  # fmt: skip


def hidden_effect(source: str, types: Mapping[str, str], changed: frozenset[str]) -> str:
    """Why the effect of a cell cannot be restored, as a phrase; empty if it can.

    ``types`` are the types of names before and after the cell, ``changed`` the names whose content
    it changed.
    """
    for name, rest in _MAGIC.findall(source):
        inline = name == "matplotlib" and rest.strip() in ("", "inline")
        if name not in _HARMLESS_MAGICS and not inline:
            return f"%{name} is not restored"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in ast.walk(tree):
        for place in _assigned(node):
            root = place.partition(".")[0]
            if any(place == c or place.startswith(c + ".") for c in _COVERED):
                continue
            if types.get(root) in _LOADED and root not in changed:
                return f"it changes {place}"
    return ""


def imported_modules(source: str) -> list[str]:
    """Modules that a cell imports outside of functions, as far as it is plain Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: list[str] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
        todo.extend(ast.iter_child_nodes(node))
    return list(dict.fromkeys(found))


def _assigned(node: ast.AST) -> list[str]:
    """The dotted places that a statement assigns to or deletes, if they are not plain names."""
    targets: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr"):
        return [place for place in [_dotted(node.args[0])] if place] if node.args else []
    flat: list[ast.expr] = []
    for target in targets:
        flat += target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    places = [_dotted(t) for t in flat if isinstance(t, (ast.Attribute, ast.Subscript))]
    return [place for place in places if place]


def _dotted(node: ast.expr) -> str:
    """``a.b`` of ``a.b`` and of ``a.b[...]``; empty if the root is not a name."""
    parts: list[str] = []
    current: ast.expr = node
    while True:
        if isinstance(current, ast.Attribute):
            parts.append(current.attr)
            current = current.value
        elif isinstance(current, ast.Subscript):
            parts.clear()
            current = current.value
        elif isinstance(current, ast.Name):
            parts.append(current.id)
            return ".".join(reversed(parts))
        else:
            return ""
