"""Which reducer serves objects of a type. The first that fits: what is refused, kinds of Python's
own, kinds of libraries, and the pickler's way for all the rest.
"""

from __future__ import annotations

import copyreg
import enum
import pickle
import random
import sys
import weakref
from collections.abc import Callable
from typing import Any

from nbrw_runtime import codec_refused
from nbrw_runtime.codec_refused import Unstorable
from nbrw_runtime.errors import RestoreError

Handler = Callable[[Any, Any], Any]
#: Types whose way of pickling is known not to go by a name in ``__main__``.
_TRUSTED = frozenset(
    {
        "array", "builtins", "collections", "datetime", "decimal", "fractions", "functools",
        "itertools", "numpy", "operator", "pathlib", "pyarrow", "re", "uuid", "zoneinfo",
    }
)  # fmt: skip
_KEPT_BY_DASK = "nbrw_runtime.dask_contents"
_handlers: weakref.WeakKeyDictionary[type, Handler | None] = weakref.WeakKeyDictionary()


class Nested:
    """A pickle inside a pickle."""

    def __init__(self, payload: bytes, buffers: list[Any]) -> None:
        self.payload = payload
        self.buffers = buffers

    def __reduce__(self) -> Any:
        return load_nested, (self.payload, *map(pickle.PickleBuffer, self.buffers))


def load_nested(payload: bytes, *buffers: Any) -> Any:
    """What a Nested stood for."""
    return pickle.loads(payload, buffers=buffers)


class Packed:
    """Plain values of the standard library or numpy, pickled already: that costs a tenth."""

    def __init__(self, value: Any) -> None:
        self.data = pickle.dumps(value, 5)

    def __reduce__(self) -> Any:
        return pickle.loads, (self.data,)


def packed(value: Any) -> Any:
    """The value packed, or as it is if that cannot be."""
    try:
        return Packed(value)
    except Exception:
        return value


def _reduce_packed(pickler: Any, pack: Packed) -> Any:
    # What the bytes are depends on which texts are one object.
    return (list, ([pickle.loads(pack.data)],)) if pickler.canonical else pack.__reduce__()


class Lost:
    """State outside the namespace that could not be stored: to bring it back fails with why.

    ``change`` and ``content``, which is anything that can be pickled, tell states apart that are
    not stored for the same reason.
    """

    def __init__(self, reason: str, change: int = 0, content: Any = None) -> None:
        self.reason = reason
        self.change = change
        self.content = content

    def __reduce__(self) -> Any:
        # What is to be loaded last: to load the rest fails before.
        words = (self.reason, self.change) if self.change else (self.reason,)
        return (_fail, words) if self.content is None else (_fail, words, [self.content])


#: A change like those of no other process.
LIKE_NO_OTHER = random.SystemRandom().getrandbits(62) + 1


def _fail(reason: str, change: int = 0) -> Any:
    raise RestoreError(reason)


def handler_of(kind: type) -> Handler | None:
    """How to reduce objects of exactly this type; None: as the C pickler does."""
    try:
        return _handlers[kind]
    except KeyError:
        found = _handlers[kind] = _choose(kind)
        return found


def _choose(kind: type) -> Handler | None:
    from nbrw_runtime import codec_builtins, codec_classes, codec_files, codec_functions, codec_weak
    from nbrw_runtime.codec_closed import closed_handler
    from nbrw_runtime.codec_singletons import single_handler

    if issubclass(kind, type):
        return codec_classes.reduce_class
    if not isinstance(kind.__module__, str):
        return _reduce_compiled
    if kind is Packed:
        return _reduce_packed
    closed = closed_handler(kind)
    if closed is not None:
        return closed
    single = single_handler(kind)
    if single is not None:
        return single
    refusal = codec_refused.refusal_of(kind)
    own = _streams(kind) if refusal is None or "kernel" in refusal else None
    if own is not None:
        return own
    if refusal is not None:
        return _refuser(refusal)
    for tables in (codec_functions, codec_builtins, codec_weak, codec_files, codec_classes):
        for base, handler in tables.HANDLERS:
            if issubclass(kind, base):
                return handler
    if issubclass(kind, enum.Enum):
        return codec_classes.reduce_member
    return _of_library(kind) or _constant_handler(kind) or _by_name_handler(kind)


