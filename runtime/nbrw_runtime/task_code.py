"""Code in a task's fingerprint: functions, methods and classes.

What is installed is ``module:name@distribution-version``. What a cell or a module of the notebook's
own defined is described itself: bytecode, defaults, closure, attributes, and whatever the global
names that it reads are bound to, recursively. The walker numbers what it has met, so that cycles
end. The functions here take it as their first parameter (`task_values.Walker`).
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import Any

from nbrw_runtime.module_state import reads_files
from nbrw_runtime.names import FRAME_READERS, words_of
from nbrw_runtime.task_bytecode import CHANGERS, CodeFacts, code_facts
from nbrw_runtime.task_imported import REMEMBERED
from nbrw_runtime.task_modules import PYTHON, module_name
from nbrw_runtime.task_outside import asked, drawn, kind_of_path, namespaces, path_of
from nbrw_runtime.task_refused import Refused

MISSING = object()
#: Of what is taken from outside: what only tasks in this process find.
HELD = "what a cache holds"
_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})
# Built-in functions whose caller may use any name there is.
_ANY_NAME = frozenset({"eval", "exec", "globals", "compile", "__import__", "get_ipython"})
_FRAMES = frozenset(
    {
        "__globals__", "_current_frames", "_getframe", "currentframe", "f_back", "f_globals",
        "f_locals", "get_ipython",
    }
)  # fmt: skip
_DISPATCHER = getattr(functools.singledispatch(id), "__code__", None)
_facts: dict[int, tuple[types.CodeType, CodeFacts]] = {}


def facts_of(code: types.CodeType) -> CodeFacts:
    """The facts of a code object, worked out once."""
    known = _facts.get(id(code))  # not by equality: equal code objects differ in their lines only
    if known is None:
        known = _facts[id(code)] = (code, code_facts(code))
    return known[1]


def add_function(walker: Any, function: types.FunctionType) -> None:
    """A function of Python's: by name if it is installed, else by what it does."""
    name = importable_name(function)
    if name and not walker.modules.is_own(function.__module__):
        add_installed(walker, function, function.__module__, name)
    elif not walker.again(function):
        with walker.within():
            if function.__code__ is _DISPATCHER:  # it keeps a cache of what it has dispatched
                walker.text("singledispatch", function.__name__)
                walker.walk(dict(vars(function)["registry"]))
                return
            if name:
                walker.text("own", walker.modules.content(function.__module__))
                walker.note("module", function.__module__, walker.modules.content)
            _add_described(walker, function)


def add_installed(walker: Any, value: Any, module: str, name: str) -> None:
    """A function or class that is found by its name in an installed module."""
    walker.text("installed", name, walker.modules.version(module))
    walker.note("library", module.partition(".")[0], walker.modules.version)
    path = path_of(value)
    walker.changes |= name.replace(":", ".").rpartition(".")[2] in CHANGERS
    kind = kind_of_path(path, False)
    if kind:
        walker.outside[f"{kind} ({path})"] = None
    if module.startswith("distributed.shuffle"):
        raise Refused("part of a P2P shuffle, whose tasks keep state on the workers")


