"""Objects of a notebook to bytes and back, or why not. See `docs/state.md`.

One pass of cloudpickle's C pickler, protocol 5, with large buffers out of band. How each kind of
object is reduced is decided by its type (`codec_kinds.py`). dill serves what the C pickler cannot.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from nbrw_runtime import codec_kinds, codec_refused
from nbrw_runtime.codec_refused import Unstorable
from nbrw_runtime.codec_singletons import held_apart
from nbrw_runtime.digest import Digest, digest_bytes, digest_json
from nbrw_runtime.errors import RestoreError
from nbrw_runtime.lost_outline import outline
from nbrw_runtime.mutables import inside_containers, is_leaf, is_mutable
from nbrw_runtime.store import Store
from nbrw_runtime.versions import PREFIX

__all__ = ["Dump", "LoadContext", "Omit", "SaveContext", "Unstorable", "dump", "load"]

_IN_BAND = 32768  # bytes; smaller buffers stay in the pickle, as a blob each would cost more
_MANY = 100_000  # identities that are remembered


@dataclass(frozen=True)
class Omit:
    """Why an object cannot be stored, as a sentence for the user."""

    reason: str


@dataclass
class SaveContext:
    """What reducers may use while a namespace is stored, and what they report.

    ``namespace`` is the live one. ``futures`` collects the blobs of Dask results inside.
    """

    namespace: dict[str, Any]
    store: Store
    store_root: Path | None = None
    futures: list[Digest] = field(default_factory=list)


@dataclass(frozen=True)
class LoadContext:
    """What constructors may use while objects are brought back.

    ``made`` are the classes that this load has made, by the name they were stored under;
    ``expected`` weak references that must lead somewhere when it is done.
    """

    namespace: dict[str, Any]
    store: Store
    repeat: bool = True
    made: dict[str, Any] = field(default_factory=dict)
    expected: list[Any] = field(default_factory=list)


@dataclass
class Dump:
    """Objects as bytes. ``memo`` gives the mutable objects inside by their ids, and keeps all that
    was met alive so that ids stay theirs. ``roots`` maps the id of an array that owns memory to
    that array and the ids of the arrays that use it; ``memory`` are the ids of all owners of
    memory, also of what is pickled apart.
    """

    payload: bytes
    buffers: list[memoryview]
    memo: Callable[[], dict[int, Any]]
    roots: dict[int, tuple[Any, set[int]]]
    refers: frozenset[str]
    futures: tuple[Digest, ...]
    codec: str = "pickle"
    memory: frozenset[int] = frozenset()
    #: The canonical pickle of the same objects; None if they are not what they were.
    canonical: Callable[[], bytes | None] | None = None
    _digests: tuple[Digest, tuple[Digest, ...]] | None = None
    _mutables: dict[int, Any] | None = None

    def mutables(self) -> dict[int, Any]:
        """The mutable objects inside, by their ids. To be asked while they are as they were."""
        if self._mutables is None:
            self._mutables = self.memo()
        return self._mutables

    def digests(self) -> tuple[Digest, tuple[Digest, ...]]:
        """Digests of payload and buffers, computed once."""
        if self._digests is None:
            parts = tuple(digest_bytes(part) for part in self.buffers)
            self._digests = digest_bytes(self.payload), parts
        return self._digests

    def identity(self) -> Digest:
        """Equal for equal content, in whatever process, as far as that can be told; never equal
        for other content. To be asked while the objects are as they were.
        """
        payload, buffers = self.digests()
        parts = [str(part) for part in buffers]
        here = digest_json([self.codec, str(payload), parts])
        if self.canonical is None:
            return here
        known = _identities.get(here)
        if known is None:
            text = self.canonical()
            known = here if text is None else digest_json(["equal", str(digest_bytes(text)), parts])
            if len(_identities) > _MANY:
                _identities.clear()
            _identities[here] = known
        return known

    @property
    def size(self) -> int:
        """Bytes altogether."""
        return len(self.payload) + sum(part.nbytes for part in self.buffers)


#: What was found for a pickle in this process: equal pickles have equal canonical ones.
_identities: dict[Digest, Digest] = {}


def _taker(buffers: list[memoryview], in_band: list[int]) -> Callable[[pickle.PickleBuffer], bool]:
    def take(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _IN_BAND:
            in_band[0] += raw.nbytes
            return True
        buffers.append(raw)
        return False

    return take


class StatePickler(cloudpickle.Pickler):
    """The pickler; one instance for one dump."""

    canonical = False

    def __init__(
        self, stream: io.BytesIO, context: SaveContext, keep_views: frozenset[int] = frozenset()
    ) -> None:
        buffers: list[memoryview] = []
        in_band = [0]
        # A method of this object would make a cycle of it. When the garbage collector finds a
        # memory view in a cycle, Python (3.11) may clear it twice, and crash.
        super().__init__(stream, protocol=5, buffer_callback=_taker(buffers, in_band))
        self.context = context
        self.keep_views = keep_views
        self.buffers = buffers
        self.in_band = in_band  # bytes of buffers that are in the pickle
        self.roots: dict[int, tuple[Any, set[int]]] = {}
        self.memory: set[int] = set()
        self.refers: set[str] = set()
        self.futures: dict[Digest, None] = {}  # their values, in order
        self.apart: dict[int, Any] = {}  # arrays that share with nothing, though their memory does
        self.one_for_all: set[int] = set()  # ids of objects that every process has one of
        self.weak: dict[int, Any] = {}  # objects that are referred to weakly
        self.kept: dict[Any, Any] = {}  # what stands for parts of objects, by what it stands for
        self.follow_weak = True
        self.only_leaves = True  # beside Python's own containers
        self.leaves: dict[int, Any] = {}  # of these, those that are mutable
        self._handlers: dict[type, codec_kinds.Handler | None] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if self.only_leaves:
            self.only_leaves = is_leaf(obj)
            if is_mutable(obj):
                self.leaves[id(obj)] = obj
        try:
            handler = self._handlers[kind]
        except KeyError:
            handler = self._handlers[kind] = codec_kinds.handler_of(kind)
        return NotImplemented if handler is None else handler(self, obj)

    def nested(self, obj: Any) -> codec_kinds.Nested:
        """A pickle of its own inside this one: what is in it shares nothing with the rest."""
        stream = io.BytesIO()
        inner = type(self)(stream, self.context)
        inner.dump(obj)
        self.futures.update(inner.futures)
        self.refers |= inner.refers
        self.memory |= inner.memory
        self.weak.update(inner.weak)
        self.in_band[0] += inner.in_band[0]
        return codec_kinds.Nested(stream.getvalue(), inner.buffers)


def dump(
    objects: Mapping[str, Any],
    context: SaveContext,
    keep_views: frozenset[int] = frozenset(),
) -> Dump | Omit:
    """Pickle a dict of names and objects together, or say why that cannot be.

    State outside the namespace (names such as ``<nbrw:x>``) is never an Omit: what is brought back
    then is an error that says why, so that the cell is run again. If nobody can tell what it
    is, it is like that of no other process.
    """
    found = _dump(held_apart(objects), context, keep_views)
    name = next(iter(objects), "")
    if isinstance(found, Omit) and name.startswith(PREFIX):
        found = _dump({name: _lost(objects[name], found.reason, context)}, context, keep_views)
    return found


def _lost(value: Any, reason: str, context: SaveContext) -> codec_kinds.Lost:
    """What stands for state that cannot be stored."""
    if isinstance(value, codec_kinds.Lost):
        reason = value.reason

        def storable(part: Any) -> bool:
            return isinstance(_dump({"": part}, context, frozenset()), Dump)

        with contextlib.suppress(Unstorable):
            return codec_kinds.Lost(reason, value.change, outline(value.content, storable))
    return codec_kinds.Lost(reason, codec_kinds.LIKE_NO_OTHER)


def _dump(objects: dict[str, Any], context: SaveContext, keep_views: frozenset[int]) -> Dump | Omit:
    from nbrw_runtime.codec_identity import canonical_pickle

    stream = io.BytesIO()
    pickler = StatePickler(stream, context, keep_views)
    try:
        with _quietly():
            pickler.dump(objects)
            if pickler.weak:
                _check_weak(objects, pickler)
    except Unstorable as error:
        return Omit(str(error))
    except RecursionError:
        return Omit("it is nested too deeply to be pickled")
    except MemoryError:
        return Omit("there is not enough memory to pickle it")
    except Exception as error:
        return _dump_with_dill(objects, context, error)
    payload = stream.getvalue()

    def memo() -> dict[int, Any]:
        if pickler.only_leaves:
            return inside_containers([objects, *objects.values()]) | pickler.leaves
        found = {k: v for k, (_, v) in pickler.memo.copy().items() if is_mutable(v)}
        for key in pickler.one_for_all:
            found.pop(key, None)
        return found

    def canonical() -> bytes | None:
        with _quietly():
            return canonical_pickle(objects, context, keep_views, payload, pickler.in_band[0])

    return Dump(
        payload,
        pickler.buffers,
        memo,
        pickler.roots,
        frozenset(pickler.refers),
        tuple(pickler.futures),
        memory=frozenset(pickler.memory),
        canonical=canonical,
    )


def _check_weak(objects: dict[str, Any], pickler: StatePickler) -> None:
    """What is referred to weakly must be held by something that is stored, or be gone after it."""
    from nbrw_runtime.codec_weak import is_held

    strong = StatePickler(io.BytesIO(), pickler.context, pickler.keep_views)
    strong.follow_weak = False
    strong.dump(objects)
    held = strong.memo.copy()
    for key, target in pickler.weak.items():
        if key not in held and not is_held(target, pickler.context.namespace):
            kind = type(target).__qualname__
            raise Unstorable(
                f"a weak reference cannot be stored: no name holds the {kind} it refers to"
            )


_QUIET = ("ignore", None, Warning, re.compile(r"nbrw_runtime\."), 0)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What Python warns of while we pickle (iterators, say) is not the notebook's doing."""
    # Not by catch_warnings: it makes Python forget which warnings it has shown already.
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    filters.insert(0, _QUIET)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            filters.remove(_QUIET)


