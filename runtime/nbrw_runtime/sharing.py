"""Which names share something mutable, from what their dumps met. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nbrw_runtime.codec import Dump


class Met(Protocol):
    """What was met in objects: see `codec.Dump`."""

    @property
    def roots(self) -> Mapping[int, Any]: ...

    def mutables(self) -> Mapping[int, Any]: ...


def groups(dumps: Mapping[str, Met | None]) -> list[tuple[str, ...]]:
    """The names in groups that share mutable objects or memory, each group sorted.

    None stands for a value that shares nothing.
    """
    leader = {name: name for name in dumps}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    owner: dict[int, str] = {}
    sharers = {name: found for name, found in dumps.items() if found is not None}
    for name, found in sharers.items() if len(sharers) > 1 else ():
        for key in (*found.mutables(), *found.roots):
            other = owner.setdefault(key, name)
            if other != name:
                leader[find(name)] = find(other)
    members: dict[str, list[str]] = {}
    for name in dumps:
        members.setdefault(find(name), []).append(name)
    return [tuple(sorted(names)) for names in members.values()]


def shared_roots(found: Dump) -> frozenset[int]:
    """Ids of the arrays whose memory more than one array of a dump uses."""
    return frozenset(key for key, (_, users) in found.roots.items() if len(users) > 1)
