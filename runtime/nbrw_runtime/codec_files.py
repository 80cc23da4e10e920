"""Open files. One that is read comes back at its position, if the file still has that content; one
that is closed comes back closed. One that is written is recorded: its cell runs again.

Paths are kept relative to the working directory where a file lies below it.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from nbrw_runtime.codec_kinds import constant
from nbrw_runtime.codec_refused import Unstorable
from nbrw_runtime.digest import digest_file
from nbrw_runtime.errors import RestoreError

_CHUNK = 1 << 20
_directories = ("", "")  # the author's working directory, and this kernel's
_contents: dict[str, tuple[tuple[int, ...], str, bool]] = {}  # path -> stamp, digest, whether CR


def runs_in(author_cwd: str, cwd: str) -> None:
    """Tell where the notebook runs: paths of files are stored relative to that."""
    global _directories
    _directories = (author_cwd, cwd)


def stored_path(path: str) -> tuple[str, str]:
    """A path as it is stored: relative to the working directory of the notebook, or absolute."""
    for directory in reversed(_directories):
        if directory and path.startswith(directory + "/"):
            return "in", os.path.relpath(path, directory)
    return "at", path


def place_of(where: tuple[str, str]) -> str:
    """The inverse of :func:`stored_path`, in this kernel."""
    kind, path = where
    return os.path.join(_directories[1], path) if kind == "in" else path


def content_of(path: str) -> tuple[str, bool]:
    """The digest of a file, and whether it has carriage returns. Raises OSError."""
    status = os.stat(path)
    stamp = (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip
    known = _contents.get(path)
    if known is not None and known[0] == stamp:
        return known[1:]
    with open(path, "rb") as stream:
        returns = any(b"\r" in chunk for chunk in iter(lambda: stream.read(_CHUNK), b""))
    found = (stamp, str(digest_file(path)[0]), returns)
    _contents[path] = found
    return found[1:]


def checked(where: tuple[str, str], digest: str) -> str:
    """The path of a file in this kernel. Raises RestoreError if it is not what it was."""
    path = place_of(where)
    try:
        found = content_of(path)[0]
    except OSError as error:
        raise RestoreError(f"the file {path}, which was open: {error.strerror}") from error
    if found != digest:
        raise RestoreError(f"the file {path}, which was open, has another content now")
    return path


# -- streams -------------------------------------------------------------------------------------


def reduce_stream(pickler: Any, stream: Any) -> Any:
    """A standard stream of the process; else, as any file."""
    for name in ("stdout", "stderr", "stdin", "__stdout__", "__stderr__", "__stdin__"):
        if stream is getattr(sys, name, None):
            return constant(pickler, stream, "sys", name)
    if isinstance(stream, io.IOBase) and not type(stream).__module__.startswith("ipykernel"):
        return _reduce_file(pickler, stream)
    raise Unstorable("a part of the kernel itself cannot be stored")


def _reduce_file(pickler: Any, stream: Any) -> Any:
    if isinstance(stream, (io.BytesIO, io.StringIO)):
        return NotImplemented
    for name in ("stdout", "stderr", "stdin"):
        if stream is getattr(sys, name, None):
            return constant(pickler, stream, "sys", name)
    if type(stream) not in _MODES:
        raise Unstorable(_reason(stream))
    if stream.closed:
        return make_closed, _shape(stream)
    text = isinstance(stream, io.TextIOWrapper)
    raw = stream.buffer if text else stream
    raw = getattr(raw, "raw", raw)
    if not isinstance(raw, io.FileIO) or raw.writable():
        raise Unstorable(_reason(stream))
    where, digest, returns = _where(stream, raw)
    if text and (returns or stream.encoding.lower().startswith(("utf-16", "utf-32", "utf_"))):
        # What it makes of ends of lines is not to be had from it.
        raise Unstorable(_reason(stream))
    try:
        position = stream.tell()
    except OSError:
        raise Unstorable(_reason(stream) + ", in the middle of a loop over its lines") from None
    return reopen, (*_shape(stream), where, digest, position)


def _reason(stream: Any) -> str:
    name = getattr(stream, "name", "")
    return f"an open file cannot be stored{f' ({name})' if isinstance(name, str) and name else ''}"


def _shape(stream: Any) -> tuple[str, Any, Any, dict[str, Any]]:
    """Its type, name and mode, and how it makes text of bytes."""
    text = isinstance(stream, io.TextIOWrapper)
    options = {"encoding": stream.encoding, "errors": stream.errors} if text else {}
    name = getattr(stream, "name", None)
    return type(stream).__name__, name, getattr(stream, "mode", None), options


def _where(stream: Any, raw: Any) -> tuple[tuple[str, str], str, bool]:
    try:
        status = os.fstat(raw.fileno())
        path = os.path.abspath(os.fspath(stream.name))
        if not _same(path, status):
            path = os.readlink(f"/proc/self/fd/{raw.fileno()}")
        if not _same(path, status) or not stat.S_ISREG(status.st_mode):
            raise Unstorable(_reason(stream))
        digest, returns = content_of(path)
    except (OSError, TypeError, AttributeError):
        raise Unstorable(_reason(stream)) from None
    return stored_path(path), digest, returns


def _same(path: str, status: os.stat_result) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def reopen(
    kind: str, name: Any, mode: str, options: dict[str, Any], where: tuple[str, str],
    digest: str, position: int,
) -> Any:  # fmt: skip
    """A file that is read, at its position. Raises RestoreError if its content is another."""
    stream = _MAKERS[kind](checked(where, digest), mode, options)
    _rename(stream, name)
    stream.seek(position)
    return stream


def make_closed(kind: str, name: Any, mode: Any, options: dict[str, Any]) -> Any:
    """A file that was closed; where it is does not matter any more."""
    # A file of text on another stream (gzip.open) has that stream's mode, or none.
    written = isinstance(mode, str) and not set("wax").isdisjoint(mode)
    usual = ("w" if written else "r") + ("" if kind == "TextIOWrapper" else "b")
    if isinstance(mode, str) and "+" in mode:
        usual += "+"
    stream = _MAKERS[kind](os.devnull, usual, options)
    if isinstance(stream, io.TextIOWrapper):
        stream.mode = mode  # type: ignore[misc]
    _rename(stream, name)
    stream.close()
    return stream


def _rename(stream: Any, name: Any) -> None:
    raw = getattr(stream, "buffer", stream)
    getattr(raw, "raw", raw).name = name


def _text(path: str, mode: str, options: dict[str, Any]) -> Any:
    stream: Any = open(path, mode, **options)  # noqa: SIM115
    stream.mode = mode  # type: ignore[misc]
    return stream


_MAKERS: dict[str, Callable[[str, str, dict[str, Any]], Any]] = {
    "TextIOWrapper": _text,
    "BufferedReader": lambda path, mode, options: open(path, "rb"),  # noqa: SIM115
    "BufferedWriter": lambda path, mode, options: open(path, mode),  # noqa: SIM115
    "BufferedRandom": lambda path, mode, options: open(path, mode),  # noqa: SIM115
    "FileIO": lambda path, mode, options: io.FileIO(path, mode),
}
_MODES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)


# -- files that xarray keeps open ----------------------------------------------------------------


def file_manager_handler(kind: type) -> Any:
    """For xarray's way to open a file when it is needed: None for all else of xarray."""
    managers = ("CachingFileManager", "DummyFileManager", "PickleableFileManager")
    return _reduce_manager if kind.__name__ in managers else None