def _dump_with_dill(
    objects: Mapping[str, Any], context: SaveContext, cause: Exception
) -> Dump | Omit:
    reason = f"it cannot be pickled: {_short(cause)}"
    for obj in objects.values():
        refusal = codec_refused.refuses(obj)
        if refusal:
            return Omit(refusal)
    if not codec_refused.dill_may(cause):
        return Omit(reason)
    try:
        import dill

        stream = io.BytesIO()
        pickler = dill.Pickler(stream, protocol=5, recurse=False, byref=False)
        pickler.dump(dict(objects))
        payload = stream.getvalue()
        dill.loads(payload)
    except Exception:
        return Omit(reason)
    met = {key: value[1] for key, value in dict(pickler.memo).items()}
    if any(codec_refused.refuses(obj) for obj in met.values()):
        return Omit(reason)
    refers: frozenset[str] = frozenset(context.namespace)
    memo = {key: obj for key, obj in met.items() if is_mutable(obj)}
    return Dump(payload, [], lambda: memo, {}, refers, (), "dill")


def load(payload: bytes, buffers: Sequence[Any], codec: str, context: LoadContext) -> Any:
    """The inverse of :func:`dump`. Raises whatever unpickling raises."""
    with loading(context):
        context.made.clear()
        context.expected.clear()
        if codec == "dill":
            import dill

            return dill.loads(payload)
        found = pickle.loads(payload, buffers=buffers)
        if any(ref() is None for ref in context.expected):
            raise RestoreError("a weak reference leads to an object that was not stored")
        return found


_contexts: list[LoadContext] = []


@contextlib.contextmanager
def loading(context: LoadContext) -> Iterator[None]:
    """Within the block constructors find this context."""
    _contexts.append(context)
    try:
        yield
    finally:
        _contexts.pop()


def current_load_context() -> LoadContext:
    """The context of the load that is under way. Raises LookupError outside of one."""
    if not _contexts:
        raise LookupError("nothing is being loaded")
    return _contexts[-1]


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
