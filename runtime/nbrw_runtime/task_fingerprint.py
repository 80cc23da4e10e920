"""Fingerprints of the tasks of a Dask graph: equal ones promise equal results.

A task's own part (function and literals, inputs as ordinals) is an *entry*; its fingerprint is the
entry with the fingerprints of its inputs, in order. A fused task is as many entries as were fused,
so its fingerprint is the one that its last part had alone. Keys say nothing: Dask draws them anew.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.digest import Digest
from nbrw_runtime.task_code import HELD
from nbrw_runtime.task_modules import Modules
from nbrw_runtime.task_pins import Pins
from nbrw_runtime.task_place import Start
from nbrw_runtime.task_program import Program, compile_task, task_types
from nbrw_runtime.task_refused import Refused
from nbrw_runtime.task_values import Walker

Key = Hashable
_MANY = 1000  # functions that are remembered
_TOKENS = tuple(hashlib.sha256(f"input {number}".encode()).digest() for number in range(64))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """``digest``: own code and literals, and the fingerprints of the inputs in order; ``local``:
    with ordinals in their place, for a look-up by the contents of the inputs.

    ``inputs``: keys, by ordinal. ``texts``: literals that may name a file: whoever uses the
    fingerprint adds the contents of those that do. ``outside``: what the code draws from beside its
    inputs, ``chance (numpy.random.rand)``: two runs may differ, and so may all that uses them.
    ``changes``: code of the notebook in it may change an input in place.
    """

    digest: Digest
    local: Digest
    inputs: tuple[Key, ...]
    texts: tuple[str, ...]
    outside: tuple[str, ...]
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task without fingerprint. ``reason``: "its argument `x` is a generator"."""

    reason: str


@dataclass(frozen=True, slots=True)
class Literal:
    """What a literal of a task comes to. ``strings``: all texts in it; ``texts``: those that may
    name a file; ``words``: names of globals that code in it looks up by texts; ``objects``: those
    in it that others may notice they share, in an order that the content gives.
    """

    digest: bytes
    texts: tuple[str, ...]
    outside: tuple[str, ...]
    words: frozenset[str]
    strings: tuple[str, ...]
    changes: bool
    objects: tuple[Any, ...] = ()


