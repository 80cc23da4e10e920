"""What cells take from outside the notebook, the image and its data: the clock, chance, the
network, a person, the machine. Pure.

Such a cell is not repeatable by itself: run again, it may come to something else, and so may what
uses it. It is restored like any other; this is for the person who asks why outputs differ.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Mapping

from nbrw_runtime.called_code import CalledCode
from nbrw_runtime.effects import Effect, effects_of
from nbrw_runtime.names import names_of, parsed
from nbrw_runtime.outside_rules import (
    CHANCE,
    NETWORK,
    NUMPY,
    draws,
    generators,
    kind_of_call,
    kinds_of_magics,
    seeds,
    seeds_dask,
)
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.versions import Versions, changes_of

_BUILT_IN = frozenset({"input"})


def from_outside(recipe: Recipe) -> dict[int, tuple[str, ...]]:
    """For each cell that takes something from outside: phrases such as ``the clock (time.time)``.

    Told by the code of the cells and of the functions that they may call, by the states of random
    generators that nobody seeded, and by the connections that the audit saw.
    """
    then = Versions(recipe.dependencies.data)
    code = CalledCode()
    settled: set[str] = set()  # generators that were seeded, or drawn from: the rest follows
    found: dict[int, tuple[str, ...]] = {}
    for cell in recipe.cells:
        code.add(cell.source)
        names = names_of(_without_bodies(cell.source))
        effects = [*effects_of(cell.source).own, *code.called(names, then)]
        calls = [(_path(effect, code.imported), effect.bare) for effect in effects]
        brought = _of_calls(calls, set(then.names))
        for kind, words in kinds_of_magics(cell.source):
            brought.setdefault(kind, []).append(words)
        if cell.number in recipe.dependencies.online:
            brought.setdefault(NETWORK, [])
        checkpoint = recipe.checkpoint(cell.number)
        if checkpoint is not None:
            changes = changes_of(checkpoint, str(cell.number))
            for generator in generators():
                if any(seeds(path, generator) for path, _ in calls):
                    settled.add(generator)
                elif generator in changes.names and generator not in settled:
                    if generator == NUMPY and generator not in then.names and not draws(calls):
                        continue  # it was loaded
                    settled.add(generator)
                    module = generator.removeprefix("<nbrw:").removesuffix(">")
                    brought.setdefault(CHANCE, []).append(f"{module}, which nothing seeded")
            then.apply(cell.number, changes, str(cell.number), cell.number)
        if brought:
            found[cell.number] = tuple(
                f"{kind} ({', '.join(dict.fromkeys(words))})" if words else kind
                for kind, words in sorted(brought.items())
            )
    return found


class _Bodies(ast.NodeTransformer):
    """Takes the bodies of functions out: they are run where the function is called."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [ast.Pass()]
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.body = [ast.Pass()]
        return node


def _without_bodies(source: str) -> str:
    tree = parsed(source) if "def " in source else None
    if tree is None:
        return source
    return ast.unparse(_Bodies().visit(copy.deepcopy(tree)))


def _path(effect: Effect, imported: Mapping[str, str]) -> str:
    if effect.kind not in ("call", "with"):
        return ""
    root, dot, rest = effect.path.partition(".")
    return imported.get(root, root) + dot + rest


def _of_calls(calls: Iterable[tuple[str, bool]], names: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    dask_is_seeded = any(seeds_dask(path) for path, _ in calls)
    for path, bare in calls:
        if path in _BUILT_IN and path in names:
            continue  # the notebook's own
        kind = kind_of_call(path, bare)
        if kind and not (dask_is_seeded and path.startswith("dask.array.random.")):
            found.setdefault(kind, []).append(path)
    return found


def outside_lines(marks: Mapping[int, Iterable[str]]) -> list[str]:
    """A sentence for each cell that has such phrases."""
    return [
        f"cell {cell} is not repeatable by itself: it takes {', '.join(phrases)} from outside"
        for cell, phrases in sorted(marks.items())
        if phrases
    ]
