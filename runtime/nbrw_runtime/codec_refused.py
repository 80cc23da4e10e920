"""Objects that must not be stored: they cannot be, or would pickle and mean nothing later."""

from __future__ import annotations

import types
from typing import Any

_GENERATORS: dict[type, str] = {
    types.GeneratorType: "a generator cannot be stored: it would have to go on in the middle",
    types.CoroutineType: "a coroutine cannot be stored: it would have to go on in the middle",
    types.AsyncGeneratorType: "an asynchronous generator cannot be stored",
    types.FrameType: "a frame of a running call cannot be stored",
    types.TracebackType: "a traceback cannot be stored: it holds frames of running calls",
}
_BY_NAME = {
    ("_socket", "socket"): "a network connection cannot be stored",
    ("ssl", "SSLContext"): "settings of encrypted connections cannot be stored",
    ("sqlite3", "Connection"): "a database connection cannot be stored",
    ("sqlite3", "Cursor"): "a database cursor cannot be stored",
    ("weakref", "finalize"): "a finalizer cannot be stored",
    ("concurrent.futures.thread", "ThreadPoolExecutor"): "a thread pool cannot be stored",
    ("concurrent.futures.process", "ProcessPoolExecutor"): "a process pool cannot be stored",
    ("concurrent.futures._base", "Future"): "a future of an executor cannot be stored",
    ("threading", "Thread"): "a thread cannot be stored",
    ("multiprocessing.pool", "Pool"): "a process pool cannot be stored",
    ("multiprocessing.pool", "ThreadPool"): "a thread pool cannot be stored",
    ("multiprocessing.process", "BaseProcess"): "a process cannot be stored",
    ("subprocess", "Popen"): "a running program cannot be stored",
    ("h5py._hl.files", "File"): "an open HDF5 file cannot be stored",
    ("h5py._hl.dataset", "Dataset"): "a dataset of an open HDF5 file cannot be stored",
    ("h5py._hl.group", "Group"): "a group of an open HDF5 file cannot be stored",
    ("netCDF4._netCDF4", "Dataset"): "an open netCDF file cannot be stored",
    ("builtins", "PyCapsule"): "a part of a library's memory cannot be stored",
    ("mmap", "mmap"): "a memory map cannot be stored",
    ("tempfile", "_TemporaryFileWrapper"): "an open temporary file cannot be stored",
    ("tempfile", "TemporaryDirectory"): "a temporary directory is gone when the kernel ends",
    ("asyncio.events", "AbstractEventLoop"): "an event loop cannot be stored",
    ("_asyncio", "Future"): "a running task cannot be stored",
    ("_contextvars", "Token"): "a token of a context variable cannot be stored",
    ("ctypes", "CDLL"): "a library that ctypes has loaded cannot be stored",
}  # fmt: skip
_KERNEL = ("IPython.core.interactiveshell", "ipykernel.")


class Unstorable(Exception):
    """Raised while pickling: an object inside cannot be stored, with the reason."""


def refusal_of(kind: type) -> str | None:
    """Why objects of this type cannot be stored, or None."""
    found = _GENERATORS.get(kind)
    if found is not None:
        return found
    for base in kind.__mro__:
        reason = _BY_NAME.get((base.__module__, base.__qualname__))
        if reason:
            return reason
    if kind.__module__.startswith(_KERNEL):
        return "a part of the kernel itself cannot be stored"
    return None


def refuses(obj: Any) -> str | None:
    """Why an object cannot be stored, or None."""
    return refusal_of(type(obj))


def dill_may(error: Exception) -> bool:
    """Whether dill is worth a try after this error of the C pickler."""
    text = str(error)
    return not any(
        word in text for word in ("generator", "coroutine", "socket", "frame", "__main__")
    )