def _reduce_compiled(pickler: Any, function: Any) -> Any:
    # Functions of Cython, whose type has no name of a module: they pickle by their own name.
    pickler.one_for_all.add(id(function))
    return NotImplemented


def _refuser(reason: str) -> Handler:
    def refuse(pickler: Any, obj: Any) -> Any:
        raise Unstorable(reason)

    return refuse


def _streams(kind: type) -> Handler | None:
    """For the kernel's own streams: they are there in every process."""
    from nbrw_runtime.codec_files import reduce_stream

    names = ("stdout", "stderr", "stdin")
    return reduce_stream if any(type(getattr(sys, name)) is kind for name in names) else None


def _of_library(kind: type) -> Handler | None:
    library = kind.__module__.partition(".")[0]
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "numpy" in bases and "numpy" in sys.modules:
        from nbrw_runtime import codec_numpy

        found = codec_numpy.handler_of(kind)
        if found is not None:
            return found
    if library == "pandas":
        from nbrw_runtime import codec_pandas

        return codec_pandas.handler_of(kind)
    if "torch" in bases and "torch" in sys.modules:
        from nbrw_runtime import codec_torch

        return codec_torch.handler_of(kind)
    if "matplotlib" in bases:
        from nbrw_runtime import codec_matplotlib

        return codec_matplotlib.handler_of(kind)
    if library == "xarray":
        from nbrw_runtime import codec_files

        return codec_files.file_manager_handler(kind)
    of_dask = library in ("distributed", "dask", "dask_jobqueue")
    if (of_dask or kind.__module__ == _KEPT_BY_DASK) and "distributed" in sys.modules:
        return _reduce_dask
    return None


def _reduce_dask(pickler: Any, obj: Any) -> Any:
    from nbrw_runtime import dask_state
    from nbrw_runtime.codec import Omit

    found = dask_state.reducer(obj, pickler)
    if isinstance(found, Omit):
        raise Unstorable(found.reason)
    return NotImplemented if found is None else found


# -- constants of modules ------------------------------------------------------------------------


def _constant_handler(kind: type) -> Handler | None:
    """For types such as that of ``dataclasses.MISSING``, whose instances are told by identity."""
    module = sys.modules.get(kind.__module__)
    usual = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    if module is None or kind.__module__ in ("builtins", "__main__") or not usual:
        return None
    if kind in copyreg.dispatch_table:
        return None
    names = {id(value): name for name, value in vars(module).items() if type(value) is kind}
    if not names:
        return None

    def reduce(pickler: Any, obj: Any) -> Any:
        name = names.get(id(obj))
        if name is None or getattr(module, name, None) is not obj or getattr(obj, "__dict__", None):
            return NotImplemented
        return constant(pickler, obj, kind.__module__, name)

    return reduce


def constant(pickler: Any, obj: Any, module: str, name: str) -> Any:
    """Reduce an object to its place in a module; that two names hold it means nothing."""
    pickler.one_for_all.add(id(obj))
    return get_constant, (module, name)


def get_constant(module: str, name: str) -> Any:
    """An object by its place in a module."""
    import importlib

    return getattr(importlib.import_module(module), name)


# -- names in __main__ ---------------------------------------------------------------------------


def _by_name_handler(kind: type) -> Handler | None:
    """Types with a way of their own: it may say "the object of this name in __main__", where
    another process has nothing, or something else.
    """
    usual = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    if usual or kind.__module__.partition(".")[0] in _TRUSTED:
        return None
    return reduce_unless_named


def reduce_unless_named(pickler: Any, obj: Any) -> Any:
    """As the object says, unless it says that it is to be found in ``__main__`` by its name."""
    special = pickler.dispatch_table.get(type(obj))
    found = special(obj) if special is not None else obj.__reduce_ex__(5)
    if isinstance(found, str):
        module = getattr(obj, "__module__", None)
        place = sys.modules.get(module or "")
        for part in found.split("."):
            place = getattr(place, part, None)
        if module in (None, "__main__") or place is not obj:
            kind = type(obj).__qualname__
            raise Unstorable(f"a {kind} cannot be stored: it is only known by its name, {found}")
        pickler.one_for_all.add(id(obj))
    return found
