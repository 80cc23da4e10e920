"""Files that are there whole or not at all: a temporary name beside the target, then a rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nbrw_builder.entry import Stamp

_CHUNK = 1 << 26


@contextlib.contextmanager
def temporary_file(target: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A new file (readable and writable) that takes the name ``target`` if the block succeeds.

    It lies beside the target, so the rename is atomic; on any error nothing is left. Leftovers of
    processes that were killed are removed on the way. Raises OSError.
    """
    remove_leftovers(target)
    descriptor, name = tempfile.mkstemp(prefix=_prefix(target), dir=target.parent)
    path = Path(name)
    try:
        with open(path, "w+b", opener=lambda *_: descriptor) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), mode & ~_umask())
            os.fsync(stream.fileno())
            path.rename(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def temporary_directory(target: Path) -> Iterator[Path]:
    """A new directory that takes the name ``target`` (which must not exist) if the block succeeds.

    On any error nothing is left; leftovers of killed processes are removed on the way.
    """
    remove_leftovers(target)
    path = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
        path.chmod(0o777 & ~_umask())
        path.rename(target)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """A directory beside ``target`` for work on it; removed at the end, or by the next build."""
    remove_leftovers(target)
    path = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers(target: Path) -> None:
    """Remove unfinished files and directories of ``target`` whose writer is no longer alive."""
    for path in target.parent.glob(_prefix(target).replace("[", "[[]") + "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                # The writer holds this lock for as long as it lives.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


def file_stamp(status: os.stat_result) -> Stamp:
    """The stamp of a file: device, inode, size in bytes, ctime in nanoseconds."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


def copy_into(source: Path, stream: BinaryIO, offset: int = 0) -> int:
    """Append a file, from ``offset`` on, to a stream; the number of bytes.

    The file system shares them where it can.
    """
    stream.flush()
    out = stream.fileno()
    with open(source, "rb") as opened:
        size = left = os.fstat(opened.fileno()).st_size - opened.seek(offset)
        while left:
            try:
                copied = os.copy_file_range(opened.fileno(), out, min(left, _CHUNK))
            except OSError:
                copied = 0
            if not copied:
                shutil.copyfileobj(opened, stream, 1 << 20)
                stream.flush()
                break
            left -= copied
    stream.seek(0, os.SEEK_END)
    return size


def _prefix(target: Path) -> str:
    return f".{target.name}.nbrw-unfinished-"


def _umask() -> int:
    # The only way to read it is to set it; no other thread of ours makes files meanwhile.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
