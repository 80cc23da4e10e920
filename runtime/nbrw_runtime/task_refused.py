"""Why something has no fingerprint."""

from __future__ import annotations

import io
import types
from typing import Any


class Refused(Exception):
    """Something cannot be told from another by content. ``str()`` says what: "a generator".

    ``through`` names what held it: "the global `x`"; empty: it was met directly.
    """

    def __init__(self, what: str, obj: Any = None) -> None:
        super().__init__(what)
        self.obj = obj
        self.through = ""


_KINDS: list[tuple[Any, str]] = [
    (types.GeneratorType, "a generator"),
    ((types.CoroutineType, types.AsyncGeneratorType), "a coroutine"),
    ((types.FrameType, types.TracebackType), "a frame of running code"),
]
_NAMES = {
    ("_thread", "lock"): "a lock",
    ("_thread", "RLock"): "a lock",
    ("_thread", "_local"): "data of one thread",
    ("_thread", "_localdummy"): "data of one thread",
    ("sqlite3", "Connection"): "a connection to a database",
    ("sqlite3", "Cursor"): "a cursor of a database",
    ("mmap", "mmap"): "a mapped file",
}
_OF_MODULES = (
    ("threading", "a thread, or what threads wait for"),
    ("multiprocessing.", "a process, or what processes share"),
    ("concurrent.futures.", "an executor, or a future of one"),
    ("asyncio.", "part of an event loop"),
    ("socket", "a connection"),
    ("ssl", "a connection"),
    ("subprocess", "a process"),
    ("distributed.", "part of Dask's own machinery"),
    ("dask._task_spec", "an unresolved reference to a task"),
    ("weakref", "a weak reference"),
)


def refused_kind(obj: Any) -> str:
    """What this is if no fingerprint can be of it; empty if one may be."""
    for kinds, words in _KINDS:
        if isinstance(obj, kinds):
            return words
    if isinstance(obj, io.IOBase) and not isinstance(obj, (io.BytesIO, io.StringIO)):
        return "an open file"
    kind = type(obj)
    module = kind.__module__ if isinstance(kind.__module__, str) else ""
    known = _NAMES.get((module, kind.__name__))
    if known:
        return known
    for start, words in _OF_MODULES:
        if module.startswith(start):
            return words
    if hasattr(kind, "__dask_graph__") and obj.__dask_graph__() is not None:
        return "a Dask collection"
    if hasattr(kind, "__next__") and not isinstance(obj, io.IOBase):
        return "an iterator"
    if hasattr(kind, "__await__"):
        return "something to be awaited"
    return ""