class Fingerprinter:
    """Makes fingerprints, for one client of one namespace.

    Nothing is believed from one call to the next that could have changed between them: the
    functions of the notebook are looked at anew, as their globals may be others (`task_pins.py`).
    ``start`` is where the kernel began: tasks that run from another place are others.
    """

    def __init__(
        self, namespace: Mapping[str, Any], directory: str, start: Start | None = None
    ) -> None:
        self._namespace = namespace
        self._start = start
        self._modules = Modules(directory)
        self._functions = _Functions(self._modules, namespace)

    def digest_of_module(self, name: str) -> str:
        """The digest of the file of a module that the notebook brings along; another text, if it
        has none, or has changed since it was loaded.
        """
        return self._modules.digest_of_file(name)

    def fingerprints(
        self,
        graph: Mapping[Key, Any],
        known: Mapping[Key, Fingerprint | Refusal],
        occurrences: Mapping[Key, int] | None = None,
        around: str = "",
        here: bool = False,
    ) -> dict[Key, Fingerprint | Refusal]:
        """The fingerprint of each task of a graph of ``dask._task_spec``, or why it has none.

        ``known``: those of futures, which are inputs and not in the graph. ``occurrences`` sets
        tasks apart that draw from outside and are equal otherwise: the how-manieth it is.
        ``around`` tells where they run from elsewhere, if what they come to may depend on it;
        ``here``: they run in this process, and find what caches of functions hold.
        """
        self._modules.begin()
        call = _Call(self._modules, self._namespace, self._functions, self._place())
        occurrences = occurrences or {}
        types = task_types()
        found: dict[Key, Fingerprint | Refusal] = {}
        programs: dict[Key, Program | Refusal] = {}
        for start in graph:
            todo = [start]
            while todo:
                key = todo[-1]
                if key in found:
                    todo.pop()
                    continue
                program = programs.get(key)
                if program is None:
                    program = programs[key] = call.program(graph[key], types)
                    if isinstance(program, Program):
                        below = [k for k in program.inputs if k in graph and k not in found]
                        if any(k in programs for k in below):
                            program = programs[key] = Refusal("it depends on itself")
                        elif below:
                            todo += below
                            continue
                todo.pop()
                del programs[key]
                found[key] = _finished(program, found, known, occurrences.get(key), around, here)
        return found

    def of_class(self, kind: type) -> str:
        """The fingerprint of a class of the notebook. Raises Refused."""
        self._modules.begin()
        return _Call(self._modules, self._namespace).literal(kind).digest.hex()

    def of_value(self, value: Any) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The digest of a value, what code in it takes from outside, and texts in it that may name
        files. Raises Refused.
        """
        self._modules.begin()
        found = _Call(self._modules, self._namespace).literal(value)
        return found.digest.hex(), _elsewhere(found.outside), found.texts

    def ingredients(self, node: Any, graph: Mapping[Key, Any] | None = None) -> dict[str, str]:
        """What a task's fingerprint is made of, by name, for a person; `task_explain.py`.

        ``graph``: the one that the task is of, if literals stand in it by themselves.
        """
        from nbrw_runtime.task_ingredients import ingredients_of

        self._modules.begin()
        return ingredients_of(node, self._modules, self._namespace, graph or {}) | self._place()

    def _place(self) -> dict[str, str]:
        return self._start.changed() if self._start is not None else {}


class _Functions:
    """What functions of the notebook came to in calls before, as long as they are what they were.

    A function is remembered when it is met for the second time; one that cannot be is not tried
    again.
    """

    def __init__(self, modules: Modules, namespace: Mapping[str, Any]) -> None:
        self._modules = modules
        self._namespace = namespace
        self._met: dict[int, bool] = {}  # ids; whether to remember it may be worth a try
        self._known: dict[tuple[int, bool], tuple[types.FunctionType, Literal, Pins]] = {}

    def known(self, function: types.FunctionType, bare: bool) -> Literal | None:
        """What it came to, if all that it depends on is as it was."""
        found = self._known.get((id(function), bare))
        if found is None or found[0] is not function or not found[2].hold():
            return None
        return found[1]

    def pins(self, function: types.FunctionType) -> Pins | None:
        """To be had before a function is looked at; None: it is not to be remembered."""
        number = id(function)
        if not self._met.get(number):
            if len(self._met) > _MANY:
                self._met.clear()
            self._met.setdefault(number, True)
            return None
        pins = Pins(self._modules, self._namespace)
        self._met[number] = pins.add(function)
        return pins if self._met[number] else None

    def remember(
        self, function: types.FunctionType, bare: bool, made: Literal, pins: Pins | None
    ) -> None:
        """What it came to, unless something was changed meanwhile."""
        if pins is not None and pins.hold():
            if len(self._known) > _MANY:
                self._known.clear()
            self._known[id(function), bare] = (function, made, pins)


class _Call:
    """One call for fingerprints: within it an object is looked at once."""

    def __init__(
        self,
        modules: Modules,
        namespace: Mapping[str, Any],
        functions: _Functions | None = None,
        place: Mapping[str, str] | None = None,
    ) -> None:
        self._place = repr(sorted(place.items())).encode() if place else b""
        self._modules = modules
        self._namespace = namespace
        self._functions = functions
        self._known: dict[int, tuple[Any, Literal]] = {}
        self._bare: dict[int, tuple[Any, Literal]] = {}  # of functions called without an argument

    def literal(self, obj: Any, bare: bool = False) -> Literal:
        """The digest of an object of a task that is not a reference. Raises Refused."""
        met = self._bare if bare else self._known
        known = met.get(id(obj))
        if known is not None:
            return known[1]
        if type(obj) is types.FunctionType and self._functions is not None:
            made = self._of_function(obj, bare, self._functions)
        else:
            made = self._made(Walker(self._modules, self._namespace, self._code), obj, bare)
        met[id(obj)] = (obj, made)  # kept, so that its id stays its own
        return made

    def _of_function(
        self, function: types.FunctionType, bare: bool, functions: _Functions
    ) -> Literal:
        known = functions.known(function, bare)
        if known is not None:
            return known
        pins = functions.pins(function)
        made = self._made(Walker(self._modules, self._namespace, self._code), function, bare)
        functions.remember(function, bare, made, pins)
        return made

    def _code(self, obj: Any) -> Literal:
        known = self._known.get(id(obj))
        if known is None:
            made = self._made(Walker(self._modules, self._namespace), obj, False)
            known = self._known[id(obj)] = (obj, made)
        return known[1]

    def _made(self, walker: Walker, obj: Any, bare: bool) -> Literal:
        try:
            walker.walk(obj)
            if bare:
                walker.called_bare(obj)
        except RecursionError:
            raise Refused("nested too deeply", obj) from None
        return Literal(
            hashlib.sha256(walker.out).digest(),
            walker.file_texts(),
            tuple(walker.outside),
            frozenset(walker.reads_frame),
            tuple(walker.texts),
            walker.changes,
            walker.objects(),
        )

    def program(self, node: Any, types: Any) -> Program | Refusal:
        """The program of a node, or why there is none."""
        try:
            return compile_task(node, self.literal, types, self._place)
        except Refused as error:
            return Refusal(_phrase(error))
        except RecursionError:
            return Refusal("it is nested too deeply")
        except Exception as error:  # an object whose methods fail: not this task, then
            return Refusal(f"looking at it raised {type(error).__name__}: {error}")


def _phrase(error: Refused) -> str:
    return f"{error.through} {error}" if error.through else f"it is {error}"


def _finished(
    program: Program | Refusal,
    found: Mapping[Key, Fingerprint | Refusal],
    known: Mapping[Key, Fingerprint | Refusal],
    occurrence: int | None,
    around: str = "",
    here: bool = False,
) -> Fingerprint | Refusal:
    if isinstance(program, Refusal):
        return program
    inputs = []
    for key in program.inputs:
        of_input = found.get(key) or known.get(key)
        if of_input is None:
            return Refusal(f"it depends on `{key}`, which is not known")
        if isinstance(of_input, Refusal):
            if of_input.reason.startswith("it depends on `"):
                return of_input
            return Refusal(f"it depends on `{key}`, which has no fingerprint: {of_input.reason}")
        inputs.append(bytes.fromhex(of_input.digest.hex))
    tokens = _TOKENS if len(inputs) <= len(_TOKENS) else _tokens(len(inputs))
    deep, local = program.run(inputs), program.run(tokens)
    if occurrence is not None or around:
        mark = f"occurrence {occurrence} {around}".rstrip().encode()
        deep, local = hashlib.sha256(mark + deep).digest(), hashlib.sha256(mark + local).digest()
    return Fingerprint(
        Digest("sha256:" + deep.hex()),
        Digest("sha256:" + local.hex()),
        program.inputs,
        program.texts,
        program.outside if here else _elsewhere(program.outside),
        program.changes,
    )


def _elsewhere(outside: tuple[str, ...]) -> tuple[str, ...]:
    """What is left of it in another process, whose caches are its own."""
    return tuple(phrase for phrase in outside if not phrase.startswith(HELD))


def _tokens(count: int) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(f"input {number}".encode()).digest() for number in range(count))


__all__ = ["Fingerprint", "Fingerprinter", "Refusal"]
