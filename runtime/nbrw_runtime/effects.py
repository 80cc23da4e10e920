"""Effects of a cell that neither names nor files show: magics, and changes to loaded modules. Pure.

Such a cell cannot be restored. It is run again whenever something after it must run. What a
function does counts where it may be called, not where it is defined.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nbrw_runtime.effect_rules import assignment_matters, call_matters, sets_up
from nbrw_runtime.ipython_lines import has_other_lines
from nbrw_runtime.names import python_of
from nbrw_runtime.versions import PRIVATE

_MAGIC = re.compile(r"^\s*(?:\w[\w, ]*=\s*)?%{1,2}(\w+)(.*)$", re.MULTILINE)
# These measure, show, or do what every kernel of ours does anyway.
_HARMLESS_MAGICS = frozenset(
    {
        "time", "timeit", "prun", "memit", "mprun", "who", "whos", "who_ls", "pwd", "ls", "pinfo",
        "pprint", "precision", "capture", "latex", "html", "markdown", "svg", "javascript", "bash",
        "sh", "writefile", "cd", "env", "set_env", "pip", "conda", "mamba", "history", "lsmagic",
        "quickref", "doctest_mode", "debug", "page", "pycat", "psearch",
    }
)  # fmt: skip
# Types of names that stand for what libraries made.
_LOADED = frozenset({"module", "type", "function", "builtin_function_or_method"})
# The shell, as a notebook asks for it, and its ways to run a magic.
_SHELL = "get_ipython()"
_RUNS_MAGICS = frozenset({"magic", "run_cell_magic", "run_line_magic"})
_DIRECTORY_MAKERS = frozenset({"makedirs", "mkdir"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DISPLAYS = (ast.Tuple, ast.List, ast.Set)
# Most nodes of a tree: they do nothing, and there is nothing in them.
_LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator)


@dataclass(frozen=True)
class Effect:
    """Something that code does to ``path``, as it is written: ``assign``, ``call``, or ``with``.

    (The last is a call whose effect ends with a block.) ``discarded``: nobody takes the result of
    the call; ``shown``: the notebook may show it; ``bare``: it has no argument. More kinds:
    ``pass`` hands it to the function ``to``; ``argument`` is what the function ``to`` assigns to
    below what it is given (``f:0`` by position, ``f:name``); ``directory`` makes that one, outside
    of the working directory; ``magic`` runs that one.
    """

    path: str
    kind: str
    discarded: bool = False
    shown: bool = False
    bare: bool = False
    to: str = ""


@dataclass(frozen=True)
class SourceEffects:
    """What a cell's code may do: at once, and in the functions (or classes) it defines.

    ``imports`` maps names to the modules, or what is in them, that they stand for; ``aliases`` maps
    names to what they were bound to, as it is written.
    """

    magic: str = ""
    own: tuple[Effect, ...] = ()
    functions: Mapping[str, tuple[Effect, ...]] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)


@functools.lru_cache(maxsize=4096)
def effects_of(source: str) -> SourceEffects:
    """What a cell with this source may do."""
    magic = ""
    for name, rest in _MAGIC.findall(source):
        if _magic_matters(name, rest):
            magic = magic or f"%{name} is not restored"
    tree = python_of(source)
    if tree is None:
        if not source.lstrip().startswith("%%") and has_other_lines(source):
            magic = magic or "what it does cannot be told from its code"
        return SourceEffects(magic)
    imports: dict[str, str] = {}
    modules: tuple[str, ...] = ()
    if "import" in source:
        for node in ast.walk(tree):
            imports.update(_imports(node))
        modules = tuple(_modules(tree))
    functions: dict[str, tuple[Effect, ...]] = {}
    last = tree.body[-1] if tree.body else None
    own = list(_effects(tree, functions, last if isinstance(last, ast.Expr) else None))
    return SourceEffects(magic, tuple(own), functions, imports, modules, dict(_aliases(tree)))


def _magic_matters(name: str, rest: str) -> bool:
    inline = name == "matplotlib" and rest.strip() in ("", "inline")
    return name not in _HARMLESS_MAGICS and not inline


def hidden_effect(
    source: str,
    types: Mapping[str, str],
    changed: frozenset[str],
    imported: Mapping[str, str] | None = None,
    called: Iterable[Effect] = (),
) -> str:
    """Why the effect of a cell cannot be restored, as a phrase; empty if it can.

    ``types`` are the types of names before and after the cell, ``changed`` the names whose content
    it changed, ``imported`` what names were imported as, by this cell or before it, and ``called``
    the effects of functions that it may call.
    """
    if PRIVATE in changed:
        return "it sets environment variables that look private"
    found = effects_of(source)
    if found.magic:
        return found.magic
    imports = {**(imported or {}), **found.imports}
    shells = {_SHELL}
    for name, meant in found.aliases.items():
        root, dot, rest = meant.partition(".")
        if meant == _SHELL:
            shells.add(name)
        elif root in imports and name != root:
            imports[name] = imports[root] + dot + rest
    shown = any(name[:1] == "_" and name[1:].isdigit() for name in changed)
    effects = [*found.own, *called]
    changing = {effect.to for effect in effects if effect.kind == "argument"}
    for effect in effects:
        if effect.kind in ("with", "argument"):
            continue
        if effect.kind == "directory":
            return f"it makes the directory {effect.path}, outside the working directory"
        if effect.kind == "magic":
            return f"%{effect.path} is not restored"
        root, dot, rest = effect.path.partition(".")
        loaded = types.get(root) in _LOADED and (root not in changed or types[root] == "module")
        if root in shells or types.get(root, "").endswith("InteractiveShell"):
            if effect.kind == "assign" or (effect.kind == "call" and sets_up(effect.path)):
                return f"it changes the shell ({effect.path})"
            continue
        if root in imports:
            path = imports[root] + dot + rest
        elif loaded:
            if effect.kind == "call" and types[root] != "module":
                continue  # what a function of the notebook does is known from its code
            path = effect.path
        elif effect.kind == "assign" and _is_class_of_library(effect.path, types):
            path = effect.path
        else:
            continue
        if effect.kind == "pass":
            if effect.to in changing:
                return f"`{effect.to.partition(':')[0]}` changes {effect.path}"
        elif effect.kind == "assign":
            if dot and assignment_matters(path):
                return f"it changes {effect.path.removesuffix('.*')}"
        elif call_matters(path, effect.discarded and not (effect.shown and shown)):
            return f"it calls {effect.path}, whose effect is not restored"
    return ""


def _is_class_of_library(path: str, types: Mapping[str, str]) -> bool:
    root, _, rest = path.partition(".")
    return rest.startswith("__class__.") and "." in types.get(root, "")  # else of the notebook


def imported_modules(source: str) -> list[str]:
    """Modules that a cell imports outside of functions, as far as it is plain Python.

    ``package:name`` is what it imports from another, and may be a module or not.
    """
    return list(effects_of(source).modules)


def _modules(tree: ast.AST) -> Iterator[str]:
    found: list[str] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop(0)
        if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            found += [f"{node.module}:{a.name}" for a in node.names if a.name != "*"]
        todo.extend(ast.iter_child_nodes(node))
    return iter(dict.fromkeys(found))


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.name
            yield (alias.asname, name) if alias.asname else (name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _effects(
    node: ast.AST,
    functions: dict[str, tuple[Effect, ...]] | None,
    last: ast.AST | None = None,
    scoped: frozenset[ast.AST] = frozenset(),
) -> Iterator[Effect]:
    """Effects of code as it is run; those of functions that it defines go into ``functions``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _LEAVES):
            continue
        if functions is not None and isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            for decorator in child.decorator_list:
                if isinstance(decorator, ast.Call):
                    yield from _called(decorator)
                elif path := _dotted(decorator):
                    yield Effect(path, "call")
                yield from _effects(decorator, None)
            methods: dict[str, tuple[Effect, ...]] = {}
            if isinstance(child, ast.ClassDef):
                yield from _effects(child, methods)
                inside = [effect for effects in methods.values() for effect in effects]
            else:
                inside = list(_effects(child, None))
                inside += _on_arguments(child, inside)
            functions[child.name] = (*functions.get(child.name, ()), *inside)
            continue
        within = scoped
        if isinstance(child, (ast.With, ast.AsyncWith)):
            # What a context sets it puts back.
            within = scoped | {item.context_expr for item in child.items}
        yield from (Effect(place, "assign") for place in _assigned(child))
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _called(child.value, True, child is last)
        elif isinstance(child, ast.Call):
            yield from _called(child, kind="with" if child in scoped else "call")
        yield from _effects(child, functions, last, within)


