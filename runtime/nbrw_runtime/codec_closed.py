"""What a ``with`` statement leaves behind: files, pools, connections that are closed. They hold
nothing any more, and come back closed; one that is open is recorded as what cannot be stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbrw_runtime.codec_refused import Unstorable, refusal_of

_PLAIN = (str, bytes, int, float, bool, type(None))


def closed_handler(kind: type) -> Any:
    """For types whose objects may be closed; None for all others."""
    for base in kind.__mro__:
        name = (base.__module__, base.__qualname__)
        if name in _CLOSED:
            is_closed, reduce = _CLOSED[name]
            return _handler(is_closed, reduce, refusal_of(kind) or "an open file cannot be stored")
    return None


def _handler(is_closed: Callable[[Any], bool], reduce: Callable[[Any], Any], refusal: str) -> Any:
    def handle(pickler: Any, obj: Any) -> Any:
        try:
            closed = is_closed(obj)
        except Exception:
            closed = False
        if not closed:
            raise Unstorable(refusal)
        return reduce(obj)

    return handle


def _inert(obj: Any) -> Any:
    """The object with those of its attributes that are plain values; all others are None."""
    state = {
        key: value if isinstance(value, _PLAIN) else None for key, value in vars(obj).items()
    }  # fmt: skip
    return make_inert, (type(obj), state)


def make_inert(kind: Any, state: dict[str, Any]) -> Any:
    """An object that was not opened."""
    made = kind.__new__(kind)
    made.__dict__.update(state)
    return made


def _hdf5(obj: Any) -> Any:
    return make_hdf5, (type(obj),)


def make_hdf5(kind: Any) -> Any:
    """A closed HDF5 file, or something of one."""
    import h5py

    made = kind.__new__(kind)
    ids = {"File": h5py.h5f.FileID, "Group": h5py.h5g.GroupID, "Dataset": h5py.h5d.DatasetID}
    made._id = ids[kind.__name__](0)
    return made


def make_connection(kind: type) -> Any:
    """A closed connection to a database."""
    made = kind(":memory:")
    made.close()
    return made


def _is_closed_connection(connection: Any) -> bool:
    import sqlite3

    try:
        return connection.total_changes is None
    except sqlite3.ProgrammingError as error:
        return "closed" in str(error)


def make_shut(kind: type, workers: int) -> Any:
    """An executor that was shut down."""
    made = kind(workers)
    made.shutdown()
    return made


def _pool(pool: Any) -> Any:
    return make_inert, (type(pool), {"_state": pool._state, "_pool": []})


def _as_usual(obj: Any) -> Any:
    return NotImplemented


_FILES = ("gzip", "GzipFile"), ("bz2", "BZ2File"), ("lzma", "LZMAFile")
_EXECUTORS = (
    ("concurrent.futures.thread", "ThreadPoolExecutor"),
    ("concurrent.futures.process", "ProcessPoolExecutor"),
)
_HDF5 = ("h5py._hl.files", "File"), ("h5py._hl.group", "Group"), ("h5py._hl.dataset", "Dataset")
_CLOSED: dict[tuple[str, str], tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    **dict.fromkeys(_FILES, (lambda obj: obj.closed, _inert)),
    **dict.fromkeys(_HDF5, (lambda obj: not obj, _hdf5)),
    **dict.fromkeys(
        _EXECUTORS,
        (
            lambda obj: obj._shutdown if hasattr(obj, "_shutdown") else obj._shutdown_thread,
            lambda obj: (make_shut, (type(obj), obj._max_workers)),
        ),
    ),
    ("concurrent.futures._base", "Future"): (lambda obj: obj.done(), _as_usual),
    ("multiprocessing.pool", "Pool"): (lambda obj: obj._state != "RUN", _pool),
    ("subprocess", "Popen"): (lambda obj: obj.returncode is not None, _as_usual),
    ("sqlite3", "Connection"): (
        _is_closed_connection,
        lambda obj: (make_connection, (type(obj),)),
    ),
    ("tempfile", "_TemporaryFileWrapper"): (
        lambda obj: obj.file.closed,
        lambda obj: (make_inert, (type(obj), dict(vars(obj)))),
    ),
}
