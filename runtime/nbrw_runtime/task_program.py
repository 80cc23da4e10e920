"""The entries that a task of a graph comes to, and how its parts refer to each other."""

from __future__ import annotations

import hashlib
import inspect
import marshal
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.names import words_of
from nbrw_runtime.task_modules import PYTHON
from nbrw_runtime.task_refused import Refused

_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
# Another Python may compute otherwise; another way to make fingerprints makes others.
_SALT = f"nbrw task 1 python {PYTHON} ".encode()
_sha256 = hashlib.sha256


@dataclass(frozen=True)
class TaskTypes:
    """The types of Dask's task specification that are understood, by their names there."""

    task: Any
    alias: Any
    data: Any
    reference: Any
    node: Any
    containers: frozenset[type]
    fused: Any


def task_types() -> TaskTypes:
    """Those of the Dask that is installed."""
    from dask import _task_spec as spec

    return TaskTypes(
        spec.Task, spec.Alias, spec.DataNode, spec.TaskRef, spec.GraphNode,
        frozenset({spec.List, spec.Tuple, spec.Set, spec.Dict}), spec._execute_subgraph,
    )  # fmt: skip


@dataclass
class Program:
    """``entries``: digests with references: from 0 on to earlier entries, -1 - n to input n.

    ``last`` is the reference that is the task's result.
    """

    __slots__ = ("changes", "entries", "inputs", "last", "outside", "texts")
    entries: list[tuple[bytes, tuple[int, ...]]]
    last: int
    inputs: tuple[Hashable, ...]
    texts: tuple[str, ...]
    outside: tuple[str, ...]
    changes: bool

    def run(self, inputs: Sequence[bytes]) -> bytes:
        """The digest of the result, with these of the inputs."""
        if self.last < 0:
            return inputs[-1 - self.last]
        done: list[bytes] = []
        for entry, references in self.entries:
            for reference in references:
                entry += done[reference] if reference >= 0 else inputs[-1 - reference]
            done.append(_sha256(entry).digest())
        return done[self.last]


def compile_task(
    node: Any, literal: Callable[..., Any], types: TaskTypes, place: bytes = b""
) -> Program:
    """The program of a node of a graph. Raises Refused, for a kind of task that is unknown too.

    ``place`` sets apart tasks that run elsewhere (`task_place.py`).
    """
    compiler = _Compiler(literal, types, place)
    last = compiler.node(node, compiler.input)
    return Program(
        compiler.entries, last, tuple(compiler.inputs),
        tuple(compiler.texts), tuple(compiler.outside), compiler.changes,
    )  # fmt: skip


