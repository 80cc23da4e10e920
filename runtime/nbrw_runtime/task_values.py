"""Values in a task's fingerprint, by content: equal ones give equal bytes in any process.

Neither identity nor the hash seed matters: sets are sorted, texts are compared as texts, arrays by
what is in them. That two places hold the same mutable object does matter, and so does the order of
a dictionary.
"""

from __future__ import annotations

import copyreg
import hashlib
import marshal
import operator
import re
import types
from collections.abc import Callable
from typing import Any

from nbrw_runtime import task_arrays, task_builtins, task_classes, task_code
from nbrw_runtime.mutables import is_mutable
from nbrw_runtime.task_modules import Modules
from nbrw_runtime.task_refused import Refused, refused_kind

_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})
# What draws a token for itself in each process, and the attributes that are its content.
_WITHOUT_TOKEN: dict[tuple[str, str], tuple[str, ...]] = {
    ("dask.utils", "SerializableLock"): (),
    ("xarray.backends.file_manager", "CachingFileManager"): (
        "_opener",
        "_args",
        "_mode",
        "_kwargs",
    ),
}
_FILE = re.compile(r"[^\n\0]*(?:/|\.\w{1,9}\Z)[^\n\0]*\Z")


class Walker:
    """Writes one value, and all that it leads to, into ``out``.

    ``outside``, ``texts`` and ``changes`` gather what the fingerprint's fields of that name hold.
    ``known`` gives the digest of code that stands for itself: it is used but for code inside other
    code. ``record``, if given, gets the ingredients by name.
    """

    def __init__(
        self,
        modules: Modules,
        namespace: Any = None,
        known: Callable[[Any], Any] | None = None,
        record: dict[str, str] | None = None,
    ) -> None:
        self.modules = modules
        self.namespace = namespace
        self.known = known
        self.record = record
        self.out = bytearray()
        self.outside: dict[str, None] = {}
        self.changes = False
        self.texts: list[str] = []
        self.reads_frame: dict[str, None] = {}
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []
        self._inside: list[Any] = []  # objects in code that stands for itself
        self._depth = 0

    def walk(self, obj: Any) -> None:
        """Write an object. Raises Refused."""
        kind = type(obj)
        if kind in _ATOMS:
            if kind is str:
                self.texts.append(obj)
            self.out += marshal.dumps(obj, 2)
            return
        handler = _HANDLERS.get(kind)
        if handler is None and isinstance(obj, type):
            handler = task_classes.add_class
        if handler is None:
            handler = task_arrays.handler(kind)
        if handler is None:
            self._object(obj)
        elif self.known is not None and self._depth == 0 and _is_code(obj):
            self._code_by_digest(self.known(obj))
        else:
            handler(self, obj)

    def text(self, *words: str) -> None:
        """Write words which tell what follows."""
        self.out += marshal.dumps(words, 2)

    def again(self, obj: Any) -> bool:
        """Whether it was met before: then its number is written; else it gets one."""
        number = self._numbers.get(id(obj))
        if number is not None:
            self.text("again", str(number))
            return True
        self._numbers[id(obj)] = len(self._numbers)
        self._alive.append(obj)  # or its id would be another's
        return False

    def within(self) -> _Within:
        """While the inside of a function or a class is written."""
        return _Within(self)

    def named(self, kind: str, name: str, value: Any) -> None:
        """Write the value of a name."""
        try:
            self.walk(value)
        except Refused as error:
            error.through = error.through or f"the {kind} `{name}`"
            raise
        if self.record is not None:
            self._record_value(kind, name, value)

    def guarded(self, value: Any) -> None:
        """Write a value, or only its type if it cannot be."""
        size, count = len(self.out), len(self._numbers)
        try:
            self.walk(value)
        except Refused:
            del self.out[size:]
            # What was not written must not be referred to.
            self._numbers = {key: n for key, n in self._numbers.items() if n < count}
            self.text("some", f"{type(value).__module__}.{type(value).__qualname__}")

    def parts(self, values: Any) -> None:
        """Write values whose order does not matter: the digest of each by itself, and then which
        objects are in several of them. Who follows refers to those objects as to others.
        """
        before = len(self._numbers)
        found = []
        for value in values:
            inner = Walker(self.modules, self.namespace, self.known)
            inner._depth = self._depth
            inner._numbers = dict(self._numbers)
            inner.walk(value)
            self._alive += inner._alive
            self._inside += inner._inside
            self.outside.update(inner.outside)
            self.changes |= inner.changes
            self.texts += inner.texts
            self.reads_frame.update(inner.reads_frame)
            met = [*inner._numbers][before:] if len(inner._numbers) > before else []
            found.append((hashlib.sha256(inner.out).digest(), met))
        found.sort(key=operator.itemgetter(0))
        for digest, _ in found:
            self.out += digest
        for part, (_, met) in enumerate(found):
            for place, number in enumerate(met):
                if number in self._numbers:
                    self.text("one", str(part), str(place), str(self._numbers[number]))
                else:
                    self._numbers[number] = len(self._numbers)

    def note(self, kind: str, name: str, value: Callable[[str], str]) -> None:
        """Record an ingredient that is a module."""
        if self.record is not None:
            words = value(name)
            # Of one distribution the version is enough.
            short = words.rpartition("-")[2] if kind == "library" and " " not in words else words
            self.record.setdefault(f"{kind} {name}", short)

    def note_text(self, kind: str, name: str, value: str) -> None:
        """Record an ingredient."""
        if self.record is not None:
            self.record.setdefault(f"{kind} {name}", value)

    def note_function(self, function: types.FunctionType) -> None:
        """Record a function's own code."""
        if self.record is not None:
            code = task_code.facts_of(function.__code__).canonical
            kind = "function" if self._depth == 1 else "helper"
            self.note_text(kind, function.__qualname__.replace("<locals>.", ""), _short(code))

    def note_class(self, cls: type) -> None:
        """Record that a class is used; its members follow."""
        self.note_text("class", cls.__name__, " ".join(base.__name__ for base in cls.__bases__))

    def called_bare(self, function: Any) -> None:
        """Note that a function is called without an argument."""
        path = task_code.path_of(function)
        kind = task_code.kind_of_path(path, True) if task_code.importable_name(function) else ""
        if kind:
            self.outside[f"{kind} ({path})"] = None

    def _code_by_digest(self, found: Any) -> None:
        self.out += b"C" + found.digest
        self._inside += found.objects
        self.texts += found.texts
        self.outside.update(dict.fromkeys(found.outside))
        self.changes |= found.changes
        self.reads_frame.update(dict.fromkeys(found.words))

    def objects(self) -> tuple[Any, ...]:
        """What was met that others may notice they share, in an order that the content gives."""
        numbered = {id(obj): obj for obj in self._alive if id(obj) in self._numbers}
        known = {number: numbered[number] for number in self._numbers}
        known.update((id(obj), obj) for obj in self._inside)
        return tuple(known.values())

    def file_texts(self) -> tuple[str, ...]:
        """Those of the texts met that may name a file."""
        return tuple(dict.fromkeys(t for t in self.texts if len(t) < 4096 and _FILE.match(t)))

    def _record_value(self, kind: str, name: str, value: Any) -> None:
        if _is_code(value) or isinstance(value, types.ModuleType):
            return  # it has recorded itself
        self.note_text(kind, name, described(value, self.beside()))

    def beside(self) -> Walker:
        """A walker for a value by itself."""
        return Walker(self.modules, self.namespace)

    def _object(self, obj: Any) -> None:
        words = refused_kind(obj)
        if words:
            raise Refused(words, obj)
        if is_mutable(obj) and self.again(obj):
            return
        kind = type(obj)
        if kind.__module__.startswith("numba.") and hasattr(obj, "py_func"):
            self.walk(kind)
            self.walk((obj.py_func, getattr(obj, "targetoptions", None)))
            types = getattr(obj, "locals", None)
            if types:
                self.text("types", *(f"{name} {types[name]}" for name in sorted(types)))
            if not getattr(obj, "_can_compile", True):  # else they are made as it is called
                self.text("signatures", *map(str, getattr(obj, "nopython_signatures", ())))
            return
        parts_of = _WITHOUT_TOKEN.get((kind.__module__, kind.__name__))
        if parts_of is not None:
            self.walk(kind)
            self.walk([getattr(obj, name) for name in parts_of])
            return
        reduced: Any
        reduce = copyreg.dispatch_table.get(kind)
        try:
            reduced = reduce(obj) if reduce is not None else obj.__reduce_ex__(4)
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"of type `{kind.__name__}`, which cannot be pickled", obj) from error
        if isinstance(reduced, str):
            self._by_name(obj, reduced)
            return
        self._alive.append(reduced)
        self.text("object")
        self.walk(kind)
        self.walk(reduced[0])
        self.items(reduced[1])
        parts: list[Any] = [*reduced[2:5], None, None, None]
        state, items, pairs = parts[:3]
        self.walk(state)
        self.walk(None if items is None else list(items))
        self.walk(None if pairs is None else [list(pair) for pair in pairs])
        if len(reduced) > 5:
            self.walk(reduced[5])

    def _by_name(self, obj: Any, name: str) -> None:
        module = getattr(obj, "__module__", None) or type(obj).__module__
        kind = type(obj)
        if kind.__module__ == "typing" and kind.__name__ in ("TypeVar", "ParamSpec"):
            self.text("type variable", kind.__name__, name)
            self.walk((getattr(obj, "__bound__", None), getattr(obj, "__constraints__", ())))
            return
        if module == "__main__" or not task_code.found_in(module, name, obj):
            raise Refused(f"of type `{type(obj).__name__}`, known by a name of the notebook", obj)
        self.walk(type(obj))
        if self.modules.is_own(module):
            self.text("name", name, self.modules.content(module))
        else:
            task_code.add_installed(self, obj, module, f"{module}:{name}")

    def items(self, values: Any) -> None:
        """Write the number and content of a sequence's items."""
        if _ATOMS.issuperset(map(type, values)):
            if str in map(type, values):
                self.texts += [v for v in values if type(v) is str]
            self.out += b"A" + marshal.dumps(tuple(values), 2)
            return
        self.out += b"I" + marshal.dumps(len(values), 2)
        for value in values:
            self.walk(value)