def _called(
    call: ast.Call, discarded: bool = False, shown: bool = False, kind: str = "call"
) -> Iterator[Effect]:
    path = _dotted(call.func)
    last = path.rpartition(".")[2]
    if path:
        yield Effect(path, kind, discarded, shown, not (call.args or call.keywords))
    if isinstance(call.func, ast.Name):
        places = [(str(index), value) for index, value in enumerate(call.args)]
        places += [(key.arg or "", key.value) for key in call.keywords]
        for place, value in places:
            if given := _dotted(value):
                yield Effect(given, "pass", to=f"{call.func.id}:{place}")
    if last in _RUNS_MAGICS:
        start = " ".join(str(getattr(text, "value", "?")) for text in call.args[:2])
        name = start.lstrip("%").partition(" ")[0]
        if _magic_matters(name, start.partition(" ")[2]):
            yield Effect(name, "magic")
    if last in _DIRECTORY_MAKERS:
        start = _start_of(call if call.args else call.func)
        if start.startswith(("/", "~", "..")):
            yield Effect(start, "directory")


def _start_of(node: ast.expr) -> str:
    """The text that a path begins with, as far as it is written there."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr) and node.values:
        return _start_of(node.values[0])
    if isinstance(node, ast.BinOp):
        return _start_of(node.left)
    if isinstance(node, ast.Attribute):
        return _start_of(node.value)
    if isinstance(node, ast.Call):
        return _start_of(node.args[0] if node.args else node.func)
    return ""


def _on_arguments(
    function: ast.FunctionDef | ast.AsyncFunctionDef, effects: Iterable[Effect]
) -> list[Effect]:
    given = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    places = {name: [str(index), name] for index, name in enumerate(given)}
    places.update({argument.arg: [argument.arg] for argument in function.args.kwonlyargs})
    return [
        Effect(effect.path, "argument", to=f"{function.name}:{place}")
        for effect in effects
        if effect.kind == "assign"
        for place in places.get(effect.path.partition(".")[0], ())
    ]


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that are bound to others, or to what is in others, by plain assignments and loops."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            values, targets = [node.value], node.targets
        elif isinstance(node, (ast.For, ast.AsyncFor)) and isinstance(node.iter, _DISPLAYS):
            values, targets = node.iter.elts, [node.target]
        else:
            continue
        for value in values:
            meant = _dotted(value)
            if meant and (isinstance(value, (ast.Name, ast.Attribute)) or meant == _SHELL):
                yield from ((t.id, meant) for t in targets if isinstance(t, ast.Name))


def _assigned(node: ast.AST) -> list[str]:
    """The dotted places that a statement assigns to or deletes, if they are not plain names."""
    targets: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setattr", "delattr"):
        place = _dotted(node.args[0]) if node.args else ""
        attribute = node.args[1] if len(node.args) > 1 else None
        name = str(attribute.value) if isinstance(attribute, ast.Constant) else "*"
        return [f"{place}.{name}"] if place else []
    flat: list[ast.expr] = []
    for target in targets:
        flat += target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    places = []
    for target in flat:
        if isinstance(target, ast.Attribute):
            places.append(_dotted(target))
        elif isinstance(target, ast.Subscript):
            places.append(_dotted(target.value) and f"{_dotted(target.value)}.*")
    return [place for place in places if place]


def _dotted(node: ast.expr) -> str:
    """``a.b``, ``a.b().c``; of ``a.b[...].c`` it is ``a.b.c``; empty if the root is not a name."""
    parts: list[str] = []
    current: ast.expr = node
    call = ""
    while True:
        if isinstance(current, ast.Attribute):
            parts.append(current.attr + call)
            call, current = "", current.value
        elif isinstance(current, ast.Subscript):
            current = current.value
        elif isinstance(current, ast.Call):
            call, current = "()", current.func
        elif isinstance(current, ast.Name):
            parts.append(current.id + call)
            return ".".join(reversed(parts))
        else:
            return ""
