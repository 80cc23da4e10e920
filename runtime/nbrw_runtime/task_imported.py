"""What code of the notebook's own modules draws from outside, by their sources: for those that a
task's function imports when it runs, which may not be loaded here.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator

from nbrw_runtime.effects import effects_of
from nbrw_runtime.module_state import CACHES, reads_files, words_in
from nbrw_runtime.names import reach
from nbrw_runtime.task_bytecode import CodeFacts, code_facts
from nbrw_runtime.task_outside import asked, drawn

_MISSING = object()
#: Name of a function, a class or a method -> what its code mentions, what it draws from outside.
Sources = dict[str, tuple[frozenset[str], tuple[str, ...]]]
_LOADING = "<module>"
#: A worker may have loaded the module, or filled its caches, before a file changed.
LOADED = "what a module read from files when it was loaded"
REMEMBERED = "what a cache remembers of files"


def sources_of(source: bytes) -> Sources:
    """Of a module's file. Raises SyntaxError or ValueError."""
    tree = ast.parse(source)
    code = compile(tree, "<module>", "exec", dont_inherit=True)
    imports = effects_of(source.decode()).imports
    found: Sources = {}
    for name, facts in _facts(code):
        phrases = [*drawn(facts.calls, lambda root: _named(root, imports), _MISSING)]
        phrases += asked(facts.attributes)
        mentions = frozenset({*facts.reads, *facts.attributes})
        before = found.get(name, (frozenset[str](), ()))
        found[name] = (before[0] | mentions, (*before[1], *phrases))
    mentioned = {name: mentions for name, (mentions, _) in found.items()}
    for name in _cached(tree):
        if reads_files(reach(mentioned.get(name, ()), mentioned)):
            found[name] = (found[name][0], (*found[name][1], f"{REMEMBERED} ({name})"))
    if reads_files(found[_LOADING][0]):
        found[_LOADING] = (found[_LOADING][0], (*found[_LOADING][1], LOADED))
    return found


def _cached(tree: ast.Module) -> Iterator[str]:
    """The functions whose results a decorator remembers."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            words = frozenset[str]().union(*map(words_in, node.decorator_list))
            if not words.isdisjoint(CACHES):
                yield node.name


def outside_of(names: Iterable[str], modules: Iterable[Sources]) -> Iterator[str]:
    """Phrases for what these names come to in modules, and for what loading the modules does."""
    every = list(modules)
    todo = [_LOADING, *names]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            for known in every:
                if name in known:
                    mentions, phrases = known[name]
                    yield from phrases
                    todo += mentions if name != _LOADING else ()


def _named(root: str, imports: object) -> object:
    path = imports.get(root) if isinstance(imports, dict) else None
    return types.ModuleType(path) if path else _MISSING


def _facts(code: types.CodeType) -> Iterator[tuple[str, CodeFacts]]:
    """Of functions at any depth, and of the code outside of them."""
    inside = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    alone = tuple(None if isinstance(c, types.CodeType) else c for c in code.co_consts)
    yield code.co_name, code_facts(code.replace(co_consts=alone))
    for part in inside:
        for name, facts in _facts(part):
            yield name, facts
            if name == part.co_name and part.co_name != code.co_name != _LOADING:
                yield code.co_name, facts  # whoever calls a class, or what is around a function
