"""Images unpacked for the embedded engine, below ``$XDG_CACHE_HOME/nbrw/rootfs``.

<64 hex digits>/        an image's tree, by the digest of its recipe (and of what it lacks)
<64 hex digits>.lock    held shared by those who run it, exclusively by who makes or removes it
stage/                  an empty directory, where sandboxes mount
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nbrw_builder.files import temporary_directory
from nbrw_builder.image_file import ImageFile
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import StorageError
from nbrw_runtime.store import storage_errors

LIMIT = 30_000_000_000  # bytes that unpacked images may take together


@contextlib.contextmanager
def unpacked(
    image: ImageFile,
    cache: Path,
    say: Callable[[str], object] = lambda text: None,
    identity: str = "",
) -> Iterator[tuple[Path, int]]:
    """The image's tree, unpacked the first time (and verified before), and a lock's descriptor.

    The tree stays while the block lasts, or while a process lives that inherited the descriptor.
    Trees used longest ago make room for new ones. An image whose signature was checked has a tree
    of its own, by the ``identity`` of what is signed: another image may have the same recipe.

    Raises IntegrityError, FormatError, HostError (no unsquashfs), StorageError (a full disk).
    """
    name = image.identity.hex
    if identity:
        name = digest_bytes(f"{name} {identity}".encode()).hex
    directory = cache / "rootfs"
    with storage_errors(directory):
        (directory / "stage").mkdir(parents=True, exist_ok=True)
    tree = directory / name
    with _locked(directory / f"{name}.lock") as lock:
        while not tree.is_dir():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not tree.is_dir():
                _unpack(image, tree, say)
            fcntl.flock(lock, fcntl.LOCK_SH)
        with contextlib.suppress(OSError):
            os.utime(directory / f"{name}.lock")
        _make_room(directory, tree)
        yield tree, lock


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    with storage_errors(path.parent):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock
    finally:
        os.close(lock)


def _unpack(image: ImageFile, tree: Path, say: Callable[[str], object]) -> None:
    began = time.monotonic()
    say(f"unpacking {image.path} (once)")
    image.verify()
    try:
        with temporary_directory(tree) as new:
            image.extract(new)
    except OSError as error:
        raise StorageError(
            f"unpack {image.path} to {tree.parent}: {error.strerror}; "
            "make room there or set XDG_CACHE_HOME"
        ) from error
    say(f"unpacked in {time.monotonic() - began:.1f} s to {tree}")


def list_trees(directory: Path) -> list[tuple[float, int, Path]]:
    """All unpacked images: when used last (since the epoch), bytes, and where."""
    try:
        found = [path for path in directory.iterdir() if len(path.name) == 64 and path.is_dir()]
    except OSError:
        return []
    return [(_used(path), _size(path), path) for path in found]


def _make_room(directory: Path, keep: Path, limit: int = LIMIT) -> None:
    """Remove the trees used longest ago, but none that somebody runs, until the limit holds."""
    found = [path for path in directory.iterdir() if len(path.name) == 64 and path != keep]
    if not found:
        return
    left = limit - _size(keep)
    for path in sorted(found, key=_used, reverse=True):
        left -= _size(path)
        if left < 0:
            remove_tree(path)


def remove_tree(tree: Path) -> bool:
    """Remove an unpacked image, unless somebody runs it."""
    with _try_lock(tree.with_name(tree.name + ".lock")) as held:
        if held:
            # Not by its name any more before the first file goes: it is whole or not there.
            gone = tree.with_name(f".{tree.name}.gone-{os.getpid()}")
            tree.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return held


def in_use(tree: Path) -> bool:
    """Whether somebody runs or unpacks it."""
    with _try_lock(tree.with_name(tree.name + ".lock")) as held:
        return not held


@contextlib.contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _used(tree: Path) -> float:
    try:
        return tree.with_name(tree.name + ".lock").stat().st_mtime
    except OSError:
        return 0.0


def _size(tree: Path) -> int:
    """Bytes of all files; a note beside the tree saves counting them again."""
    note = tree.with_name(tree.name + ".size")
    with contextlib.suppress(OSError, ValueError):
        return int(note.read_text())
    total = sum(
        os.lstat(os.path.join(place, name)).st_blocks * 512
        for place, _, names in os.walk(tree)
        for name in names
    )
    with contextlib.suppress(OSError):
        note.write_text(str(total))
    return total
