"""Modules that are neither Python's own nor installed: those that a notebook brings along."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from typing import Any

from nbrw_runtime.digest import digest_bytes, digest_file, digest_json
from nbrw_runtime.module_reads import read_by, watch_reads
from nbrw_runtime.module_source import ModuleSource, module_source
from nbrw_runtime.module_state import changing
from nbrw_runtime.names import changes_by
from nbrw_runtime.own_files import is_own_file


def leads_to_local_module(value: Any) -> bool:
    """Whether this is such a module, or something that was defined in one."""
    return is_local(module_of(value))


def module_of(value: Any) -> str:
    """The name of a module, or of the one where a function, a class, or a value's class is from."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
    name = getattr(kind, "__module__", None)
    return name if isinstance(name, str) else ""


class LocalModules:
    """The contents of such modules that are loaded, as they were when they were."""

    def __init__(self) -> None:
        self._judged: dict[str, Any] = {}  # name -> its spec, which a reload makes anew
        self._sources: dict[str, ModuleSource] = {}
        self._found: dict[str, ModuleSource | None] = {}  # that are not loaded
        self._seen: dict[str, tuple[str, frozenset[str]]] = {}
        self._used: dict[str, list[str]] = {}
        self._digests: dict[str, str] = {}
        watch_reads()

    def now(self) -> dict[str, str]:
        """Names of loaded modules, each with a digest of its file, of the files that it read while
        it was loaded, and of the modules that it uses.
        """
        for name in sys.modules.keys() - self._judged.keys():
            self._judged[name] = None
            if is_local(name):
                self._sources[name] = _UNKNOWN
        for name in self._sources.keys() & sys.modules.keys():
            spec = getattr(sys.modules[name], "__spec__", None)
            if self._sources[name] is _UNKNOWN or spec is not self._judged[name]:
                self._judged[name] = spec
                self._sources[name] = _source_of(name, getattr(sys.modules[name], "__file__", ""))
        seen = self._uses()
        if seen != self._seen:
            uses = {name: used for name, (_, used) in seen.items()}
            lines = {name: f"{name} {digest}\n" for name, (digest, _) in seen.items()}
            self._seen, self._used = seen, closures(uses)
            self._digests = {
                name: digest_bytes("".join(map(lines.__getitem__, used)).encode()).hex
                for name, used in self._used.items()
            }
        return {name: self._digests[name] for name in self._sources if name in sys.modules}

    def refers(self, name: str) -> frozenset[str]:
        """What whoever uses a module may do by it: ask for files (the words of `names.py`), and
        change what modules keep, by these of their names.
        """
        used = {other: self._source(other) or _UNKNOWN for other in self._used.get(name, ())}
        key = tuple((other, source.digest) for other, source in used.items())
        if key not in _refers:
            changes = changing(one for source in used.values() for one in source.definitions)
            words = (source.words for source in used.values())
            _refers[key] = frozenset(map(changes_by, changes)).union(*words)
        return _refers[key]

    def _uses(self) -> dict[str, tuple[str, frozenset[str]]]:
        """The digest of each module's own file, and which others it uses, or would import if it
        ran on: of modules that are loaded, and of those that they may load.
        """
        found: dict[str, tuple[str, frozenset[str]]] = {}
        todo = [name for name in self._sources if name in sys.modules]
        while todo:
            name = todo.pop()
            source = None if name in found else self._source(name)
            if source is None:
                continue
            module = sys.modules.get(name)
            used = {module_of(value) for value in list(vars(module).values())} if module else set()
            used.update(source.imports)
            mine = frozenset(other for other in used if self._source(other) is not None)
            found[name] = source.digest, mine
            todo += mine
        return found

    def _source(self, name: str) -> ModuleSource | None:
        if name in sys.modules:
            return self._sources.get(name)
        top = name.partition(".")[0]
        if top in sys.modules and top not in self._sources:
            return None  # of a library's package
        if name not in self._found:
            path = None if top in sys.stdlib_module_names else found_in(sys.path, name)
            self._found[name] = None if path is None else _source_of(name, path)
        return self._found[name]


_UNKNOWN = ModuleSource("unreadable")
#: What was found for modules of these contents.
_refers: dict[tuple[tuple[str, str], ...], frozenset[str]] = {}


def closures(uses: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """All that each name leads to, itself among them, in order. Names that are used are keys."""
    names = sorted(uses)
    number = {name: n for n, name in enumerate(names)}
    # Sets of hundreds of names, hundreds of times: as the bits of numbers they take no time.
    found = [1 << n for n in range(len(names))]
    steps = [[number[other] for other in uses[name]] for name in names]
    todo = True
    while todo:
        todo = False
        for n, others in enumerate(steps):
            bits = found[n]
            for other in others:
                bits |= found[other]
            if bits != found[n]:
                found[n], todo = bits, True
    every = {bits: [name for n, name in enumerate(names) if bits >> n & 1] for bits in {*found}}
    return {name: every[found[n]] for n, name in enumerate(names)}


def _source_of(name: str, path: str | None) -> ModuleSource:
    if not path:
        return ModuleSource("no file")
    try:
        digest = str(digest_file(path)[0])
        read = read_by(name)
        with open(path, "rb") as stream:
            source = module_source(stream.read(), name, path)
    except OSError:
        return _UNKNOWN
    return replace(source, digest=digest_json([digest, read]).hex if read else digest)


def is_local(name: str) -> bool:
    """Whether a loaded module is a notebook's own. Packages are what their files are."""
    if name in ("", "__main__", "builtins") or name.partition(".")[0] == "nbrw_runtime":
        return False
    module = sys.modules.get(name)
    if module is None:
        return False
    path = getattr(module, "__file__", None)
    return is_own_file(path) if path else is_own_namespace(getattr(module, "__path__", ()))


def is_own_namespace(paths: Any) -> bool:
    """Whether a package without a file (by its directories) has modules of the notebook's own."""
    try:
        return any(is_own_file(os.path.join(path, "")) for path in paths)
    except TypeError:  # not a package
        return False


def found_in(directories: Iterable[str], name: str) -> str | None:
    """The file that an import of a module that is not loaded would find among local ones; empty if
    it is a package without a file; None if there is none.
    """
    paths: Any = [path or os.getcwd() for path in directories]
    for part in name.split("."):
        spec = PathFinder.find_spec(part, paths)
        if spec is None:
            return None
        origin, paths = spec.origin, list(spec.submodule_search_locations or ())
    if origin is None:
        return "" if is_own_namespace(paths) else None
    return origin if is_own_file(origin) else None