def _add_described(walker: Any, function: types.FunctionType) -> None:
    facts = facts_of(function.__code__)
    walker.text("function", PYTHON, function.__name__)
    walker.out += facts.canonical
    walker.note_function(function)
    space = function.__globals__
    module = sys.modules.get(space.get("__name__", ""))
    library = (
        module is not None
        and vars(module) is space
        and space["__name__"] != "__main__"
        and space is not walker.namespace
        and not walker.modules.is_own(space["__name__"])
    )
    for name, value in _defaults(function):
        walker.text("default", name)
        walker.named("default", name, value)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        walker.text("cell", name)
        try:
            content = cell.cell_contents
        except ValueError:
            walker.text("empty")
            continue
        if not walker.again(cell):
            walker.named("variable", name, content)
    _add_attributes(walker, function)
    if library:
        walker.text("globals of", walker.modules.identity(space["__name__"]))
        walker.note("library", space["__name__"].partition(".")[0], walker.modules.version)
    else:
        walker.changes |= facts.changes
        own_module = walker.modules.is_own(space.get("__name__", ""))
        _add_globals(walker, facts, space, own_module)
        walker.texts += facts.strings
        lookup = namespaces(space, MISSING)
        walker.outside.update(dict.fromkeys(drawn(facts.calls, lookup, MISSING)))
        walker.outside.update(dict.fromkeys(asked(facts.attributes, facts.calls, facts.strings)))
        for name in facts.writes:
            walker.outside[f"a global name that it assigns ({name})"] = None
    for imported, names in facts.imports:
        walker.text("import", walker.modules.identity(imported))
        if walker.modules.is_own(imported):
            walker.changes = True  # whatever that module does
            for name in names:
                walker.text("import", walker.modules.content(f"{imported}.{name}"))
            if not library:
                mentioned = {*facts.attributes, *names}
                for inner in (imported, *(f"{imported}.{name}" for name in names)):
                    found = walker.modules.outside(inner, mentioned)
                    walker.outside.update(dict.fromkeys(found))
        elif not library and walker.modules.is_nowhere(imported):
            raise Refused(f"code that imports `{imported}`, which is not found here")
        if imported.partition(".")[0] in ("importlib", "runpy", "__main__") and not library:
            raise Refused(f"code that may load any module (`{imported}`)")


def _defaults(function: types.FunctionType) -> list[tuple[str, Any]]:
    # Not by `inspect.signature`, which believes what a function says of itself.
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    positional = zip(names[len(names) - len(values) :], values, strict=False)
    return [*positional, *(function.__kwdefaults__ or {}).items()]


def _add_attributes(walker: Any, function: types.FunctionType) -> None:
    walker.text("attributes")
    walker.walk({k: v for k, v in vars(function).items() if k != "__wrapped__"})
    wrapped = vars(function).get("__wrapped__")
    if wrapped is not None:
        walker.walk(wrapped)
    try:
        annotations = dict(function.__annotations__)
        walker.guarded(annotations)
    except Exception:  # names that are not there, where they are worked out late
        walker.text("annotations unknown")


def _add_globals(walker: Any, facts: CodeFacts, space: dict[str, Any], own: bool) -> None:
    lookup = namespaces(space, MISSING)
    names = dict(facts.reads)
    if not (_FRAMES.isdisjoint(facts.attributes) and _FRAMES.isdisjoint(names)):
        raise Refused("code that looks at its caller")
    if any(path.lstrip(":").startswith("sys.modules") for path, _ in facts.calls):
        raise Refused("code that may look at any module (`sys.modules`)")
    if not (FRAME_READERS.isdisjoint(facts.attributes) and FRAME_READERS.isdisjoint(names)):
        walker.reads_frame.update({name: None for name in space if not name.startswith("__")})
        for text in facts.strings:
            names.update(dict.fromkeys(sorted(words_of(text) & space.keys())))
    for name in names:
        value = lookup(name)
        walker.text("global", name)
        if value is MISSING:
            walker.text("absent")
            walker.note_text("global", name, "absent")
        elif name not in space:
            if name in _ANY_NAME:
                raise Refused(f"code that may use any name (`{name}`)")
            walker.text("built-in", getattr(value, "__name__", name))
        elif isinstance(value, types.ModuleType):
            walker.named("global", name, value)
            _add_patched(walker, value, facts.attributes, set())
        elif own:
            walker.guarded(value)  # a module's lock is no reason: workers import the module
        else:
            walker.named("global", name, value)


def _add_patched(
    walker: Any, module: types.ModuleType, attributes: set[str], seen: set[int]
) -> None:
    """Attributes of a module that a cell may have set, as far as code may look at them."""
    if id(module) in seen:
        return
    seen.add(id(module))
    inside = vars(module)
    own = walker.modules.is_own(module.__name__)
    for name in sorted(attributes & inside.keys()):
        value = inside[name]
        if isinstance(value, types.ModuleType):
            _add_patched(walker, value, attributes, seen)
        elif own or type(value) in _ATOMS or getattr(value, "__module__", "") == "__main__":
            walker.text("attribute", name)
            walker.guarded(value)


