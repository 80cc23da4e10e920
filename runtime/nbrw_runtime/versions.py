"""What is known of names and files at one point between two cells. Pure.

Each name and each file has a *version*: equal versions mean equal content. A walk through the
cells of the audit gives the versions that each cell began with; a walk through the cells to repeat
gives those it would begin with now. A cell whose inputs have the versions they had is not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredObject
from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import digest_json
from nbrw_runtime.names import (
    FILE_QUESTIONS,
    LISTING_WORDS,
    PREFIX,
    Names,
    changed_by,
    is_dynamic,
    is_local_module,
    reach,
)

__all__ = ["PREFIX", "Changes", "Versions", "changes_of", "is_connection_type"]

#: Omitted names that begin so stand for a file that could not be stored.
FILE_PREFIX = "file:"
#: Generators: drawing from one changes it, so only who changed it depends on it.
GENERATORS = frozenset(PREFIX + n for n in ("random>", "numpy.random>", "torch.random>"))
#: What cells did that neither a name nor a file shows: the version stands for all of it, in order.
EFFECTS = PREFIX + "effects>"
#: Environment variables that look private: that they changed is known, and by which cell.
PRIVATE = PREFIX + "private environ>"
#: Versions that begin so are what nobody knows, as a cell runs.
UNKNOWN = "of cell "
#: Of no code.
NOTHING = Names(frozenset())
#: Types of unstorable objects that know the whole namespace.
_SHELLS = ("IPython.", "ipykernel.", "code.", "frame", "pdb.", "bdb.")
#: What a module may look at while it is imported, and where it is looked for.
IMPORTING = frozenset(PREFIX + name for name in ("cwd>", "environ>", "sys.path>"))
_UNSHARED_TYPES = frozenset(
    {"module", "int", "float", "complex", "bool", "str", "bytes", "NoneType", "range"}
)


@dataclass
class Changes:
    """What one cell did, as far as versions go: of a checkpoint, or of a cell that has just run.

    ``objects`` maps groups of names to their version; ``source`` says where a group can be had
    from again (None: from nowhere but the kernel that it is in).
    """

    objects: list[tuple[tuple[str, ...], str, StoredObject | None]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    omitted: dict[str, Omitted] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)  # None: it is gone

    @property
    def names(self) -> set[str]:
        """All names that it changed."""
        found = {name for names, _, _ in self.objects for name in names}
        return found | set(self.deleted) | set(self.omitted)

    @property
    def types(self) -> dict[str, str]:
        """The types of what is stored of it, by name."""
        return {
            name: kind
            for _, _, stored in self.objects
            if stored is not None
            for name, kind in zip(stored.names, stored.types, strict=False)
        }

    @property
    def refers(self) -> dict[str, tuple[str, ...]]:
        """The names that what is stored of it refers to, by name."""
        return {
            name: stored.refers for names, _, stored in self.objects if stored for name in names
        }


def changes_of(checkpoint: Checkpoint, token: str) -> Changes:
    """A checkpoint's. ``token`` tells what could not be stored from that of other cells."""
    files: dict[str, str | None] = {f.path: f.version for f in checkpoint.files}
    files.update(dict.fromkeys(checkpoint.removed))
    omitted = {}
    for found in checkpoint.omitted:
        if found.name.startswith(FILE_PREFIX):
            files[found.name[len(FILE_PREFIX) :]] = f"unstored by {token}"
        else:
            omitted[found.name] = found
    return Changes(
        [(stored.names, str(stored.digest), stored) for stored in checkpoint.objects],
        list(checkpoint.deleted),
        omitted,
        files,
    )