class _Compiler:
    def __init__(self, literal: Callable[..., Any], types: TaskTypes, place: bytes) -> None:
        self.literal = literal
        self.place = place
        self.types = types
        self.entries: list[tuple[bytes, tuple[int, ...]]] = []
        self.inputs: dict[Hashable, int] = {}
        self.texts: dict[str, None] = {}
        self.outside: dict[str, None] = {}
        self.changes = False
        self._words: set[str] = set()
        self._strings: list[str] = []
        self._held: list[tuple[Any, ...]] = []  # by each literal of the entry that is being made

    def input(self, key: Hashable) -> int:
        """The reference to another task of the graph."""
        number = self.inputs.setdefault(key, len(self.inputs))
        return -1 - number

    def node(self, node: Any, resolve: Callable[[Hashable], int]) -> int:
        """The reference to what a node comes to."""
        types = self.types
        kind = type(node)
        if kind is types.alias:
            return resolve(node.target)
        if kind is types.data:
            return self._data(node.value, "value")
        if kind is types.task and node.func is types.fused:
            return self._fused(node, resolve)
        out = bytearray(self.place)
        slots: dict[int, int] = {}
        held, self._held = self._held, []
        self._task(node, out, slots, resolve)
        out += _shared(self._held)
        self._held = held
        return self._entry(out, slots)

    def _data(self, value: Any, place: int | str | None) -> int:
        out = bytearray(b"data")
        held, self._held = self._held, []
        self._value(value, out, place)
        self._held = held
        return self._entry(out, {})

    def _entry(self, out: bytearray, slots: dict[int, int]) -> int:
        self.entries.append((_sha256(_SALT + out).digest(), tuple(slots)))
        return len(self.entries) - 1

    def _task(
        self, node: Any, out: bytearray, slots: dict[int, int], resolve: Callable[[Hashable], int]
    ) -> None:
        kind = type(node)
        if kind in self.types.containers:
            out += b"container" + marshal.dumps((kind.__name__, len(node.args)), 2)
            for value in node.args:
                self._argument(value, out, slots, resolve, node, None)
            return
        if kind is not self.types.task:
            shuffle = kind.__module__.startswith("distributed.shuffle")
            raise Refused(
                "part of a P2P shuffle, whose tasks keep state on the workers"
                if shuffle
                else f"a task of a kind that is unknown here (`{kind.__name__}`)"
            )
        out += b"task" + marshal.dumps((len(node.args), tuple(node.kwargs)), 2)
        try:
            found = self.literal(node.func, not node.args and not node.kwargs)
        except Refused as error:
            name = getattr(node.func, "__name__", type(node.func).__name__)
            held = f" {error.through}, which is" if error.through else ""
            error.through = f"its function `{name}` uses{held}"
            raise
        before, self._words, self._strings = (self._words, self._strings), set(), []
        self._add(found, out)
        self._strings.clear()  # its own constants are known to have been looked at
        for number, value in enumerate(node.args):
            self._argument(value, out, slots, resolve, node, number)
        for name, value in node.kwargs.items():
            self._argument(value, out, slots, resolve, node, name)
        if self._words:
            self._check_words()
        self._words, self._strings = before

    def _argument(
        self, value: Any, out: bytearray, slots: dict[int, int],
        resolve: Callable[[Hashable], int], node: Any, place: int | str | None,
    ) -> None:  # fmt: skip
        types = self.types
        if isinstance(value, types.reference):
            self._slot(resolve(value.key), out, slots)
        elif isinstance(value, types.node):
            kind = type(value)
            if kind is types.alias:
                self._slot(resolve(value.target), out, slots)
            elif kind is types.data:
                self._literal(value.value, out, node, place)
            elif kind is types.task and value.func is types.fused:
                self._slot(self._fused(value, resolve), out, slots)
            else:
                self._task(value, out, slots, resolve)
        else:
            self._literal(value, out, node, place)

    def _slot(self, reference: int, out: bytearray, slots: dict[int, int]) -> None:
        out += b"input" + marshal.dumps(slots.setdefault(reference, len(slots)), 2)

    def _literal(self, value: Any, out: bytearray, node: Any, place: int | str | None) -> None:
        try:
            self._value(value, out, place)
        except Refused as error:
            name = argument_name(node, place)
            verb = "is" if error.obj is value else "holds"
            through = f"{error.through}, which is" if error.through else ""
            error.through = " ".join(filter(None, (f"its {name} {verb}", through)))
            raise

    def _value(self, value: Any, out: bytearray, place: int | str | None) -> None:
        if type(value) in _ATOMS and type(value) is not str:
            out += b"atom" + marshal.dumps(value, 2)
            return
        self._add(self.literal(value), out)

    def _add(self, found: Any, out: bytearray) -> None:
        out += b"value" + found.digest
        if found.words:
            self._words.update(found.words)
        if found.strings:
            self._strings += found.strings
        if found.objects:
            self._held.append(found.objects)
        if found.texts:
            self.texts.update(dict.fromkeys(found.texts))
        if found.outside:
            self.outside.update(dict.fromkeys(found.outside))
        self.changes |= found.changes

    def _check_words(self) -> None:
        # `frame.query(text)` finds the global names that the text mentions.
        for text in self._strings:
            named = sorted(words_of(text) & self._words)
            if named:
                raise Refused(f"code that may look up `{named[0]}`, named in the text {text!r}")

    def _fused(self, node: Any, resolve: Callable[[Hashable], int]) -> int:
        inner, last, keys, *values = node.args
        given = dict(zip(keys, values, strict=True))
        done: dict[Hashable, int] = {}

        def resolve_inside(key: Hashable) -> int:
            known = done.get(key)
            if known is None:
                if key in given:
                    known = self._given(given[key], resolve)
                elif key in inner:
                    known = self.node(inner[key], resolve_inside)
                else:
                    raise Refused("a fused task that refers to what is not in it")
                done[key] = known
            return known

        return resolve_inside(last)

    def _given(self, value: Any, resolve: Callable[[Hashable], int]) -> int:
        if isinstance(value, self.types.reference):
            return resolve(value.key)
        if isinstance(value, self.types.node):
            return self.node(value, resolve)
        return self._data(value, None)


def _shared(held: list[tuple[Any, ...]]) -> bytes:
    """Which objects are in several literals of a task: a change of one shows in the other.

    Empty if there are none, as usual.
    """
    if len(held) < 2:
        return b""
    *rest, most = sorted(held, key=len)
    few = [id(obj) for objects in rest for obj in objects]
    if len(few) == len({*few}) and {*few}.isdisjoint(map(id, most)):
        return b""
    places: dict[int, list[tuple[int, int]]] = {}
    for literal, objects in enumerate(held):
        for number, obj in enumerate(objects):
            places.setdefault(id(obj), []).append((literal, number))
    return b"shared" + marshal.dumps([found for found in places.values() if len(found) > 1], 2)


def argument_name(node: Any, place: int | str | None) -> str:
    """How to name an argument of a task to a person."""
    if place is None:
        return "value"
    if isinstance(place, str):
        return f"argument `{place}`"
    try:
        parameters = list(inspect.signature(node.func).parameters.values())
        taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, _EITHER)]
        return f"argument `{taken[place]}`"
    except (TypeError, ValueError, IndexError):
        return f"argument {place + 1}"
