"""Paths of the host to entries of layers: links on the way, relocation, rewritten text."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable

from nbrw_builder.entry import Entry
from nbrw_builder.errors import BuildError
from nbrw_builder.files import file_stamp
from nbrw_builder.host import Host
from nbrw_builder.interpreter import Python
from nbrw_builder.relocate import compiled_head, link_target, rewritten
from nbrw_runtime.digest import Digest
from nbrw_runtime.paths import image_path

from pathlib import Path  # isort: skip


class Entries:
    """Collects the entries of one layer; a path that an earlier layer has is left out."""

    def __init__(self, host: Host, python: Python, taken: set[str]) -> None:
        self._host = host
        self._python = python
        self._taken = taken
        self._found: dict[str, Entry] = {}
        self._directories: dict[str, str] = {}

    def result(self) -> tuple[Entry, ...]:
        """All entries; from now on they count as taken."""
        self._taken.update(self._found)
        return tuple(self._found[path] for path in sorted(self._found))

    def add_all(self, paths: Iterable[str], required: bool = False) -> None:
        """Add files, links and what lies on the way to them."""
        for path in paths:
            self.add(path, required)

    def add(self, path: str, required: bool = False) -> None:
        """Add a file or link of the host. Raises BuildError if it is required and gone."""
        directory, name = posixpath.split(posixpath.normpath(path))
        real = posixpath.join(self._real_directory(directory), name)
        status = self._host.lstat(real)
        if status is None:
            if required:
                raise BuildError(
                    f"pack {path}: it was used and is gone; put it back, or audit again"
                )
            return
        place = image_path(real)
        if place in self._found or place in self._taken:
            return
        if stat.S_ISLNK(status.st_mode):
            target = self._host.readlink(real)
            self._found[place] = Entry(place, 0o777, target=link_target(real, target))
            self.add(posixpath.join(posixpath.dirname(real), target))
        elif stat.S_ISDIR(status.st_mode):
            self._found[place] = Entry(place, 0o755)
        elif stat.S_ISREG(status.st_mode):
            entry = self._file(real, place, status)
            if entry is not None:
                self._found[place] = entry

    def add_content(self, path: str, source: str, digest: Digest | None) -> None:
        """Add a data file whose bytes may lie elsewhere on the host."""
        directory, name = posixpath.split(path)
        real = posixpath.join(self._real_directory(directory), name)
        link = self._host.lstat(real)
        if source == path and link is not None and stat.S_ISLNK(link.st_mode):
            self.add(path)
            return
        place = image_path(real)
        status = self._host.stat(source)
        if status is None:
            raise BuildError(f"pack {path}: {source} is gone; audit the notebook again")
        if place not in self._taken:
            self._found[place] = Entry(
                place, 0o644, source=Path(source), stamp=file_stamp(status), digest=digest
            )

    def add_made(self, entries: Iterable[Entry]) -> None:
        """Add entries that are not the host's."""
        for entry in entries:
            if entry.path not in self._taken:
                self._found.setdefault(entry.path, entry)

    def _real_directory(self, directory: str) -> str:
        """A directory without symbolic links; those on the way become entries."""
        known = self._directories.get(directory)
        if known is not None:
            return known
        if directory in ("/", ""):
            return "/"
        parent, name = posixpath.split(directory)
        real = posixpath.join(self._real_directory(parent), name)
        status = self._host.lstat(real)
        if status is not None and stat.S_ISLNK(status.st_mode):
            target = self._host.readlink(real)
            place = image_path(real)
            if place not in self._taken:
                self._found[place] = Entry(place, 0o777, target=link_target(real, target))
            whole = posixpath.normpath(posixpath.join(posixpath.dirname(real), target))
            real = self._real_directory(whole)
        self._directories[directory] = real
        return real

    def _file(self, real: str, place: str, status: object) -> Entry | None:
        mode = stat.S_IMODE(getattr(status, "st_mode"))  # noqa: B009
        if real.endswith(".pyc") and "/__pycache__/" in real:
            head = compiled_head(real, self._host)
            if head is None:
                return None
            return Entry(place, 0o644, source=Path(real), stamp=_stamp(status), head=head)
        data = rewritten(real, self._host, self._python)
        if data is not None:
            return Entry(place, mode, data=data)
        return Entry(place, mode, source=Path(real), stamp=_stamp(status))


def _stamp(status: object) -> tuple[int, int, int, int]:
    return file_stamp(status)  # type: ignore[arg-type]
