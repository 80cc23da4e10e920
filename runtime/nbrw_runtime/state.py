"""Which parts of the namespace a cell left new, changed or deleted: by content, not by mention.

Names whose objects share something mutable form a group (a co-variable) that is stored as one, so
that sharing survives a restore. After a cell the names are dumped and compared that it may have
reached: those in its code, in functions it may have called, and all that shares objects or memory
with them. What no code shows (a callback, a thread, a list that a library keeps) is found by a
*sweep*, a look at every name. `docs/design.md`, "What a checkpoint looks at".
"""

from __future__ import annotations

import time
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nbrw_runtime.checkpoint import Omitted, StoredObject
from nbrw_runtime.codec import Dump, Omit, SaveContext, dump
from nbrw_runtime.codec_kinds import LIKE_NO_OTHER, Lost
from nbrw_runtime.codec_matplotlib import figure_of
from nbrw_runtime.digest import Digest
from nbrw_runtime.local_modules import LocalModules, leads_to_local_module
from nbrw_runtime.mutables import ATOMS
from nbrw_runtime.names import is_dynamic, is_local_module, local_module, names_of, reach
from nbrw_runtime.sharing import groups, shared_roots
from nbrw_runtime.snapshot import Snapshot, snapshot
from nbrw_runtime.state_providers import Provider
from nbrw_runtime.user_names import UserNames
from nbrw_runtime.versions import PREFIX, is_connection_type

_LARGE = 1 << 20  # bytes; groups of this size are dumped as what they were first
_PLAIN = 1 << 16  # bytes; of plain data of this size it is remembered what was in them
_SMALL = 1 << 20  # bytes; what is larger is taken for what was stored without another look
_NAME_SECONDS = 40e-6  # about what a look at a small name takes,
_BYTE_SECONDS = 1e-9  # and one at a byte
_FREE_SECONDS = 0.002  # a sweep that takes less is made after every cell,
_SHARE = 0.02  # one that takes longer when it is this part of the time since the last