def add_module(walker: Any, module: types.ModuleType) -> None:
    """A module, as the value of a name."""
    name = module_name(module)
    if not name or name == "__main__":
        raise Refused(f"the module `{module.__name__}`, which no import finds")
    if name.partition(".")[0] in ("importlib", "runpy", "builtins"):
        raise Refused(f"code that may load any module (`{name}`)")
    walker.text("module", walker.modules.identity(name))
    if walker.modules.is_own(name):
        walker.note("module", name, walker.modules.content)
    else:
        walker.note("library", name.partition(".")[0], walker.modules.version)


def add_method(walker: Any, method: types.MethodType) -> None:
    """A method, with the object that it is bound to."""
    walker.text("method")
    walker.walk(method.__func__)
    walker.walk(method.__self__)


def add_builtin(walker: Any, function: Any) -> None:
    """A function in C, or a method of an object bound to one."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        name = importable_name(function)
        if not name:
            raise Refused(f"the function `{function.__name__}`, which no import finds")
        add_installed(walker, function, name.partition(":")[0], name)
        return
    path = path_of(function)
    if path and path.startswith(("random.", "numpy.random.")):  # where it stands is the process's
        walker.outside[f"{kind_of_path(path, False)} ({path})"] = None
        walker.text("drawing", path, walker.modules.identity(path.rpartition(".")[0]))
        return
    walker.text("built-in method", function.__name__)
    walker.walk(owner)


def add_descriptor(walker: Any, method: Any) -> None:
    """A method of a class in C, such as ``str.upper``."""
    walker.text("descriptor", method.__name__)
    walker.walk(method.__objclass__)


def add_cache(walker: Any, value: Any) -> None:
    """What ``lru_cache`` makes. Nobody sees what a value in the cache was made from."""
    name = importable_name(value)
    if name and not walker.modules.is_own(value.__module__):
        add_installed(walker, value, value.__module__, name)
        return
    if value.cache_info().currsize:
        walker.outside[f"{HELD} ({getattr(value, '__name__', '?')})"] = None
    if reads_files(_mentioned(value.__wrapped__)):
        walker.outside[f"{REMEMBERED} ({getattr(value, '__name__', '?')})"] = None
    walker.text("lru_cache")
    walker.walk(value.cache_parameters())
    walker.walk(value.__wrapped__)


def _mentioned(function: Any) -> set[str]:
    """What the code of a function mentions, and of those functions in the same module that it
    mentions.
    """
    found: set[str] = set()
    todo = [inspect.unwrap(function)]
    while todo:
        code = getattr(one := todo.pop(), "__code__", None)
        if isinstance(code, types.CodeType):
            facts = facts_of(code)
            new = {*facts.reads, *facts.attributes} - found
            found |= new
            todo += [v for v in map(one.__globals__.get, new) if isinstance(v, types.FunctionType)]
    return found


def add_partial(walker: Any, value: Any) -> None:
    """A partial function: function and arguments."""
    walker.text("partial")
    walker.walk(type(value))
    walker.walk(value.func)
    walker.walk(value.args)
    walker.walk(value.keywords)
    walker.walk(vars(value))


def found_in(module: Any, name: str, value: Any) -> bool:
    """Whether a loaded module has this very object under this name."""
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split("."):
        found = getattr(found, part, MISSING)
    return found is value or getattr(found, "__func__", MISSING) is value


def importable_name(value: Any) -> str:
    """``module:qualified.name`` if an import of the module finds this very object there."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None and isinstance(getattr(value, "__self__", None), types.ModuleType):
        module = value.__self__.__name__
    if module == "__main__" or not isinstance(name, str):
        return ""
    return f"{module}:{name}" if found_in(module, name, value) else ""


HANDLERS: dict[type, Any] = {
    types.FunctionType: add_function,
    types.ModuleType: add_module,
    types.MethodType: add_method,
    types.BuiltinFunctionType: add_builtin,
    types.MethodWrapperType: add_builtin,
    types.MethodDescriptorType: add_descriptor,
    types.WrapperDescriptorType: add_descriptor,
    types.ClassMethodDescriptorType: add_descriptor,
    functools._lru_cache_wrapper: add_cache,
    functools.partial: add_partial,
}
