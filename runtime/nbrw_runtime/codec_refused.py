"""Objects that must not be stored: they cannot be, or would pickle and mean nothing later."""

from __future__ import annotations

import io
import socket
import types
import weakref
from typing import Any

_GENERATORS = {
    types.GeneratorType: "a generator cannot be stored: it would have to go on in the middle",
    types.CoroutineType: "a coroutine cannot be stored: it would have to go on in the middle",
    types.AsyncGeneratorType: "an asynchronous generator cannot be stored",
    types.FrameType: "a frame of a running call cannot be stored",
    types.TracebackType: "a traceback cannot be stored: it holds frames of running calls",
}
_BY_NAME = {
    ("sqlite3", "Connection"): "a database connection cannot be stored",
    ("sqlite3", "Cursor"): "a database cursor cannot be stored",
    ("concurrent.futures.thread", "ThreadPoolExecutor"): "a thread pool cannot be stored",
    ("concurrent.futures.process", "ProcessPoolExecutor"): "a process pool cannot be stored",
    ("concurrent.futures._base", "Future"): "a future of an executor cannot be stored",
    ("threading", "Thread"): "a thread cannot be stored",
    ("multiprocessing.pool", "Pool"): "a process pool cannot be stored",
    ("multiprocessing.pool", "ThreadPool"): "a thread pool cannot be stored",
    ("multiprocessing.context", "Process"): "a process cannot be stored",
    ("subprocess", "Popen"): "a running program cannot be stored",
    ("h5py._hl.files", "File"): "an open HDF5 file cannot be stored",
    ("h5py._hl.dataset", "Dataset"): "a dataset of an open HDF5 file cannot be stored",
    ("h5py._hl.group", "Group"): "a group of an open HDF5 file cannot be stored",
    ("mmap", "mmap"): "a memory map cannot be stored",
    ("tempfile", "_TemporaryFileWrapper"): "an open temporary file cannot be stored",
    ("tempfile", "TemporaryDirectory"): "a temporary directory is gone when the kernel ends",
}
_LOCKS = ("lock", "RLock", "LockType")


def refuses(obj: Any) -> str | None:
    """Why an object of a built-in kind cannot be stored, or None."""
    for kind, reason in _GENERATORS.items():
        if isinstance(obj, kind):
            return reason
    if isinstance(obj, io.IOBase) and not isinstance(obj, (io.BytesIO, io.StringIO)):
        name = getattr(obj, "name", "")
        return f"an open file cannot be stored{f' ({name})' if name else ''}"
    if isinstance(obj, socket.socket):
        return "a network connection cannot be stored"
    if isinstance(obj, weakref.ref):
        return "a weak reference cannot be stored"
    if type(obj).__name__ in _LOCKS and getattr(obj, "locked", lambda: False)():
        return "a lock that is held cannot be stored"
    return refuses_by_name(obj)


def refuses_by_name(obj: Any) -> str | None:
    """Why an object of a library's kind cannot be stored, or None."""
    for kind in type(obj).__mro__:
        reason = _BY_NAME.get((kind.__module__, kind.__qualname__))
        if reason:
            return reason
    if type(obj).__module__.startswith(("IPython.core.interactiveshell", "ipykernel.")):
        return "a part of the kernel itself cannot be stored"
    return None


def dill_may(error: Exception) -> bool:
    """Whether dill is worth a try after this error of the C pickler."""
    text = str(error)
    return not any(word in text for word in ("generator", "coroutine", "socket", "frame"))
