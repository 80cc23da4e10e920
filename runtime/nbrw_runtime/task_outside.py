"""Whether code draws from outside: the clock, chance, the network. Of its bytecode, so of calls
that it names; what the methods of objects do is not seen.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nbrw_runtime.names import FILE_QUESTIONS, LISTERS
from nbrw_runtime.outside_rules import CHANCE, CLOCK, MACHINE, generators, kind_of_call, seeds
from nbrw_runtime.task_bytecode import ASSIGNED

#: What a process keeps for the tasks that come after.
SETS = "a name of a module or class, or a setting, that it changes"
ENVIRONMENT = "the environment"
FILES = "whether files are there"
#: Those of which nobody sees what was asked.
_QUESTIONS = FILE_QUESTIONS - LISTERS | {
    "getatime", "getctime", "is_mount", "is_symlink", "islink", "ismount", "readlink", "realpath",
    "resolve",
}  # fmt: skip
_HOME = frozenset({"expanduser", "expandvars"})
# Below a directory that a wildcard names they ask whether a file is there.
_GLOBS = frozenset({"glob", "iglob", "rglob"})
_BELOW_WILDCARD = re.compile(r"[*?\]][^\n/]*/(?:[^\n]*/)?[^*?\[\n/]+(?:/|\Z)")
_ASKED = re.compile(r"(?:os|os\.path|posixpath|genericpath)\.(\w+)\Z")
_MORE = (
    (ENVIRONMENT, False, re.compile(r"pathlib\.(?:\w*Path)\.home\Z")),
    (FILES, False, re.compile(r"shutil\.which\Z")),
    (MACHINE, False, re.compile(r"os\.(?:getppid|statvfs)\Z|shutil\.disk_usage\Z")),
    (CLOCK, False, re.compile(r"os\.times\Z")),
    # Of these a word for this moment is an argument that says no more (`task_bytecode.py`).
    (
        CLOCK,
        True,
        re.compile(
            r"time\.strftime\Z|numpy\.datetime64\Z"
            r"|pandas\.(?:\w+\.)*(?:Timestamp|to_datetime|DatetimeIndex|Period|date_range)\Z"
        ),
    ),
)
_SETTINGS = re.compile(
    r"pandas\.(?:\w+\.)*(?:set_option|reset_option)\Z|locale\.setlocale\Z|decimal\.setcontext\Z"
    r"|numpy\.(?:seterr|seterrcall|set_printoptions)\Z"
)
_WORKER = re.compile(r"(?:dask\.)?distributed\.(?:worker\.)?get_worker\Z")
# Functions that draw from the generator of a whole module.
_GLOBAL_GENERATORS = re.compile(
    r"(?:random\.(?!Random\b|SystemRandom|seed|setstate|getstate)[a-z]\w*"
    r"|numpy\.random\.(?!default_rng|seed|set_state|get_state|mtrand|bit_generator)[a-z]\w*"
    r"|torch\.(?:rand|randn|randint|randperm|normal|bernoulli|multinomial)(?:_like)?)\Z"
)


def drawn(
    calls: Iterable[tuple[str, bool]], lookup: Callable[[str], Any], missing: object
) -> list[str]:
    """Phrases such as ``chance (numpy.random.rand)`` for the calls of a function's code."""
    paths = [(_resolved(path, lookup, missing), bare) for path, bare in calls]
    seeded = {name for path, bare in paths if not bare for name in _seeded_by(path)}
    found = []
    for path, bare in paths:
        kind = _kind(path, bare)
        generator = f"<nbrw:{path.rpartition('.')[0]}>"
        if kind and not (generator in seeded and _GLOBAL_GENERATORS.match(path)):
            found.append(f"{kind} ({path.removesuffix(ASSIGNED)})")
    return found


@functools.lru_cache(maxsize=4096)
def _seeded_by(path: str) -> tuple[str, ...]:
    return tuple(name for name in generators() if seeds(path, name))


@functools.lru_cache(maxsize=4096)
def _kind(path: str, bare: bool) -> str:
    if path.endswith(ASSIGNED):
        return SETS
    if _SETTINGS.match(path):
        return SETS
    if path.startswith(("os.environ", "os.getenv")):
        return ENVIRONMENT
    if _WORKER.match(path):
        return "the worker that it is on"
    asked = _ASKED.match(path)
    if asked is not None and asked[1] in _QUESTIONS:
        return FILES
    if asked is not None and asked[1] in _HOME:
        return ENVIRONMENT
    for kind, only_bare, pattern in _MORE:
        if (bare or not only_bare) and pattern.match(path):
            return kind
    return kind_of_path(path, bare)


def asked(
    attributes: Iterable[str], calls: Iterable[tuple[str, bool]] = (), strings: Iterable[str] = ()
) -> list[str]:
    """Phrases such as ``whether files are there (is_file)``, for the attributes that code names,
    and for wildcards among its texts if it looks for files by them.
    """
    names = set(attributes)
    found = [f"{FILES} ({name})" for name in sorted(_QUESTIONS & names)]
    found += [f"{ENVIRONMENT} ({name})" for name in sorted(_HOME & names)]
    names.update(path.rpartition(".")[2].lstrip(":") for path, _ in calls)
    if not _GLOBS.isdisjoint(names):
        found += [f"{FILES} ({text})" for text in strings if _BELOW_WILDCARD.search(text[:400])]
    return found


def kind_of_path(path: str, bare: bool) -> str:
    """What a call brings in, draws from the generators of modules among it; empty: nothing."""
    return kind_of_call(path, bare) or (CHANCE if _GLOBAL_GENERATORS.match(path) else "")


def path_of(value: Any) -> str:
    """The dotted name of a library's function, as in :mod:`nbrw_runtime.outside_rules`."""
    owner = getattr(value, "__self__", None)
    name = getattr(value, "__name__", "")
    if isinstance(owner, types.ModuleType):
        return f"{_public(owner.__name__)}.{value.__name__}"
    for public in ("random", "numpy.random"):
        # Methods of the one generator that is the module's own; those of others have its state.
        if owner is not None and getattr(sys.modules.get(public), str(name), None) == value:
            return f"{public}.{value.__name__}"
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", name)
    return f"{_public(module)}.{name}" if isinstance(module, str) and isinstance(name, str) else ""


def _public(module: str) -> str:
    # Where a library keeps a function is not how it is called.
    if module.startswith("numpy.random"):
        return "numpy.random"
    if module.startswith("_"):
        return module[1:]
    return "os" if module == "posix" else module


def _resolved(path: str, lookup: Callable[[str], Any], missing: object) -> str:
    if not path.startswith(":"):
        return path
    root, dot, rest = path[1:].partition(".")
    value = lookup(root)
    if value is missing:
        return ""
    if isinstance(value, types.ModuleType):
        return value.__name__ + dot + rest
    if isinstance(value, (type, types.BuiltinFunctionType, types.FunctionType, types.MethodType)):
        found = path_of(value)
        return found + dot + rest if found else ""
    return ""


def namespaces(code_globals: Mapping[str, Any], missing: object) -> Callable[[str], Any]:
    """Looks a global name up as code does: in its globals, then among the built-in names."""
    builtins = code_globals.get("__builtins__", __builtins__)
    if isinstance(builtins, types.ModuleType):
        builtins = vars(builtins)

    def lookup(name: str) -> Any:
        value = code_globals.get(name, missing)
        return builtins.get(name, missing) if value is missing else value

    return lookup