def _reduce_manager(pickler: Any, manager: Any) -> Any:
    args = getattr(manager, "_args", ())
    mode = getattr(manager, "_mode", "r")
    path = args[0] if args else None
    readable = isinstance(mode, str) and mode in ("r", "rb")
    if type(manager).__name__ != "CachingFileManager" or not readable:
        raise Unstorable("data of an open file cannot be stored")
    if not isinstance(path, (str, os.PathLike)) or not os.path.isfile(path):
        raise Unstorable(f"data of an open file cannot be stored ({path})")
    path = os.path.abspath(os.fspath(path))
    where, digest = stored_path(path), content_of(path)[0]
    lock = bool(manager._use_default_lock) or manager._lock
    rest = (manager._opener, args[1:], manager._mode, manager._kwargs, lock)
    return reopen_manager, (where, digest, *rest)


def reopen_manager(
    where: tuple[str, str], digest: str, opener: Any, args: Any, mode: Any, kwargs: Any, lock: Any
) -> Any:
    """What opens the file when it is needed. Raises RestoreError if its content is another."""
    from xarray.backends.file_manager import CachingFileManager

    path = checked(where, digest)
    lock = None if lock is True else lock
    return CachingFileManager(opener, path, *args, mode=mode, kwargs=kwargs, lock=lock)


HANDLERS: list[tuple[Any, Any]] = [(io.IOBase, _reduce_file)]
