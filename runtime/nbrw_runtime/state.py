"""Which parts of the namespace a cell left new, changed or deleted: by content, not by mention.

After each cell every name is looked at. Names whose objects share something mutable form a group
(a co-variable) that is stored as one, so that sharing survives a restore.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.checkpoint import Omitted, StoredObject
from nbrw_runtime.codec import Dump, Omit, SaveContext, dump
from nbrw_runtime.digest import Digest
from nbrw_runtime.names import names_of, reach
from nbrw_runtime.state_providers import Provider
from nbrw_runtime.versions import PREFIX, is_connection_type

_ATOMS = (int, float, complex, bool, str, bytes, type(None), types.EllipsisType)
_SMALL = 1 << 20  # bytes; what is larger is taken for what was stored without another look
_OUTPUT = re.compile(r"_\d+\Z")
_OWN = re.compile(r"(_{1,3}|_i{1,3}|_i\d+|_ih|_oh|_dh|In|Out|exit|quit|get_ipython|open|display)\Z")
# Immutable, or one for all: sharing them means nothing.
_IMMUTABLE_MODULES = ("datetime", "decimal", "fractions", "pathlib", "uuid", "re", "zoneinfo")


@dataclass(frozen=True)
class Changes:
    """What a cell did to the namespace."""

    objects: tuple[StoredObject, ...] = ()
    deleted: tuple[str, ...] = ()
    omitted: tuple[Omitted, ...] = ()


@dataclass
class StateTracker:
    """Remembers the namespace as it was after the last cell."""

    namespace: dict[str, Any]
    hidden: frozenset[str]
    context: SaveContext
    providers: tuple[Provider, ...] = ()
    _digests: dict[tuple[str, ...], Digest] = field(default_factory=dict)
    _refers: dict[str, frozenset[str]] = field(default_factory=dict)
    _atoms: dict[str, Any] = field(default_factory=dict)
    _omitted: dict[str, tuple[Any, str]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def user_names(self) -> list[str]:
        """The names that are the notebook's own, sorted."""
        return sorted(
            name
            for name in list(self.namespace)
            if isinstance(name, str)
            and not name.startswith("__")
            and not (_OWN.match(name) and self._is_own(name))
            and not (name in self.hidden and not _OUTPUT.match(name) and self._is_own(name))
        )

    def _is_own(self, name: str) -> bool:
        if name in ("open", "display", "exit", "quit", "In", "Out", "get_ipython"):
            value = self.namespace.get(name)
            module = getattr(type(value), "__module__", "")
            own = module.startswith(("IPython", "ipykernel", "builtins", "_io"))
            return own or (isinstance(value, types.FunctionType) and value.__module__ != "__main__")
        return True

    def baseline(self) -> None:
        """What is there now is not the notebook's doing."""
        for provider in self.providers:
            found = self._dump_provider(provider)
            if isinstance(found, Dump):
                self._digests[(provider.name,)] = found.identity()

    def changes(self, source: str, reached_only: bool = False) -> Changes:
        """What changed since the last call; ``source`` is the code of the cell that ran.

        Blobs of what changed are put into the store. ``reached_only``: only what the code may have
        reached is looked at, and nothing is stored. Raises StorageError.
        """
        names = self.user_names()
        looked_at = self._may_have_changed(names, source) if reached_only else names
        dumps, omits = self._dump_names(looked_at)
        objects = []
        for group, found in self._groups(dumps, omits):
            identity = found.identity()
            for name in group:
                self._refers[name] = found.refers
            if self._digests.get(group) != identity:
                objects.append(self._stored(group, found, identity, not reached_only))
            for name in group:
                self._forget(name)
            self._digests[group] = identity
        for provider in self.providers:
            found_state = self._dump_provider(provider)
            if isinstance(found_state, Dump):
                identity = found_state.identity()
                if self._digests.get((provider.name,)) != identity:
                    stored = self._stored((provider.name,), found_state, identity, not reached_only)
                    objects.append(stored)
                    self._digests[(provider.name,)] = identity
        omitted = self._report_omitted(omits, source)
        deleted = sorted(self._names - set(names))
        for name in deleted:
            self._forget(name)
            self._atoms.pop(name, None)
            self._refers.pop(name, None)
        self._names = set(names)
        return Changes(tuple(objects), tuple(deleted), omitted)

    def restored(self, objects: Iterable[StoredObject]) -> None:
        """These were brought back: they are not changes of the next cell."""
        providers = {provider.name: provider for provider in self.providers}
        for stored in objects:
            identity = stored.digest
            for name in stored.names:
                self._forget(name)
                if not name.startswith(PREFIX):
                    self._names.add(name)
                self._refers[name] = frozenset(stored.refers)
            # What a host makes of a setting is no change of the next cell's either.
            made = self._as_restored(stored, providers)
            if isinstance(made, Dump):
                identity = made.identity()
            self._digests[stored.names] = identity

    def _as_restored(
        self, stored: StoredObject, providers: Mapping[str, Provider]
    ) -> Dump | Omit | None:
        if stored.names[0] in providers:
            return self._dump_provider(providers[stored.names[0]])
        return self._dump_group(stored.names) if stored.size < _SMALL else None

    def removed(self, names: Iterable[str]) -> None:
        """These names were taken away: that is no change of the next cell's either."""
        for name in names:
            self._forget(name)
            self._names.discard(name)
            self._atoms.pop(name, None)
            self._refers.pop(name, None)

    # ------------------------------------------------------------------------------------------

    def _forget(self, name: str) -> None:
        for group in [g for g in self._digests if name in g]:
            del self._digests[group]

    def _dump_names(self, names: Iterable[str]) -> tuple[dict[str, Dump | None], dict[str, Omit]]:
        """For each name its dump, None for an atom that is the one it was, or why there is none."""
        dumps: dict[str, Dump | None] = {}
        omits: dict[str, Omit] = {}
        for name in names:
            value = self.namespace[name]
            if type(value) in _ATOMS or isinstance(value, types.ModuleType):
                if (name,) in self._digests and self._atoms.get(name, self) is value:
                    dumps[name] = None
                    continue
                self._atoms[name] = value
            else:
                self._atoms.pop(name, None)
            found = dump({name: value}, self.context)
            if isinstance(found, Omit):
                omits[name] = found
            else:
                dumps[name] = found
        return dumps, omits

    def _groups(
        self, dumps: Mapping[str, Dump | None], omits: dict[str, Omit]
    ) -> list[tuple[tuple[str, ...], Dump]]:
        """Names that share, each group with one dump. Groups that cannot be dumped are omitted."""
        leader = {name: name for name in dumps}

        def find(name: str) -> str:
            while leader[name] != name:
                leader[name] = name = leader[leader[name]]
            return name

        owner: dict[int, str] = {}
        for name, found in dumps.items():
            if found is None:
                continue
            shared = [key for key, obj in found.memo.items() if _is_mutable(obj)]
            for key in [*shared, *found.roots]:
                other = owner.setdefault(key, name)
                if other != name:
                    leader[find(name)] = find(other)
        groups: dict[str, list[str]] = {}
        for name in dumps:
            groups.setdefault(find(name), []).append(name)
        result = []
        for members in groups.values():
            group = tuple(sorted(members))
            single = dumps[group[0]] if len(group) == 1 else None
            if len(group) == 1 and single is None:
                continue  # an atom, unchanged
            if single is not None and not _shared_roots([single]):
                result.append((group, single))
                continue
            made = self._dump_group(group)
            if isinstance(made, Omit):
                omits.update(dict.fromkeys(group, made))
            else:
                result.append((group, made))
        return result

    def _dump_group(self, group: tuple[str, ...]) -> Dump | Omit:
        # What connects to Dask comes first, as futures need it when they come back.
        ordered = sorted(group, key=lambda name: (not is_connection(self.namespace[name]), name))
        values = {name: self.namespace[name] for name in ordered}
        first = dump(values, self.context)
        if isinstance(first, Omit):
            return first
        views = _shared_roots([first])
        return dump(values, self.context, views) if views else first

    def _dump_provider(self, provider: Provider) -> Dump | Omit | None:
        try:
            value = provider.get()
        except Exception as error:
            return Omit(f"it could not be read: {error}")
        if value is None and (provider.name,) not in self._digests:
            return None
        return dump({provider.name: value}, self.context)

    def _may_have_changed(self, names: list[str], source: str) -> list[str]:
        reached = self._reach(source)
        if reached is None:
            return names
        found = {name for name in names if name in reached or name not in self._names}
        for group in self._digests:
            if not found.isdisjoint(group):
                found.update(group)
        return [name for name in names if name in found]

    def _stored(
        self, group: tuple[str, ...], found: Dump, identity: Digest, keep: bool
    ) -> StoredObject:
        if keep:
            store = self.context.store
            blob = store.put(found.payload)
            buffers = tuple(store.put(part) for part in found.buffers)
        else:
            blob, buffers = found.digests()
        return StoredObject(
            names=group,
            digest=identity,
            blob=blob,
            buffers=buffers,
            codec=found.codec,
            size=found.size,
            types=tuple(type_name(self.namespace.get(name)) for name in group),
            refers=tuple(sorted(found.refers)),  # some may be bound later
            futures=tuple(dict.fromkeys(found.futures)),
        )

    def _report_omitted(self, omits: Mapping[str, Omit], source: str) -> tuple[Omitted, ...]:
        """Names that are not stored and that this cell made, or may have changed."""
        reach = self._reach(source)
        reported = []
        for name, omit in sorted(omits.items()):
            value = self.namespace[name]
            before = self._omitted.get(name)
            same = before is not None and before[0] is value and before[1] == omit.reason
            if not same or reach is None or name in reach:
                reported.append(Omitted(name, type_name(value), omit.reason))
            self._omitted[name] = (value, omit.reason)
            self._forget(name)
        for name in set(self._omitted) - set(omits):
            del self._omitted[name]
        return tuple(reported)

    def _reach(self, source: str) -> set[str] | None:
        """The names that code may reach, through functions too; None: all."""
        names = names_of(source)
        if names.dynamic:
            return None
        return reach(names.used, self._refers)


