"""Builds objects from descriptions and says their identities; a program, for another hash seed.

A description is a JSON value ``[kind, ...]``. ``fresh``: every text is an object of its own, and
sets are filled from the end; else equal texts are one object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runtime"))

from nbrw_runtime.codec import Dump, LoadContext, SaveContext, dump, load
from nbrw_runtime.store import MemoryStore

CELL = """
class Thing:
    def __init__(self, inside):
        self.inside = inside
        self.name = 'inside'
    def get(self):
        return self.inside
def maker(inside):
    def get(extra='x', *, more=frozenset({'p', 'q', 'r'})):
        return inside, extra, more, 'inside' in {'a', 'b', 'c', 'd'}
    return get
"""


def namespace():
    """The namespace of a notebook that has run one cell."""
    made = {"__name__": "__main__"}
    exec(compile(CELL, "<cell>", "exec"), made)
    return made


class Builder:
    """Makes objects of descriptions, once."""

    def __init__(self, space, fresh):
        self.space = space
        self.fresh = fresh
        self.same = {}

    def text(self, value):
        """A text, as one object with its equals or not."""
        return "".join(list(value)) if self.fresh else self.same.setdefault(value, value)

    def make(self, described):
        """The object that is described."""
        kind, *rest = described
        if kind == "text":
            return self.text(rest[0])
        if kind == "bytes":
            return self.text(rest[0]).encode()
        if kind == "number":
            return rest[0]
        if kind == "twice":
            one = self.make(rest[0])
            return [one, one]
        if kind == "cycle":
            one = [self.make(part) for part in rest]
            one.append(one)
            return one
        if kind in ("set", "frozenset"):
            parts = [self.make(part) for part in rest]
            found = {"set": set, "frozenset": frozenset}[kind](parts[::-1] if self.fresh else parts)
            if kind == "set" and self.fresh:
                # A table that was larger has another order.
                found |= set(range(1000, 1100))
                found -= set(range(1000, 1100))
            return found
        if kind == "dict":
            return {self.text(key): self.make(part) for key, part in rest}
        if kind == "thing":
            return self.space["Thing"](self.make(rest[0]))
        if kind == "function":
            return self.space["maker"](self.make(rest[0]))
        parts = [self.make(part) for part in rest]
        return tuple(parts) if kind == "tuple" else parts


def identity(described, fresh=False, again=False):
    """The identity of what is described; ``again``: after it was stored and loaded."""
    space = namespace()
    found = dump_of({"x": Builder(space, fresh).make(described)}, space)
    if again:
        space = namespace()
        context = LoadContext(space, MemoryStore())
        found = dump_of(load(found.payload, found.buffers, found.codec, context), space)
    return str(found.identity())


def dump_of(objects, space):
    """The dump of these names."""
    found = dump(objects, SaveContext(space, MemoryStore()))
    assert isinstance(found, Dump), found
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(identity(**json.loads(line)), flush=True)
