"""What stands for a module in a task's fingerprint: of an installed one its distribution's version,
of one that the notebook brings along its content and that of what it imports.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Sequence
from importlib import metadata

from nbrw_runtime.digest import digest_file, digest_json
from nbrw_runtime.distributions import names_of_distributions
from nbrw_runtime.local_modules import found_in, is_local
from nbrw_runtime.module_reads import read_by
from nbrw_runtime.module_source import imports_of
from nbrw_runtime.task_imported import LOADED, Sources, outside_of, sources_of

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_CLOSED = frozenset({"", "__main__"})
_STANDARD = frozenset(sys.stdlib_module_names) | frozenset(sys.builtin_module_names)
_Signature = tuple[int, ...]


class Modules:
    """Identities of modules, for one client. Remembers how files were when first asked about."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._versions: dict[str, str] = {}
        self._first: dict[str, tuple[object, str]] = {}
        self._files: dict[str, tuple[_Signature, str]] = {}
        self._imports: dict[tuple[str, str], Sequence[str]] = {}
        self._drawn: dict[tuple[str, str], Sources] = {}
        self._now: dict[str, str] = {}
        self._own: dict[str, bool] = {}
        self._judged: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Files are looked at again from here on: once until the next call."""
        self._now.clear()
        self._own.clear()
        if len(self._judged) != len(sys.modules):
            # What a loaded module was loaded from is best known soon afterwards.
            for name in sys.modules.keys() - self._judged:
                if is_local(name):
                    self._file(name)
            self._judged = set(sys.modules)

    def identity(self, name: str) -> str:
        """A text that is another one when anything of the module may do something else."""
        if self.is_own(name):
            return self.content(name)
        return f"{name}@{self.version(name)}"

    def is_own(self, name: str) -> bool:
        """Whether it is neither Python's nor installed, be it loaded or only found."""
        known = self._own.get(name)
        if known is None:
            known = self._own[name] = self._is_own(name)
        return known

    def _is_own(self, name: str) -> bool:
        if name in _CLOSED or name.partition(".")[0] in _STANDARD:
            if name in _CLOSED or name in sys.modules or name in sys.builtin_module_names:
                return is_local(name)
            # A local file may hide a module of Python's own.
            return bool(self._found_in_directory(name))
        if name in sys.modules:
            return is_local(name)
        return self._found_in_directory(name) is not None

    def is_nowhere(self, name: str) -> bool:
        """Whether no import finds a module as things are: where it is used it may be any."""
        top = name.partition(".")[0]
        if not top or top in sys.modules or top in _STANDARD or names_of_distributions(top):
            return False
        try:
            return importlib.util.find_spec(top) is None
        except (ImportError, ValueError):
            return True

    def version(self, name: str) -> str:
        """``distribution-version`` of a module that is installed; of Python's own: Python's."""
        top = name.partition(".")[0]
        known = self._versions.get(top)
        if known is None:
            known = self._versions[top] = _version_of(top)
        return known

    def content(self, name: str) -> str:
        """A digest of the files of a notebook's own module, its packages and what they import."""
        known = self._now.get(name)
        if known is None:
            known = self._now[name] = self._content(name)
        return known

    def digest_of_file(self, name: str) -> str:
        """That of a module's file alone; another text if there is none, or not the one loaded."""
        return self._file(name)[0]

    def outside(self, name: str, mentioned: Iterable[str]) -> Iterable[str]:
        """What code takes from outside that imports a module of the notebook's own and mentions
        these names; as phrases.
        """
        used = {other: self._sources(other) for other in self._used(name)}
        phrases = outside_of(mentioned, used.values())
        # What a module read that is loaded here is part of its content.
        return [p for p in phrases if p != LOADED or not used.keys() <= sys.modules.keys()]

    def _sources(self, name: str) -> Sources:
        digest, path = self._file(name)
        known = self._drawn.get((path, digest))
        if known is None:
            try:
                with open(path, "rb") as stream:
                    known = sources_of(stream.read())
            except (OSError, SyntaxError, ValueError):
                known = {}
            self._drawn[path, digest] = known
        return known

    def _content(self, name: str) -> str:
        used = self._used(name)
        read = [[module, *found] for module in sorted(used) for found in read_by(module)]
        return digest_json([name, *sorted(used.items()), *read]).hex

    def _used(self, name: str) -> dict[str, str]:
        """A module and all of the notebook's own that it may import, with their digests."""
        found: dict[str, str] = {}
        todo = [name]
        while todo:
            module = todo.pop()
            if module in found or not self.is_own(module):
                continue
            digest, path = self._file(module)
            found[module] = digest
            todo += self._used_by(module, path, digest) if path else []
            if "." in module:
                todo.append(module.rpartition(".")[0])
        return found

    def _file(self, name: str) -> tuple[str, str]:
        """The digest of a module's file, and the file's path; empty if there is none."""
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None) if module else self._found_in_directory(name)
        if not path:
            return "no file", ""
        try:
            signature = _signature(path)
            known = self._files.get(path)
            if known is None or known[0] != signature:
                known = self._files[path] = (signature, digest_file(path)[0].hex)
        except OSError:
            return "unreadable", ""
        digest = known[1]
        if module is not None:
            spec = getattr(module, "__spec__", None)
            first = self._first.get(name)
            if first is None or first[0] is not spec:  # it is loaded, or loaded again, since
                first = self._first[name] = (spec, digest)
            if first[1] != digest:
                # What runs is what was loaded, here; elsewhere it may be what is there now.
                digest = f"{first[1]} was loaded, {digest} is there now"
        return digest, path

    def _used_by(self, name: str, path: str, digest: str) -> list[str]:
        """The modules that a module may import."""
        known = self._imports.get((name, digest))
        if known is None:
            try:
                with open(path, "rb") as stream:
                    known = imports_of(stream.read(), name, path)
            except OSError:
                known = ()
            self._imports[name, digest] = known
        return [*known, *self._mentioned(known)]

    def _mentioned(self, imports: Sequence[str]) -> list[str]:
        if "importlib" in imports:  # it may load any
            return [other for other in list(sys.modules) if is_local(other)]
        return []

    def _found_in_directory(self, name: str) -> str | None:
        """The file that an import of a module that is not loaded would find among local ones."""
        return found_in([self._directory, *sys.path], name)


def _signature(path: str) -> _Signature:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _version_of(top: str) -> str:
    if top in _STANDARD or top in ("", "__main__"):
        return f"python-{PYTHON}"
    names = names_of_distributions(top)
    if names:
        return " ".join(f"{name}-{metadata.version(name)}" for name in names)
    return f"unknown-{_content_of_package(sys.modules.get(top))}"


def _content_of_package(module: types.ModuleType | None) -> str:
    """A digest of the files of a module that no distribution owns up to."""
    path = getattr(module, "__file__", None)
    if not path:
        return ""
    folder = os.path.dirname(path)
    paths = [path]
    if hasattr(module, "__path__"):
        walked = [(place, names) for place, _, names in os.walk(folder)]
        paths = [os.path.join(place, name) for place, names in walked for name in names]
    endings = (".py", ".so", ".pyd")
    found = sorted(
        [os.path.relpath(p, folder), digest_file(p)[0].hex] for p in paths if p.endswith(endings)
    )
    return digest_json(found).hex


def module_name(module: types.ModuleType) -> str:
    """The name it was loaded under; empty if it is not a loaded module."""
    name = module.__name__
    return name if sys.modules.get(name) is module else ""
