"""The author's absolute paths, in the caller's container. `docs/view.md`.

Three ways, the first that works: the paths are there already; the root directory can be written
(Docker as root), so links are made; a mount namespace of our own, in which the directories that
lack them are covered by new ones. Otherwise the paths are named as not to be reached.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbrw_runtime.paths import RELOCATED_ROOT, image_path

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV = 4096, 16384, 1 << 18, 2, 4
_HOLD = "/nbrw/mnt"


@dataclass(frozen=True)
class View:
    """``strategy`` is there, links, namespace or none; ``cwd`` is for the kernel.

    ``work``: where the work directory is now, if its own path leads elsewhere since.
    """

    strategy: str
    cwd: str
    unreachable: tuple[str, ...] = ()
    note: str | None = None
    work: str | None = None


def hidden_mounts(table: str = "/proc/self/mountinfo") -> tuple[str, ...]:
    """Mounts below the image's relocated files, which hide some of them."""
    with contextlib.suppress(OSError):
        points = [line.split()[4] for line in Path(table).read_text().splitlines()]
        return tuple(point for point in points if point.startswith(RELOCATED_ROOT + "/"))
    return ()


def open_view(author_cwd: str, work_dir: Path, paths: Sequence[str]) -> View:
    """Make the author's working directory lead to ``work_dir``, and data paths into the image.

    Called once, early, while the process has one thread: it may enter new namespaces.
    """
    work = os.path.realpath(work_dir)
    missing = [path for path in paths if not _leads(path)]
    if os.path.realpath(author_cwd) == work and not missing:
        return View("there", author_cwd)
    if _root_is_writable():
        return _make_links(author_cwd, work, missing)
    try:
        _Namespace(author_cwd, work, missing).enter()
    except OSError as error:
        reason = error.strerror or str(error)
        note = f"the author's absolute paths are not there: no mount namespace here ({reason})"
        return View("none", work, tuple(missing), note)
    left = tuple(path for path in paths if not _leads(path))
    hidden = work.startswith(author_cwd + "/")  # the work directory is in its place
    return View("namespace", author_cwd, left, work=author_cwd if hidden else None)


def keep_ids(uid: int, gid: int) -> None:
    """In a new user namespace: be who one was outside. Raises OSError."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text)


def temporary_directory(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """One that a view may mount in its place: then it cannot be removed, only emptied."""
    return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)


def _leads(path: str) -> bool:
    """Whether a path of the author's leads to the image's file already."""
    place = image_path(path)
    try:
        return os.path.samefile(path, place)
    except OSError:
        return False


def _root_is_writable() -> bool:
    return os.access("/", os.W_OK) and os.access("/nbrw", os.W_OK) and not _is_read_only("/")


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _make_links(author_cwd: str, work: str, missing: Sequence[str]) -> View:
    failed = []
    for path, target in [(author_cwd, work), *((p, image_path(p)) for p in missing)]:
        if os.path.realpath(path) == os.path.realpath(target):
            continue
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(target, path)
        except OSError:
            failed.append(path)
    cwd = author_cwd if author_cwd not in failed else work
    return View("links", cwd, tuple(path for path in failed if path != author_cwd))


class _Namespace:
    """Covers directories with new ones in which the author's names are."""

    def __init__(self, author_cwd: str, work: str, missing: Sequence[str]) -> None:
        self._cwd = author_cwd
        self._work = work
        self._missing = missing
        self._covered: set[str] = set()
        self._held = 0
        self._libc = ctypes.CDLL(None, use_errno=True)

    def enter(self) -> None:
        """Raises OSError where the host forbids it; then nothing has changed for this process, or
        it is in a namespace where only more is visible than before.
        """
        here = os.getcwd()
        self._unshare()
        # Opened here: a mount of the former namespace cannot be bound in this one.
        work = os.open(self._work, os.O_PATH | os.O_DIRECTORY)
        self._mount("tmpfs", _HOLD, "tmpfs", _MS_NOSUID | _MS_NODEV)
        self._covered.add(_HOLD)
        if os.path.realpath(self._cwd) != self._work:
            self._make_directory(self._cwd)
            self._mount(f"/proc/self/fd/{work}", self._cwd, None, _MS_BIND | _MS_REC)
        os.close(work)
        for path in self._missing:
            if path == self._cwd or path.startswith(self._cwd + "/"):
                continue
            self._link(path)
        with contextlib.suppress(OSError):
            os.chdir(here)

    def _unshare(self) -> None:
        uid, gid = os.getuid(), os.getgid()
        if uid == 0 and self._libc.unshare(_CLONE_NEWNS) == 0:
            pass
        elif self._libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) == 0:
            keep_ids(uid, gid)
        else:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._mount("none", "/", None, _MS_REC | _MS_PRIVATE)

    def _mount(self, source: str, target: str, kind: str | None, flags: int) -> None:
        answer = self._libc.mount(
            os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, None
        )
        if answer != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"mount on {target}: {os.strerror(number)}")

    def _link(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self._cover(os.path.dirname(path))
            if os.path.lexists(path):
                if os.path.isdir(path) and not os.path.islink(path):
                    return
                os.unlink(path)
            place = image_path(path)
            if os.path.isdir(place):
                self._make_directory(path)
            else:
                os.symlink(place, path)

    def _make_directory(self, path: str) -> None:
        """A real, empty or covered directory of this name."""
        if path in self._covered:
            return
        self._cover(os.path.dirname(path))
        if os.path.islink(path):
            os.unlink(path)
        if not os.path.isdir(path):
            os.mkdir(path)
        self._covered.add(path)

    def _cover(self, path: str) -> None:
        """Make a directory in which names can be made; what was in it is seen as before."""
        if path in self._covered or path == "/":
            return
        if not os.path.isdir(path) or os.path.islink(path):
            self._make_directory(path)
            return
        self._held += 1
        hold = f"{_HOLD}/{self._held}"
        os.mkdir(hold)
        self._mount(path, hold, None, _MS_BIND | _MS_REC)
        self._mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV)
        for name in os.listdir(hold):
            self._show(f"{hold}/{name}", f"{path}/{name}")
        self._covered.add(path)

    def _show(self, source: str, target: str) -> None:
        """An entry of a covered directory under its own name."""
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.mkdir(target)
            with contextlib.suppress(OSError):
                self._mount(source, target, None, _MS_BIND | _MS_REC)
        else:
            os.symlink(source, target)
