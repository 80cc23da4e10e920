"""Who owns a file: Python distributions, conda and Debian packages, interpreters, local source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nbrw_builder.host import Host


@dataclass(frozen=True)
class Package:
    """A piece of software that is packed whole.

    ``kind`` is ``python``, ``conda``, ``dpkg``, ``rpm`` or ``interpreter``. ``location`` is the
    site-packages directory, prefix or source root. ``files`` are absolute paths of files and links
    that exist. ``requires`` names installed packages of the same kind.
    """

    kind: str
    name: str
    version: str
    location: str
    files: tuple[str, ...]
    requires: tuple[str, ...] = ()
    editable: bool = False


class Provider(Protocol):
    """Knows the packages of one kind."""

    def owner(self, path: str) -> Package | None: ...

    def named(self, name: str) -> Package | None: ...


class Packages:
    """All providers of a host; asked in order."""

    def __init__(self, host: Host, providers: Iterable[tuple[str, Provider]]) -> None:
        self._host = host
        self._providers = tuple(providers)

    def owner(self, path: str) -> Package | None:
        """The package that a used path belongs to, by its own name or what it leads to."""
        source = source_of(path)
        for candidate in dict.fromkeys((path, source, self._host.realpath(source))):
            for _, provider in self._providers:
                found = provider.owner(candidate)
                if found is not None:
                    return found
        return None

    def named(self, kind: str, name: str) -> Package | None:
        """An installed package by name."""
        for provided, provider in self._providers:
            if provided == kind:
                found = provider.named(name)
                if found is not None:
                    return found
        return None

    def closure(self, packages: Iterable[Package]) -> tuple[Package, ...]:
        """These packages and all that they require, sorted by kind and name."""
        found: dict[tuple[str, str, str], Package] = {}
        todo = list(packages)
        while todo:
            package = todo.pop()
            key = (package.kind, package.name, package.location)
            if key in found:
                continue
            found[key] = package
            for name in package.requires:
                needed = self.named(package.kind, name)
                if needed is not None:
                    todo.append(needed)
        return tuple(found[key] for key in sorted(found))


def source_of(path: str) -> str:
    """The ``.py`` that a ``__pycache__/*.pyc`` was compiled from; other paths are their own."""
    directory, _, name = path.rpartition("/")
    if name.endswith(".pyc") and directory.endswith("/__pycache__"):
        return f"{directory[: -len('/__pycache__')]}/{name.split('.')[0]}.py"
    return path