class _Within:
    """Of a walker; what `contextlib` would make takes three times as long."""

    __slots__ = ("_walker",)

    def __init__(self, walker: Walker) -> None:
        self._walker = walker

    def __enter__(self) -> None:
        self._walker._depth += 1

    def __exit__(self, *error: object) -> None:
        self._walker._depth -= 1


def _is_code(obj: Any) -> bool:
    return isinstance(obj, (types.FunctionType, type))


def described(value: Any, walker: Walker) -> str:
    """A value in a few words: its ``repr`` if it is small and plain, else its type and digest,
    for which ``walker``, a new one, is used.
    """
    text = repr(value) if _is_plain(value) else task_code.importable_name(value)
    if text and len(text) <= 60:
        return text
    try:
        walker.walk(value)
    except Refused as error:
        return f"{type(value).__name__}, {error}"
    return f"{type(value).__name__} {_short(walker.out)}"


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, dict) and len(value) < 10:
        parts = [*value, *value.values()] if type(value) is dict else value
        return all(type(part) in _ATOMS for part in parts)
    return type(value) in _ATOMS and not (isinstance(value, (str, bytes)) and len(value) > 60)


def _short(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


_HANDLERS: dict[type, Callable[[Any, Any], None]] = {
    **task_code.HANDLERS,
    **task_builtins.HANDLERS,
    **task_classes.HANDLERS,
    type: task_classes.add_class,
}
__all__ = ["Walker", "described"]