@dataclass(frozen=True)
class Changes:
    """What a cell did to the namespace.

    ``late`` maps names that changed at some time before, which no code showed, to the time of the
    last look at them, as :attr:`StateTracker.clock` counts.
    """

    objects: tuple[StoredObject, ...] = ()
    deleted: tuple[str, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    late: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Group:
    """What is known of names that share; ``memory`` are ids of the memory that they use."""

    identity: Digest
    size: int
    memory: frozenset[int]
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class _Still:
    """In place of a dump of names that are what they were."""

    known: _Group
    snapshot: Snapshot
    refers: frozenset[str]
    roots: Mapping[int, Any] = field(default_factory=dict)

    def mutables(self) -> dict[int, Any]:
        return self.snapshot.mutables()


@dataclass
class StateTracker:
    """Remembers the namespace as it was after the last cell.

    ``clock`` counts cells. ``sweep_share`` is the part of the run time that sweeps may take.
    """

    namespace: dict[str, Any]
    hidden: frozenset[str]
    context: SaveContext
    providers: tuple[Provider, ...] = ()
    sweep_share: float = _SHARE
    clock: int = 0
    _known: dict[tuple[str, ...], _Group] = field(default_factory=dict)
    _group_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _users: dict[int, set[str]] = field(default_factory=dict)  # memory -> who uses it
    _refers: dict[str, frozenset[str]] = field(default_factory=dict)
    _ids: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)  # name -> time of the last look
    _atoms: dict[str, Any] = field(default_factory=dict)
    _omitted: dict[str, tuple[Any, str]] = field(default_factory=dict)
    _bytes: int = 0
    _swept: int = 0
    _swept_at: float = field(default_factory=time.monotonic)
    _sweep_seconds: float = 0.0  # that one took, or a look at less, if that took longer

    def __post_init__(self) -> None:
        self._local_modules = LocalModules()
        self._user_names = UserNames(self.namespace, self.hidden)

    def user_names(self) -> list[str]:
        """The names that are the notebook's own, sorted."""
        return sorted(self._user_names.now())

    @property
    def unswept(self) -> bool:
        """Whether a cell ran since the last look at all names."""
        return self._swept < self.clock

    def baseline(self) -> None:
        """What is there now is not the notebook's doing."""
        self._user_names.baseline()
        for provider in self.providers:
            found = self._dump_provider(provider)
            if isinstance(found, Dump):
                self._learn((provider.name,), found)
        for _, group, found in self._new_modules():
            self._learn(group, found)

    def look_at_modules(self) -> None:
        """Read modules of the notebook's own that were loaded: that belongs to who loaded them."""
        self._local_modules.now()

    def before(self, source: str) -> Mapping[str, int]:
        """A cell with this code will run: names that have changed behind our back, and since when.

        Only what the cell may reach is looked at, and only if that was not done after the last
        cell, so that nobody's change is taken for this cell's.
        """
        if not self.unswept:
            return {}
        names = self._user_names.now()
        reached = self._reached(names, source)
        stale = {n for n in (names if reached is None else reached) if self._is_stale(n)}
        return self._look(stale, keep=False).late if stale else {}

    def changes(self, source: str, keep: bool = True, sweep: bool | None = None) -> Changes:
        """What changed since the last call; ``source`` is the code of the cell that ran.

        ``keep``: blobs of what changed are put into the store. ``sweep``: whether all names are
        looked at (None: if it is cheap enough). Raises StorageError.
        """
        self.clock += 1
        names = self._user_names.now()
        reached = self._reached(names, source)
        began = time.monotonic()
        if reached is None or sweep or (sweep is None and self._affordable()):
            found = self._look(names, keep, names if reached is None else reached, source)
            self._swept, self._swept_at = self.clock, time.monotonic()
            self._sweep_seconds = self._swept_at - began
        else:
            found = self._look(reached, keep, reached, source)
            self._sweep_seconds = max(self._sweep_seconds, time.monotonic() - began)
        deleted = sorted(self._seen.keys() - names)
        self.removed(deleted)
        more = self._settings(keep) + self._modules(keep)
        return Changes(found.objects + more, tuple(deleted), found.omitted, found.late)

    def sweep(self, since: int | None = None) -> Mapping[str, int]:
        """Look at all names: those that have changed behind our back, and since when.

        ``since``: only at those that nobody has looked at since this time; the others are as what
        ran until then left them, or that has been told.
        """
        names = self._user_names.now() & self._seen.keys()
        if since is not None:
            return self._look({n for n in names if self._seen[n] < since}, keep=False).late
        late = self._look(names, keep=False).late
        self._swept, self._swept_at = self.clock, time.monotonic()
        return late

    def restored(self, objects: Iterable[StoredObject]) -> None:
        """These were brought back: they are not changes of the next cell."""
        providers = {provider.name: provider for provider in self.providers}
        for stored in objects:
            # What a host makes of a setting is no change of the next cell's either.
            made = None
            if not is_local_module(stored.names[0]):
                made = self._as_restored(stored, providers)
            if isinstance(made, Dump):
                self._learn(stored.names, made)
            else:
                seen = self._snapshot(stored.names, stored.size)
                self._learn_group(
                    stored.names, _Group(stored.digest, stored.size, frozenset(), seen)
                )
            for name in stored.names:
                self._refers[name] = frozenset(stored.refers)
                if not name.startswith(PREFIX):
                    self._note(name)

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
            for table in (self._seen, self._ids, self._atoms, self._refers, self._omitted):
                table.pop(name, None)

    def close(self) -> None:
        """Let go of all objects: nobody asks any more."""
        for table in (self._known, self._group_of, self._users, self._atoms, self._omitted):
            table.clear()
        self._bytes = 0

    # -- which names are looked at -------------------------------------------------------------

    def _reached(self, names: set[str], source: str) -> set[str] | None:
        """The names that code may have changed, or that are new or bound anew; None: all."""
        reached = self._reach(source)
        if reached is None or any(self._is_opaque(name) for name in reached):
            return None
        found = {name for name in names if name in reached or self._is_new(name)}
        todo = list(found)
        while todo:
            group = self._group_of.get(todo.pop())
            if group is None:
                continue
            near = set(group).union(*(self._users.get(m, ()) for m in self._known[group].memory))
            todo += near - found
            found |= near
        return found & names

    def _is_opaque(self, name: str) -> bool:
        """Whether nobody knows what can be reached through a name: it could not be dumped, or it
        leads into a module that the notebook brought along, which may keep what it was given.
        """
        return name in self._omitted or leads_to_local_module(self.namespace.get(name))

    def _is_new(self, name: str) -> bool:
        return self._ids.get(name) != id(self.namespace[name])

    def _is_stale(self, name: str) -> bool:
        return self._seen.get(name, self.clock) < self.clock and not self._is_same_atom(name)

    def _is_same_atom(self, name: str) -> bool:
        return name in self._atoms and self._atoms[name] is self.namespace[name]

    def _affordable(self) -> bool:
        cost = len(self._seen) * _NAME_SECONDS + self._bytes * _BYTE_SECONDS
        # Many small objects take much longer than their bytes: what was seen counts.
        cost = max(cost, self._sweep_seconds)
        spent = time.monotonic() - self._swept_at
        return self.sweep_share > 0 and cost <= _FREE_SECONDS + self.sweep_share * spent

    def _reach(self, source: str) -> set[str] | None:
        """The names that code may reach, through functions too; None: all."""
        names = names_of(source)
        if is_dynamic(names, self._refers):
            return None
        outside = (self._refers.get(provider.name, ()) for provider in self.providers)
        return reach(names.used.union(*outside), self._refers)

    # -- looking -------------------------------------------------------------------------------

    def _look(
        self, wanted: set[str], keep: bool, reached: set[str] | None = None, source: str = ""
    ) -> Changes:
        """Dump these names, learn what is new. What is not ``reached`` changed before: late."""
        dumped, omits = self._dump_groups(wanted)
        objects = []
        late: dict[str, int] = {}
        for group, found in dumped:
            if isinstance(found, _Still):
                continue
            identity = found.identity()
            known = self._known.get(group)
            for name in group:
                self._refers[name] = found.refers
            if known is None or known.identity != identity:
                late.update(self._unforeseen(group, reached))
                objects.append(self._stored(group, found, identity, keep))
            self._learn(group, found)
        unforeseen = [name for name in omits if name not in self._omitted]
        late.update(self._unforeseen(unforeseen, reached))
        omitted = self._report_omitted(omits, wanted, source)
        for name in wanted:
            self._note(name)
        return Changes(tuple(objects), (), omitted, late)

    def _unforeseen(self, group: Iterable[str], reached: set[str] | None) -> dict[str, int]:
        # If the last look was after the cell before, it was this cell, whatever its code says.
        before = self.clock if reached is None else self.clock - 1
        return {
            name: self._seen[name]
            for name in group
            if self._seen.get(name, before) < before and name not in (reached or ())
        }

    def _note(self, name: str) -> None:
        self._ids[name] = id(self.namespace.get(name))
        self._seen[name] = self.clock

    def _dump_names(self, names: Iterable[str]) -> tuple[dict[str, Dump | None], dict[str, Omit]]:
        """For each name its dump, None for an atom that is the one it was, or why there is none."""
        dumps: dict[str, Dump | None] = {}
        omits: dict[str, Omit] = {}
        for name in names:
            value = self.namespace[name]
            if type(value) in ATOMS or isinstance(value, types.ModuleType):
                if (name,) in self._known and self._atoms.get(name, self) is value:
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

    def _dump_groups(
        self, wanted: set[str]
    ) -> tuple[list[tuple[tuple[str, ...], Dump | _Still]], dict[str, Omit]]:
        """Names that share, each group with one dump; and why others could not be dumped.

        A group that is what it was, or a figure's, is dumped once; others name by name, and then
        together.
        """
        whole = self._unchanged_groups(wanted)
        members = {name for group, _ in whole.values() for name in group}
        for group in self._of_figures(wanted - members):
            dumped = self._dump_group(group)
            if isinstance(dumped, Dump):
                whole[group[0]] = group, dumped
                members.update(group)
        dumps, omits = self._dump_names(sorted(wanted - members))
        joined = []
        for group in groups({**dumps, **{name: found for name, (_, found) in whole.items()}}):
            if group[0] not in whole or len(group) > 1:
                # What is whole may share with other names by now; its own still share.
                names = {n for first in group for n in (whole.pop(first, None) or ((first,),))[0]}
                joined.append(tuple(sorted(names)))
        return [*whole.values(), *self._together(joined, dumps, omits)], omits

    def _of_figures(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Names of one figure's parts: whoever has one of them has all of it."""
        found: dict[int, list[str]] = {}
        for name in sorted(names):
            figure = figure_of(self.namespace[name])
            if figure is not None:
                found.setdefault(id(figure), []).append(name)
        return [tuple(group) for group in found.values() if len(group) > 1]

    def _unchanged_groups(
        self, wanted: set[str]
    ) -> dict[str, tuple[tuple[str, ...], Dump | _Still]]:
        """By their first names the groups of which all is there as it was, and dumped."""
        found: dict[str, tuple[tuple[str, ...], Dump | _Still]] = {}
        for group in {self._group_of[name] for name in wanted if name in self._group_of}:
            known = self._known[group]
            if not wanted.issuperset(group) or any(self._is_new(name) for name in group):
                continue
            seen = known.snapshot
            if seen is not None and seen.holds([self.namespace[name] for name in group]):
                found[group[0]] = group, _Still(known, seen, self._refers[group[0]])
                continue
            if len(group) < 2 or known.size < _LARGE:
                continue
            dumped = self._dump_group(group)
            if isinstance(dumped, Dump) and dumped.identity() == known.identity:
                found[group[0]] = group, dumped
        return found

    def _together(
        self,
        joined: Iterable[tuple[str, ...]],
        dumps: Mapping[str, Dump | None],
        omits: dict[str, Omit],
    ) -> list[tuple[tuple[str, ...], Dump]]:
        """One dump for each group. Groups that cannot be dumped are omitted."""
        result = []
        for group in joined:
            single = dumps[group[0]] if len(group) == 1 else None
            if len(group) == 1 and single is None:
                continue  # an atom, unchanged
            if single is not None and not shared_roots(single):
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
        views = shared_roots(first)
        return dump(values, self.context, views) if views else first

    def _settings(self, keep: bool) -> tuple[StoredObject, ...]:
        objects = []
        for provider in self.providers:
            found = self._dump_provider(provider)
            if isinstance(found, Dump):
                group = (provider.name,)
                identity = found.identity()
                known = self._known.get(group)
                if known is None or known.identity != identity:
                    objects.append(self._stored(group, found, identity, keep))
                    self._learn(group, found)
                    self._refers[provider.name] = found.refers
        return tuple(objects)

    def _modules(self, keep: bool) -> tuple[StoredObject, ...]:
        """The modules that the notebook brings along, if loaded since or not what they were."""
        objects = []
        for name, group, found in self._new_modules():
            whole = replace(found, refers=self._local_modules.refers(name))
            objects.append(self._stored(group, whole, found.identity(), keep))
            self._learn(group, found)
        return tuple(objects)

    def _new_modules(self) -> Iterator[tuple[str, tuple[str, ...], Dump]]:
        for name, content in self._local_modules.now().items():
            group = (local_module(name),)
            found = dump({group[0]: content}, self.context)
            known = self._known.get(group)
            if isinstance(found, Dump) and (not known or known.identity != found.identity()):
                yield name, group, found

    def _dump_provider(self, provider: Provider) -> Dump | Omit | None:
        try:
            value = provider.get()
        except Exception as error:
            value = Lost(f"it could not be read: {error}", LIKE_NO_OTHER)
        if value is None and (provider.name,) not in self._known:
            return None
        found = dump({provider.name: value}, self.context)
        if isinstance(found, Dump) and isinstance(value, Lost):
            # Whoever calls a handler or a hook need not name what that fills.
            inside = found.mutables()
            named = {n for n in self._seen if id(self.namespace.get(n)) in inside}
            found = replace(found, refers=found.refers | named)
        return found

    # -- what is known -------------------------------------------------------------------------

    def _learn(self, group: tuple[str, ...], found: Dump) -> None:
        self._learn_group(
            group,
            _Group(found.identity(), found.size, found.memory, self._snapshot(group, found.size)),
        )

    def _snapshot(self, group: tuple[str, ...], size: int) -> Snapshot | None:
        """What is in large plain data; the next look at them is shorter then."""
        if size < _PLAIN or not self.namespace.keys() >= set(group):
            return None
        return snapshot([self.namespace[name] for name in group])

    def _learn_group(self, group: tuple[str, ...], known: _Group) -> None:
        for name in group:
            self._forget(name)
        for name in group:
            self._group_of[name] = group
        for memory in known.memory:
            self._users.setdefault(memory, set()).update(group)
        self._known[group] = known
        self._bytes += known.size

    def _forget(self, name: str) -> None:
        """What was known of a name and of those that shared with it no longer holds."""
        group = self._group_of.get(name)
        if group is None:
            return
        known = self._known.pop(group)
        self._bytes -= known.size
        for member in group:
            del self._group_of[member]
        for memory in known.memory:
            left = self._users[memory].difference(group)
            if left:
                self._users[memory] = left
            else:
                del self._users[memory]

    def _stored(
        self, group: tuple[str, ...], found: Dump, identity: Digest, keep: bool
    ) -> StoredObject:
        blob, buffers = found.digests()
        if keep:
            store = self.context.store
            store.put(found.payload, blob)
            for part, digest in zip(found.buffers, buffers, strict=True):
                store.put(part, digest)
        return StoredObject(
            names=group,
            digest=identity,
            blob=blob,
            buffers=buffers,
            codec=found.codec,
            size=found.size,
            types=tuple(type_name(self.namespace.get(name)) for name in group),
            refers=tuple(sorted(found.refers)),  # some may be bound later
            futures=found.futures,
        )

    def _report_omitted(
        self, omits: Mapping[str, Omit], looked_at: set[str], source: str
    ) -> tuple[Omitted, ...]:
        """Names that are not stored and that this cell made, or may have changed."""
        reached = self._reach(source)
        reported = []
        for name, omit in sorted(omits.items()):
            value = self.namespace[name]
            before = self._omitted.get(name)
            same = before is not None and before[0] is value and before[1] == omit.reason
            if not same or reached is None or name in reached:
                reported.append(Omitted(name, type_name(value), omit.reason))
            self._omitted[name] = (value, omit.reason)
            self._forget(name)
        for name in (self._omitted.keys() & looked_at) - omits.keys():
            del self._omitted[name]
        return tuple(reported)


def is_connection(value: Any) -> bool:
    """Whether this is a Dask client or cluster."""
    return is_connection_type(type_name(value))


def type_name(value: Any) -> str:
    """``module.Class``, without the module for built-in types."""
    kind = type(value)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
