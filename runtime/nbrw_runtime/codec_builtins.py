"""Objects of Python's own that the pickler copies, loses a part of, or cannot do: views of
dictionaries and memory, locks, exceptions, matches, context variables.
"""

from __future__ import annotations

import _collections_abc
import collections
import contextvars
import dataclasses
import functools
import gc
import logging
import queue
import re
import sys
import threading
import types
from typing import Any

from cloudpickle import cloudpickle

from nbrw_runtime import codec_cached
from nbrw_runtime.codec_kinds import constant, reduce_unless_named
from nbrw_runtime.codec_refused import Unstorable
from nbrw_runtime.logging_state import handler_parts

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_DICT_VIEWS = (
    _collections_abc.dict_keys, _collections_abc.dict_values, _collections_abc.dict_items,
)  # fmt: skip
_ORDERED_VIEWS = {
    type(getattr(collections.OrderedDict(), name)()): name for name in ("keys", "values", "items")
}

# They would come back as iterators over a list of what is left, and not see a change.
_SHOWN: tuple[Any, ...] = (
    {}, {}.keys(), {}.values(), {}.items(), collections.OrderedDict(), set(),
)  # fmt: skip
_ITERATORS = (
    *(type(iter(shown)) for shown in _SHOWN),
    *(type(reversed(shown)) for shown in _SHOWN if not isinstance(shown, set)),
)


# -- what shows the content of another object ----------------------------------------------------


def _reduce_proxy(pickler: Any, proxy: Any) -> Any:
    if proxy is getattr(dataclasses, "_EMPTY_METADATA", None):
        return constant(pickler, proxy, "dataclasses", "_EMPTY_METADATA")
    (shown,) = gc.get_referents(proxy)
    if isinstance(shown.get("__dict__"), types.GetSetDescriptorType):
        raise Unstorable("the dictionary of a class cannot be stored by itself")
    return types.MappingProxyType, (shown,)


def _reduce_dict_view(pickler: Any, view: Any) -> Any:
    name = _ORDERED_VIEWS.get(type(view)) or type(view).__name__.rpartition("_")[2]
    (shown,) = gc.get_referents(view)
    return view_of, (shown, name)


def view_of(shown: Any, name: str) -> Any:
    """The keys, values or items of a dictionary, as they are at any time."""
    return getattr(shown, name)()


def _refuse_iterator(pickler: Any, iterator: Any) -> Any:
    raise Unstorable("an iterator over a dictionary or a set cannot be stored in the middle")


def _reduce_memory(pickler: Any, view: memoryview) -> Any:
    try:
        whole = memoryview(view.obj)  # type: ignore[arg-type]
    except ValueError:
        raise Unstorable("a memory view that was released cannot be stored") from None
    if not view.contiguous or view.nbytes != whole.nbytes or not whole.contiguous:
        raise Unstorable("a view of a part of an object's memory cannot be stored")
    shape = None if view.ndim == 1 else list(view.shape or ())
    return memory_of, (view.obj, view.format, shape, view.readonly)


def memory_of(obj: Any, form: str, shape: list[int] | None, readonly: bool) -> memoryview:
    """A view of all of an object's memory."""
    view = memoryview(obj)
    if view.format != form or shape is not None:
        view = view.cast("B")
        view = view.cast(form, shape) if shape is not None else view.cast(form)  # type: ignore[call-overload]
    return view.toreadonly() if readonly and not view.readonly else view


# -- threads -------------------------------------------------------------------------------------


def _reduce_lock(pickler: Any, lock: Any) -> Any:
    if lock.locked():
        raise Unstorable("a lock that is held cannot be stored: nobody would release it")
    return threading.Lock, ()


def _reduce_rlock(pickler: Any, lock: Any) -> Any:
    # It tells only this thread that this thread holds it.
    free = lock.acquire(blocking=False)
    if free:
        lock.release()
    if not free or lock._is_owned():
        raise Unstorable("a lock that is held cannot be stored: nobody would release it")
    return threading.RLock, ()


def _reduce_local(pickler: Any, values: Any) -> Any:
    if type(values) is not threading.local:
        return NotImplemented
    return threading.local, (), dict(values.__dict__)


def _reduce_simple_queue(pickler: Any, line: Any) -> Any:
    if not line.empty():
        raise Unstorable("a queue that is not empty cannot be stored")
    return queue.SimpleQueue, ()


# -- results of the standard library -------------------------------------------------------------


def _reduce_match(pickler: Any, match: re.Match[Any]) -> Any:
    text, start, end = match.string, match.pos, match.endpos
    for way in ("match", "fullmatch", "search"):
        found = getattr(match.re, way)(text, start, end)
        if found is not None and found.regs == match.regs:
            return match_again, (match.re, way, text, start, end, 0)
    for index, found in enumerate(match.re.finditer(text, start, end)):
        if found.regs == match.regs:
            return match_again, (match.re, "finditer", text, start, end, index)
    raise Unstorable("a match of a regular expression cannot be stored")


def match_again(pattern: Any, way: str, text: Any, start: int, end: int, index: int) -> Any:
    """The same match, found again."""
    found = getattr(pattern, way)(text, start, end)
    return list(found)[index] if way == "finditer" else found


