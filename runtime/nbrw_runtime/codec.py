"""Objects of a notebook to bytes and back, or why not. `docs/format/checkpoint.md`.

One pass of cloudpickle's C pickler, protocol 5, with large buffers out of band. Functions defined
in cells keep the live namespace as their globals; numpy arrays that share memory still do after a
restore; what pickles but means nothing later is refused. dill serves what the C pickler cannot.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from nbrw_runtime import codec_functions, codec_numpy, codec_refused
from nbrw_runtime.digest import Digest, digest_bytes, digest_json
from nbrw_runtime.store import Store

_IN_BAND = 4096  # bytes; smaller buffers stay in the pickle, as a blob each would cost more


@dataclass(frozen=True)
class Omit:
    """Why an object cannot be stored, as a sentence for the user."""

    reason: str


class Unstorable(Exception):
    """Raised while pickling: an object inside cannot be stored, with the reason."""


@dataclass
class SaveContext:
    """What reducers may use while a namespace is stored, and what they report.

    ``namespace`` is the live one. ``futures`` collects the blobs of Dask results inside.
    """

    namespace: dict[str, Any]
    store: Store
    store_root: Path | None = None
    futures: list[Digest] = field(default_factory=list)
    future_values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadContext:
    """What constructors may use while objects are brought back."""

    namespace: dict[str, Any]
    store: Store
    repeat: bool = True


@dataclass
class Dump:
    """Objects as bytes. ``memo`` maps ids of the objects inside to them; they are kept alive so
    that ids stay theirs. ``roots`` maps the id of an array that owns memory to that array and the
    ids of the arrays that use it; ``memory`` are the ids of all owners of memory, also of what is
    pickled apart.
    """

    payload: bytes
    buffers: list[memoryview]
    memo: dict[int, Any]
    roots: dict[int, tuple[Any, set[int]]]
    refers: frozenset[str]
    futures: tuple[Digest, ...]
    codec: str = "pickle"
    memory: frozenset[int] = frozenset()
    _digests: tuple[Digest, tuple[Digest, ...]] | None = None

    def digests(self) -> tuple[Digest, tuple[Digest, ...]]:
        """Digests of payload and buffers, computed once."""
        if self._digests is None:
            parts = tuple(digest_bytes(part) for part in self.buffers)
            self._digests = digest_bytes(self.payload), parts
        return self._digests

    def identity(self) -> Digest:
        """Equal for equal content."""
        payload, buffers = self.digests()
        return digest_json([self.codec, str(payload), [str(part) for part in buffers]])

    @property
    def size(self) -> int:
        """Bytes altogether."""
        return len(self.payload) + sum(part.nbytes for part in self.buffers)


class StatePickler(cloudpickle.Pickler):
    """The pickler; one instance for one dump."""

    def __init__(
        self, stream: io.BytesIO, context: SaveContext, keep_views: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(stream, protocol=5, buffer_callback=self._take)
        self.context = context
        self.keep_views = keep_views
        self.buffers: list[memoryview] = []
        self.roots: dict[int, tuple[Any, set[int]]] = {}
        self.memory: set[int] = set()
        self.refers: set[str] = set()
        self.futures: list[Digest] = []

    def _take(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _IN_BAND:
            return True
        self.buffers.append(raw)
        return False

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        module = kind.__module__
        if module in ("builtins", "types", "_io", "socket", "_thread", "sqlite3", "ssl", "weakref"):
            refusal = codec_refused.refuses(obj)
            if refusal:
                raise Unstorable(refusal)
        elif module == "numpy" and kind.__name__ == "ndarray":
            return codec_numpy.reduce_array(self, obj)
        elif module.partition(".")[0] == "pandas" and codec_numpy.is_frame(obj):
            return self._nested(obj)
        elif module.startswith(("distributed", "dask")) and "distributed" in sys.modules:
            from nbrw_runtime import dask_state

            found = dask_state.reducer(obj, self)
            if isinstance(found, Omit):
                raise Unstorable(found.reason)
            if found is not None:
                return found
        else:
            refusal = codec_refused.refuses_by_name(obj)
            if refusal:
                raise Unstorable(refusal)
        reduced = codec_functions.reduce(self, obj)
        if reduced is not None:
            return reduced
        return super().reducer_override(obj)

    def _nested(self, obj: Any) -> Any:
        """Pickle apart from the rest: arrays inside pandas objects share nothing with others, as
        after unpickling pandas would not know of it and writing to one would change the other.
        """
        stream = io.BytesIO()
        inner = _PlainPickler(stream, self.context)
        inner.dump(obj)
        self.futures += inner.futures
        self.refers |= inner.refers
        self.memory |= inner.memory
        parts = [pickle.PickleBuffer(part) for part in inner.buffers]
        return _load_nested, (stream.getvalue(), *parts)


class _PlainPickler(StatePickler):
    """For the inside of pandas objects."""

    def _nested(self, obj: Any) -> Any:
        return NotImplemented


def _load_nested(payload: bytes, *buffers: Any) -> Any:
    return pickle.loads(payload, buffers=buffers)


def dump(
    objects: Mapping[str, Any],
    context: SaveContext,
    keep_views: frozenset[int] = frozenset(),
) -> Dump | Omit:
    """Pickle a dict of names and objects together, or say why that cannot be."""
    stream = io.BytesIO()
    pickler = StatePickler(stream, context, keep_views)
    try:
        pickler.dump(dict(objects))
    except Unstorable as error:
        return Omit(str(error))
    except RecursionError:
        return Omit("it is nested too deeply to be pickled")
    except MemoryError:
        return Omit("there is not enough memory to pickle it")
    except Exception as error:
        return _dump_with_dill(objects, context, error)
    memo = {key: value[1] for key, value in pickler.memo.copy().items()}
    return Dump(
        stream.getvalue(),
        pickler.buffers,
        memo,
        pickler.roots,
        frozenset(pickler.refers),
        tuple(pickler.futures),
        memory=frozenset(pickler.memory),
    )


def _dump_with_dill(
    objects: Mapping[str, Any], context: SaveContext, cause: Exception
) -> Dump | Omit:
    reason = f"it cannot be pickled: {_short(cause)}"
    for obj in objects.values():
        refusal = codec_refused.refuses(obj) or codec_refused.refuses_by_name(obj)
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
    memo = {key: value[1] for key, value in dict(pickler.memo).items()}
    if any(codec_refused.refuses(obj) for obj in memo.values()):
        return Omit(reason)
    refers: frozenset[str] = frozenset(context.namespace)
    return Dump(payload, [], memo, {}, refers, (), "dill")


def load(payload: bytes, buffers: Sequence[Any], codec: str, context: LoadContext) -> Any:
    """The inverse of :func:`dump`. Raises whatever unpickling raises."""
    with loading(context):
        if codec == "dill":
            import dill

            return dill.loads(payload)
        return pickle.loads(payload, buffers=buffers)


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