def is_connection(value: Any) -> bool:
    """Whether this is a Dask client or cluster."""
    return is_connection_type(type_name(value))


def type_name(value: Any) -> str:
    """``module.Class``, without the module for built-in types."""
    kind = type(value)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _shared_roots(dumps: Iterable[Dump]) -> frozenset[int]:
    users: dict[int, set[int]] = {}
    for found in dumps:
        for key, (_, ids) in found.roots.items():
            users.setdefault(key, set()).update(ids)
    return frozenset(key for key, ids in users.items() if len(ids) > 1)


def _is_mutable(obj: Any) -> bool:
    """Whether two names that hold this very object would notice that they share it."""
    kind = type(obj)
    if kind in _ATOMS or kind in (tuple, frozenset, range, slice, types.CodeType):
        return False
    if isinstance(obj, (types.ModuleType, types.BuiltinFunctionType)):
        return False
    if isinstance(obj, (type, types.FunctionType)):
        return not _importable(obj)
    module = kind.__module__
    if module in _IMMUTABLE_MODULES:
        return False
    if module.startswith(("numpy.dtypes", "pyarrow")) or kind.__name__.endswith("Dtype"):
        return False
    if module.startswith("pandas.core.indexes"):
        return False
    return not (module == "numpy" and kind.__name__ != "ndarray")


def _importable(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    return module is not None and obj.__module__ != "__main__"
