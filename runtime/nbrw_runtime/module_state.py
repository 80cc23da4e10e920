"""Which names of a module may change what the module keeps: its variables, its classes, what a
decorator remembers. Pure, of its source; in doubt they may.

Names are bare ones of functions, classes, methods and variables, and who mentions one that may
change something may as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nbrw_runtime.effect_rules import MUTATORS, assignment_matters, call_matters
from nbrw_runtime.effects import effects_of
from nbrw_runtime.names import reach

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_TARGETED = (
    ast.AnnAssign, ast.AsyncFor, ast.AugAssign, ast.For, ast.NamedExpr, ast.comprehension
)  # fmt: skip
#: Decorators by which a function remembers what it gave.
CACHES = frozenset({"cache", "cached", "lru_cache", "memoize"})
# Calls that make objects which move on whenever they are used.
_LIVING = re.compile(
    r"(iter|open|itertools\.\w+|(.*\.)?(Generator|Random|RandomState|default_rng|reader))\Z"
)
# What is remembered of a file may not be what is in it by now.
_READS = ("exists", "glob", "isfile", "listdir", "load", "open", "read", "urlopen")
_COPIES = frozenset({"copy", "deepcopy"})
_MAKERS = frozenset({"__init__", "__new__", "__post_init__"})


@dataclass(frozen=True)
class Definition:
    """A name's: whether its code changes something that stays, the names that it mentions, whether
    a decorator remembers its results, whether objects of it (a class) change by their methods, and
    what was called to make it (a variable).
    """

    name: str
    changes: bool
    mentions: frozenset[str]
    remembers: bool = False
    alive: bool = False
    made_by: frozenset[str] = frozenset()


def definitions(source: str) -> tuple[Definition, ...]:
    """What a module defines. Raises SyntaxError."""
    tree = ast.parse(source)
    return tuple(_Module(tree, dict(effects_of(source).imports)).defined(tree.body))


def changing(defined: Iterable[Definition]) -> set[str]:
    """Which of these names, of a module and of those it uses, may change what stays."""
    every = list(defined)
    alive = {one.name for one in every if one.alive}
    reading = _closure(every, {one.name for one in every if reads_files(one.mentions)})
    return _closure(
        every,
        {
            one.name
            for one in every
            if one.changes
            or not one.made_by.isdisjoint(alive)
            or (one.remembers and one.name in reading)
        },
    )


def _closure(defined: Iterable[Definition], start: set[str]) -> set[str]:
    users: dict[str, set[str]] = {}
    for one in defined:
        for name in one.mentions:
            users.setdefault(name, set()).add(one.name)
    return reach(start, users)


def reads_files(mentions: Iterable[str]) -> bool:
    """Whether code that mentions these names may read files."""
    return any(name.lower().startswith(_READS) for name in mentions)


class _Module:
    """One module's tree."""

    def __init__(self, tree: ast.Module, imports: dict[str, str]) -> None:
        self._imports = imports
        self._functions = {n.name for n in _statements(tree.body) if isinstance(n, _FUNCTIONS)}
        self._variables = {name for node in _statements(tree.body) for name in _bound(node)}

    def defined(self, body: Iterable[ast.stmt]) -> Iterator[Definition]:
        for node in _statements(body):
            if isinstance(node, _FUNCTIONS):
                yield self._function(node, frozenset())
            elif isinstance(node, ast.ClassDef):
                yield from self._class(node)
            elif names := _bound(node):
                calls = {_last(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
                living = self._is_living(getattr(node, "value", None)) or any(
                    self._changes(n, frozenset(), frozenset())
                    for n in ast.walk(node)
                    if isinstance(n, ast.Lambda)
                )
                for name in names:
                    yield Definition(name, living, words_in(node), made_by=frozenset(calls))

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, held: frozenset[str]
    ) -> Definition:
        remembers = any(_last(decorator) in CACHES for decorator in node.decorator_list)
        changes = self._changes(node, frozenset(), held)
        return Definition(node.name, changes, words_in(node) - {node.name}, remembers)

    def _is_living(self, value: ast.AST | None) -> bool:
        if not isinstance(value, ast.Call):
            return False
        parts = _parts(value.func)
        path = ".".join([*(self._imports.get(part, part) for part in parts[:1]), *parts[1:]])
        return bool(_LIVING.match(path))

    def _class(self, node: ast.ClassDef) -> Iterator[Definition]:
        # What all objects of a class have in common.
        held = frozenset(
            name
            for part in node.body
            for name in _bound(part)
            if isinstance(value := getattr(part, "value", None), ast.AST)
            and not isinstance(value, ast.Constant)
            and not (isinstance(value, ast.Call) and _last(value.func) in ("field", "Field"))
        )
        methods = [part for part in _statements(node.body) if isinstance(part, _FUNCTIONS)]
        held -= {
            part
            for method in methods
            if method.name in _MAKERS
            for place in _changed(method)
            if _root(place) == _first(method)
            for part in _parts(place)[1:2]
        }  # each object has its own
        inside = [self._function(method, held) for method in methods]
        for part in node.body:
            if isinstance(part, ast.ClassDef):
                inside += self._class(part)
        yield from inside
        alive = any(
            _first(part) in {_root(place) for place in _changed(part)}
            for part in methods
            if part.name not in _MAKERS
        )
        changes = any(one.changes for one in inside)
        yield Definition(node.name, changes, words_in(node) - {node.name}, alive=alive)

    def _changes(
        self, node: ast.AST, around: frozenset[str], held: frozenset[str], closure: bool = False
    ) -> bool:
        """Whether a function changes what lies outside of it. ``around``: variables of functions
        around it, which are outside if it is kept (``closure``); ``held``: those of its class.
        """
        inner = list(_own_nodes(node))
        outer = {name for n in inner if isinstance(n, ast.Global) for name in n.names}
        if outer or (closure and any(isinstance(n, ast.Nonlocal) for n in inner)):
            return True
        local = _parameters(node) | {name for n in inner for name in _bound(n)}
        local |= {n.name for n in inner if isinstance(n, (*_FUNCTIONS, ast.ClassDef))}
        local |= {
            (a.asname or a.name).partition(".")[0]
            for n in inner
            if isinstance(n, (ast.Import, ast.ImportFrom))
            for a in n.names
        }
        local -= _kept_defaults(node) | {"cls"}
        aliases = self._aliases(inner, local)
        inside = (local - aliases) | (frozenset() if closure else around)
        for place in _changed(node):
            root = _root(place)
            if root not in inside and self._matters(root, place):
                return True
            if root == _first(node) and not held.isdisjoint(_parts(place)[1:2]):
                return True
            if "__class__" in _parts(place) or root == "type":
                return True
        calls = [n for n in inner if isinstance(n, ast.Call)]
        # What a context sets it puts back.
        scoped = {id(n.context_expr) for n in inner if isinstance(n, ast.withitem)}
        if any(
            id(n) not in scoped and _root(n.func) not in inside and self._sets(n.func)
            for n in calls
        ):
            return True
        used = {id(n.func) for n in calls}
        escaping = {
            n.id for n in inner if isinstance(n, ast.Name) and id(n) not in used
            and isinstance(n.ctx, ast.Load)
        }  # fmt: skip
        for n in inner:
            if isinstance(n, _FUNCTIONS):
                kept = n.name in escaping or bool(n.decorator_list)
                if self._changes(n, around | frozenset(local), held, kept):
                    return True
            elif isinstance(n, ast.ClassDef) and any(one.changes for one in self._class(n)):
                return True
        return False

    def _aliases(self, inner: list[ast.AST], local: set[str]) -> set[str]:
        """Local names that may stand for what a variable of the module holds."""
        found: set[str] = set()
        for _ in range(2):  # of an alias
            for node in inner:
                value = getattr(node, "iter", None) or getattr(node, "value", None)
                names = _bound(node)
                if names and isinstance(value, ast.expr):
                    root = _root(value)
                    module = root in self._variables and root not in local
                    if (module or root in found) and _COPIES.isdisjoint(_parts(value)):
                        found |= names
        return found

    def _matters(self, root: str, place: ast.expr) -> bool:
        if _has_call(place):  # most calls make something new
            return root in self._variables or root in self._functions
        if root in self._imports:
            if isinstance(place, ast.Attribute) and isinstance(place.ctx, ast.Load):
                return self._sets(place)  # of a call
            path = ".".join([self._imports[root], *_parts(place)[1:]])
            return assignment_matters(path)
        return bool(root)

    def _sets(self, function: ast.expr) -> bool:
        """Whether a call of what was imported sets something there."""
        parts = _parts(function)
        if parts and parts[0] in self._imports:
            return call_matters(".".join([self._imports[parts[0]], *parts[1:]]), False)
        return False


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """These, and those in the blocks of them that are no scope of their own."""
    for node in body:
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, part, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _statements(handler.body)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a function but those of functions and classes that it defines."""
    body = getattr(node, "body", ())
    todo: list[ast.AST] = list(body) if isinstance(body, (list, tuple)) else [body]
    while todo:
        found = todo.pop()
        yield found
        if not isinstance(found, (*_FUNCTIONS, ast.ClassDef)):
            todo += ast.iter_child_nodes(found)


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """The places (attributes, items, what a method changes) that a function's own code changes."""
    for found in _own_nodes(node):
        if isinstance(found, (ast.Attribute, ast.Subscript)):
            if not isinstance(found.ctx, ast.Load):
                yield found
        elif isinstance(found, ast.AugAssign) and isinstance(found.target, ast.Name):
            yield found.target  # a list, by another name
        elif isinstance(found, ast.Call):
            name = getattr(found.func, "id", "")
            if isinstance(found.func, ast.Attribute) and found.func.attr in MUTATORS:
                yield found.func
            elif name in ("next", "setattr", "delattr") and found.args:
                yield found.args[0]


def _bound(node: ast.AST) -> set[str]:
    """The plain names that a statement binds."""
    targets: list[ast.AST] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, _TARGETED):
        targets = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        targets = [item.optional_vars for item in node.items if item.optional_vars]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    elif isinstance(node, ast.Lambda):
        return _parameters(node)
    return {
        found.id
        for target in targets
        for found in ast.walk(target)
        if isinstance(found, ast.Name) and not isinstance(found.ctx, ast.Load)
    }