class Versions:
    """The versions of all names and files, and who made them."""

    def __init__(self, data: Iterable[Data] = (), changed: Mapping[str, str] | None = None) -> None:
        self.names: dict[str, str] = {}
        self.makers: dict[str, int] = {}  # name -> cell of this walk that changed it last
        self.sources: dict[str, tuple[int, StoredObject]] = {}  # name -> audited cell, object
        self.omitted: dict[str, tuple[int, Omitted]] = {}  # name -> cell of this walk, why
        self.types: dict[str, str] = {}
        self.files: dict[str, str | None] = {}
        self.file_makers: dict[str, int] = {}
        self._refers: dict[str, tuple[str, ...]] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._entries: dict[str, set[str]] = {}  # directory -> what the notebook made or removed
        self._opaque: set[str] = set()  # names of what may look up any name
        self._outside: set[str] = set()
        self._kept: dict[str, bool] = {}
        self._sum = 0
        changed = changed or {}
        for found in data:
            if found.state is not DataState.LISTED:
                known = str(found.digest) if found.state is DataState.READ else None
                version = f"changed: {changed[found.path]}" if found.path in changed else known
                if found.state is not DataState.WRITTEN or found.path not in self.files:
                    self.files[found.path] = version

    def apply(
        self,
        cell: int,
        changes: Changes,
        token: str,
        audited: int | None = None,
        names: Names = NOTHING,
    ) -> None:
        """A cell did this. ``audited`` is the cell whose checkpoint has the objects; ``names`` are
        those of its source.
        """
        for group, version, stored in changes.objects:
            for index, name in enumerate(group):
                self._set(cell, name, version)
                self.omitted.pop(name, None)
                self._groups[name] = group
                self._opaque.discard(name)
                if stored is None or audited is None:
                    self.sources.pop(name, None)
                else:
                    self.sources[name] = (audited, stored)
                if stored is not None:
                    self._refers[name] = stored.refers
                    if index < len(stored.types):
                        self.types[name] = stored.types[index]
        for name in changes.deleted:
            self._forget(name)
        for name, why in changes.omitted.items():
            self._set(cell, name, f"unstored by {token}")
            self.sources.pop(name, None)
            self._groups[name] = (name,)
            self.omitted[name] = (cell, why)
            self.types[name] = why.type
            # Whatever it refers to it has from there; a shell may look up any name.
            self._refers[name] = tuple(sorted({*self._refers.get(name, ()), *names.used}))
            if self.is_dynamic(names) or why.type.startswith(_SHELLS):
                self._opaque.add(name)
        for path, content in changes.files.items():
            self.files[path] = content
            self.file_makers[path] = cell
            directory, name = os.path.split(path)
            entries = self._entries.setdefault(directory, set())
            made, removed = f"+{name}", f"-{name}"
            entries -= {made, removed}
            entries.add(removed if content is None else made)

    def effect(self, cell: int, token: str) -> None:
        """A cell did something that neither a name nor a file shows. Who does what has the same
        ``token``, in the same state, does the same; one that begins with UNKNOWN is like no other.
        """
        now = self.names.get(EFFECTS, "")
        if not now.startswith(UNKNOWN):
            now = token if token.startswith(UNKNOWN) else digest_json([now, token]).hex
        self._set(cell, EFFECTS, now)

    def assume(self, cell: int, names: Iterable[str], files: Iterable[str] = ()) -> None:
        """A cell that is yet to run will change these; nobody knows to what."""
        for name in names:
            self._set(cell, name, f"{UNKNOWN}{cell}, which runs")
            self.sources.pop(name, None)
            self.omitted.pop(name, None)
            self._groups[name] = (name,)
        for path in files:
            self.files[path] = f"{UNKNOWN}{cell}, which runs"
            self.file_makers[path] = cell

    def is_dynamic(self, names: Names) -> bool:
        """Whether code that mentions these may use any name, by itself or by what it calls."""
        return is_dynamic(names, self._refers)

    @property
    def refers(self) -> Mapping[str, tuple[str, ...]]:
        """What the value of each name refers to."""
        return self._refers

    def used(self, names: Names) -> set[str]:
        """All names that code may reach which mentions these; of dynamic code: all there are."""
        if self.is_dynamic(names):
            return {name for name in self.names if not name.startswith(PREFIX)} | names.used
        return self._reached(names.used)

    def _reached(self, start: set[str] | frozenset[str]) -> set[str]:
        """What these names refer to, and what modules may keep that are among it; and what state
        outside the namespace does: who calls a handler of a logger does not say so.
        """
        outside = (self._refers.get(name, ()) for name in self._outside)
        found = reach(start.union(*outside), self._refers)
        if self._kept and any(map(changed_by, found)):
            alive = {n for n, by in self._kept.items() if by or self._may_change(n)}
            found |= reach(alive, self._refers)
        return found

    def keep(self, names: Iterable[str], by_code: bool) -> None:
        """A module of the notebook's own may keep what these are bound to; ``by_code``: in code
        that reads the names when it is called.
        """
        for name in names:
            self._kept[name] = by_code or self._kept.get(name, False)

    def _may_change(self, name: str) -> bool:
        return self.types.get(name) not in _UNSHARED_TYPES

    def any_name(self, names: Names) -> bool:
        """Whether code that mentions these may use any name: it is dynamic, or it uses an object
        that may look up any.
        """
        return self.is_dynamic(names) or not self.used(names).isdisjoint(self._opaque)

    def words(self, names: Names) -> set[str]:
        """The names that code may reach which mentions these, beside those that it binds."""
        return reach(names.used - names.bound, self._refers)

    def inputs(self, names: Names) -> set[str]:
        """The names whose versions matter to code that mentions these; if dynamic: all.

        A name that is only bound matters if others share its object: they are alone then; or if
        functions read it that the code may call, which may be before it is bound.
        """
        free = {name for name in names.bound if len(self._groups.get(name, ())) < 2}
        if self.is_dynamic(names):
            return self.used(names) - free
        return self._reached(names.used - free)

    def input_versions(self, names: Names) -> object:
        """The same with their versions, as a value that JSON can hold."""
        if self.any_name(names):
            return ["all", f"{self._sum:064x}", self.made_files()]
        inputs = self.inputs(names)
        versions = {name: self.names.get(name) for name in inputs}
        files = [] if inputs.isdisjoint(FILE_QUESTIONS) else self.made_files()
        return [sorted(versions.items()), self._outside_state(), files]

    def made_files(self) -> list[tuple[str, str | None]]:
        """The files that cells have made, or taken away, with their versions."""
        return sorted((path, self.files[path]) for path in self.file_makers)

    def sharers(self, names: Iterable[str]) -> set[str]:
        """These names, and those that share mutable objects with them; not what cannot share."""
        found: set[str] = set()
        for name in names:
            if name in self.names and self.types.get(name) not in _UNSHARED_TYPES:
                found.update(self._groups.get(name, (name,)))
        return found

    def listing(self, directory: str) -> str:
        """The version of a listed directory: what the notebook made and removed there by now."""
        return ",".join(sorted(self._entries.get(directory, ())))

    def settings(self) -> dict[str, str]:
        """The versions of all state outside the namespace."""
        return {name: self.names[name] for name in self._outside if name in self.names}

    def _outside_state(self) -> list[tuple[str, str]]:
        return sorted(
            (name, self.names[name])
            for name in self._outside
            if name in self.names and name not in GENERATORS
        )

    def _set(self, cell: int, name: str, version: str) -> None:
        self._count(name)
        self.names[name] = version
        self._count(name)
        self.makers[name] = cell
        if name.startswith(PREFIX) and not is_local_module(name):
            self._outside.add(name)

    def _forget(self, name: str) -> None:
        self._count(name)
        for table in (self.names, self.sources, self.omitted, self.types, self._refers):
            table.pop(name, None)
        self._groups.pop(name, None)
        self._opaque.discard(name)

    def _count(self, name: str) -> None:
        # The sum of all names with their versions, kept up to date: adding and taking are one.
        if name in self.names and name not in GENERATORS:
            self._sum ^= int(digest_json([name, self.names[name]]).hex, 16)


def is_connection_type(name: str) -> bool:
    """Whether objects of this type connect to Dask: a client or a cluster."""
    return name == "distributed.client.Client" or name.startswith(
        ("distributed.deploy.", "dask_jobqueue.")
    )


def may_list(names: Names, now: Versions) -> bool:
    """Whether code that mentions these names may ask for the names in a directory."""
    if now.any_name(names):
        return True
    reached = now.words(names)
    return not reached.isdisjoint(LISTING_WORDS) or any(map(is_local_module, reached))


def listed_by_imports(cwd: str) -> frozenset[str]:
    """Directories that are listed all the time, as modules are looked for there: that a cell was
    seen to do so says nothing unless its code may, too.
    """
    return frozenset({cwd, os.path.expanduser("~"), "/", "/tmp"})
