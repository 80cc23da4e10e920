"""The table of fingerprint cases: two cells, and whether their tasks are the same, and why.

A cell binds ``task``: a function (called with 1), a value (a literal argument), a Dask collection,
or a graph. ``want`` is "same", "different", or the beginning of the reason of a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """See above. ``outside``: a word that what the code draws from outside must mention."""

    name: str
    before: str
    after: str
    want: str
    why: str
    files: dict = field(default_factory=dict)
    files_after: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    versions_after: dict = field(default_factory=dict)
    outside: str = ""


CASES: list[Case] = []


def case(name, before, after, want, why, **more):
    """Add one. An empty ``after`` is the same cell once more."""
    CASES.append(Case(name, before, after or before, want, why, **more))


def edit(name, source, old, new, want, why, **more):
    """Add one whose cells differ by one replacement."""
    assert old in source, name
    case(name, source, source.replace(old, new), want, why, **more)