def _parameters(node: ast.AST) -> set[str]:
    arguments = getattr(node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return set()
    return {found.arg for found in ast.walk(arguments) if isinstance(found, ast.arg)}


def _first(node: ast.AST) -> str:
    arguments = getattr(node, "args", None)
    names = [*arguments.posonlyargs, *arguments.args] if arguments else []
    return names[0].arg if names else ""


def _kept_defaults(node: ast.AST) -> set[str]:
    """Parameters whose default is one object for all calls."""
    arguments = getattr(node, "args", None)
    if arguments is None:
        return set()
    names = [*arguments.posonlyargs, *arguments.args]
    pairs = list(
        zip(names[len(names) - len(arguments.defaults) :], arguments.defaults, strict=True)
    )
    pairs += [p for p in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if p[1]]
    kept = (ast.Dict, ast.List, ast.Set, ast.Call)
    return {name.arg for name, value in pairs if isinstance(value, kept)}


def _parts(node: ast.AST) -> list[str]:
    """``[a, b, c]`` of ``a.b[...].c`` and of ``a.b().c``; empty if the root is not a name."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Name):
            return [node.id, *reversed(parts)]
        else:
            return []


def _has_call(node: ast.AST) -> bool:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return isinstance(node, ast.Call)


def _root(node: ast.AST) -> str:
    return next(iter(_parts(node)), "")


def _last(node: ast.AST) -> str:
    return next(reversed(_parts(node)), "")


def words_in(node: ast.AST) -> frozenset[str]:
    """The names and attributes that code mentions."""
    found = (getattr(n, "attr", None) or getattr(n, "id", None) for n in ast.walk(node))
    return frozenset(name for name in found if isinstance(name, str))