def _reduce_variable(pickler: Any, variable: contextvars.ContextVar[Any]) -> Any:
    missing = object()
    if variable.get(missing) is not missing and variable in contextvars.copy_context():
        raise Unstorable("a context variable that is set cannot be stored")
    try:
        default: tuple[Any, ...] = (contextvars.Context().run(variable.get),)
    except LookupError:
        default = ()
    return make_variable, (variable.name, *default)


def make_variable(name: str, *default: Any) -> Any:
    """A context variable that is not set."""
    if default:
        return contextvars.ContextVar(name, default=default[0])
    return contextvars.ContextVar(name)


def _reduce_exception(pickler: Any, error: BaseException) -> Any:
    """With what caused it. Of its traceback the places are kept, but not the frames."""
    found = reduce_unless_named(pickler, error)
    if isinstance(found, tuple) and type(error).__reduce__ is BaseException.__reduce__:
        # Not by calling the class: its __init__ need not take what it gave to its base.
        found = (make_exception, (type(error), error.args), *found[2:])
    more = (
        error.__cause__, error.__context__, error.__suppress_context__, _places(error.__traceback__)
    )  # fmt: skip
    if isinstance(found, str) or not any(more):
        return found
    state = found[2] if len(found) > 2 else None
    setter = found[5] if len(found) > 5 else None
    return found[0], found[1], (state, setter, more), None, None, set_exception


def make_exception(kind: type, args: tuple[Any, ...]) -> BaseException:
    """An exception with these arguments; no code of a notebook's ``__init__`` runs."""
    error = kind.__new__(kind, *args)
    for base in kind.__mro__:
        start = vars(base).get("__init__")
        if start is not None and not isinstance(start, types.FunctionType):
            start(error, *args)
            break
    return error


def _places(traceback: Any) -> list[tuple[str, str, int]]:
    found = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append((code.co_filename, code.co_name, traceback.tb_lineno))
        traceback = traceback.tb_next
    return found


def set_exception(error: BaseException, state: Any) -> None:
    """The rest of an exception."""
    usual, setter, (cause, context, suppressed, places) = state
    if setter is not None:
        setter(error, usual)
    elif usual is not None:
        error.__setstate__(usual)
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = suppressed
    traceback = None
    for file, name, line in reversed(places):
        code = compile("import sys\nframe = sys._getframe()", file, "exec").replace(co_name=name)
        space: dict[str, Any] = {}
        exec(code, space)
        traceback = types.TracebackType(traceback, space.pop("frame"), -1, line)
    error.__traceback__ = traceback


# -- one for all ---------------------------------------------------------------------------------


def _of_a_type(pickler: Any, descriptor: Any) -> Any:
    pickler.one_for_all.add(id(descriptor))
    return NotImplemented


def _reduce_field(pickler: Any, mark: Any) -> Any:
    pickler.one_for_all.add(id(mark))
    return cloudpickle._dataclass_field_base_reduce(mark)


def _reduce_logger(pickler: Any, logger: logging.Logger) -> Any:
    # Its level and handlers are state outside the namespace (`logging_state.py`).
    if logging.getLogger(logger.name) is not logger and logger is not logging.getLogger():
        return NotImplemented
    pickler.one_for_all.add(id(logger))
    return logging.getLogger, () if logger is logging.getLogger() else (logger.name,)


def _reduce_handler(pickler: Any, handler: logging.Handler) -> Any:
    # One that a logger has is brought back with that logger, if it can be.
    if handler_parts(handler) is None:
        return reduce_unless_named(pickler, handler)
    loggers = [("", logging.getLogger()), *list(logging.root.manager.loggerDict.items())]
    for name, logger in loggers:
        found = getattr(logger, "handlers", ())
        for index, other in enumerate(found):
            if other is handler:
                pickler.one_for_all.add(id(handler))
                return handler_of_logger, (name, index)
    return reduce_unless_named(pickler, handler)


def handler_of_logger(name: str, index: int) -> logging.Handler:
    """A handler that a logger has."""
    return logging.getLogger(name or None).handlers[index]


def _reduce_cached(pickler: Any, function: Any) -> Any:
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    if function.__module__ != "__main__" and "<" not in name:
        try:
            found = cloudpickle._getattribute(module, name)
        except AttributeError:
            found = None
        if found is function:
            return NotImplemented
    return codec_cached.reduce_cached(pickler, function)


HANDLERS: list[tuple[Any, Any]] = [
    (types.MappingProxyType, _reduce_proxy),
    (_DICT_VIEWS, _reduce_dict_view),
    (tuple(_ORDERED_VIEWS), _reduce_dict_view),
    (_ITERATORS, _refuse_iterator),
    (memoryview, _reduce_memory),
    (_LOCK, _reduce_lock),
    (_RLOCK, _reduce_rlock),
    (threading.local, _reduce_local),
    (queue.SimpleQueue, _reduce_simple_queue),
    (re.Match, _reduce_match),
    (contextvars.ContextVar, _reduce_variable),
    (BaseException, _reduce_exception),
    ((types.MethodDescriptorType, types.WrapperDescriptorType), _of_a_type),
    (dataclasses._FIELD_BASE, _reduce_field),  # type: ignore[attr-defined]
    (logging.Logger, _reduce_logger),
    (logging.Handler, _reduce_handler),
    (type(functools.lru_cache(len)), _reduce_cached),
]
