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

from nbrw_runtime.names import FILE_QUESTIONS
from nbrw_runtime.outside_rules import CHANCE, generators, kind_of_call, seeds

ENVIRONMENT = "the environment"
FILES = "whether files are there"
#: Those of which nobody sees what was asked: to list a directory is an event of Python's.
_QUESTIONS = FILE_QUESTIONS - {"iterdir", "rglob", "scandir", "walk"}
_ASKED = re.compile(r"(?:os|os\.path|posixpath|genericpath)\.(\w+)\Z")
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
            found.append(f"{kind} ({path})")
    return found


@functools.lru_cache(maxsize=4096)
def _seeded_by(path: str) -> tuple[str, ...]:
    return tuple(name for name in generators() if seeds(path, name))


@functools.lru_cache(maxsize=4096)
def _kind(path: str, bare: bool) -> str:
    if path.startswith(("os.environ", "os.getenv")):
        return ENVIRONMENT
    if _WORKER.match(path):
        return "the worker that it is on"
    asked = _ASKED.match(path)
    if asked is not None and asked[1] in _QUESTIONS:
        return FILES
    return kind_of_path(path, bare)


def asked(names: Iterable[str]) -> list[str]:
    """Phrases such as ``whether files are there (is_file)``, for the attributes that code names."""
    return [f"{FILES} ({name})" for name in sorted(_QUESTIONS.intersection(names))]


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
