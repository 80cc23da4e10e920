"""What a cell may do by modules of the notebook's own: change what they keep, ask for files. Pure.

A module's version refers to what may be done by it (`local_modules.py`), and who uses a module, or
something from it, refers to its version.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from nbrw_runtime.names import (
    FILE_QUESTIONS,
    LISTING_WORDS,
    PREFIX,
    Names,
    changed_by,
    definition,
    is_local_module,
    parsed,
    reach,
    words_of,
)
from nbrw_runtime.versions import Changes, Versions

_FUNCTIONS = frozenset({"function", "type"})


def changes_module(
    source: str,
    names: Names,
    then: Versions,
    changes: Changes,
    types: Mapping[str, str],
    imported: Mapping[str, str],
) -> str:
    """Why what a cell changes in a module cannot be restored, as a phrase; empty if it does not.

    ``then`` is what was before the cell, ``changes`` what it left; ``types`` and ``imported`` are
    of names after it.
    """
    refers = {**then.refers, **changes.refers}
    words, bare = _mentioned(source, bool(changes.omitted))
    used = reach([*refers] if names.dynamic and words else words, refers)
    marked = {changed_by(name) for name in used} - {""}
    if not marked:
        return ""
    words |= used
    words |= {imported[word].rpartition(".")[2] for word in words & imported.keys()}
    for word in sorted(marked & words):
        return f"it may use `{word}`, by which a module of the notebook's own changes what it keeps"
    for name in sorted(used):
        if name.startswith(PREFIX) or name not in refers:
            continue
        told = name in imported or (
            types.get(name) in _FUNCTIONS and definition(name) in refers[name]
        )
        if types.get(name) == "module":
            told = name not in bare
        if not told and any(map(is_local_module, refers[name])):
            inside = {changed_by(found) for found in reach([name], refers)} - {""}
            for word in sorted(inside):
                return f"it uses `{name}`, by which `{word}` may change what a module keeps"
    return ""


def loads_words(names: Names, then: Versions, changes: Changes) -> bool:
    """Whether modules that a cell itself loaded ask for files or list them: its inputs, which are
    from before it, do not tell.
    """
    left = changes.refers
    if names.dynamic or not any(map(is_local_module, left)):
        return False
    used = reach(names.used, {**then.refers, **left})
    return not (used - then.used(names)).isdisjoint(FILE_QUESTIONS | LISTING_WORDS)


def note_kept(
    source: str, names: Names, now: Versions, changes: Changes, imported: Mapping[str, str]
) -> None:
    """Note what a module may keep of a cell that changes it. ``now`` is what is after the cell."""
    if not changes_module(source, names, now, changes, now.types, imported):
        return
    tree = parsed(source)
    code = tree is None or any(isinstance(node, ast.Lambda) for node in ast.walk(tree))
    now.keep((name for name in names.used if not name.startswith(PREFIX)), code)


def _mentioned(source: str, bodies: bool) -> tuple[set[str], set[str]]:
    """The names and attributes that code uses (none: it only imports), and the names that it uses
    otherwise than for an attribute. ``bodies``: also those of functions that it defines.
    """
    tree = parsed(source)
    if tree is None:
        words = words_of(source)
        return set(words), words
    words = set()
    bare = set()
    roots = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not bodies:
            # What they do counts where they are called.
            todo += [*node.decorator_list, node.args]
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Attribute):
            words.add(node.attr)
            roots.add(id(node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words |= words_of(node.value)  # `getattr`, `eval`
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            words.add(node.id)
            if id(node) not in roots:
                bare.add(node.id)
    return words, bare
