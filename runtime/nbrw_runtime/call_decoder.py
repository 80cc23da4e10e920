"""What a notified system call is about to do: its number and arguments to accesses.

The calling thread waits meanwhile, so its memory, directory and descriptors hold still. The paths
mean the same here as there only in the same mount namespace and root, which is checked.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

from nbrw_runtime import tracee_memory as memory
from nbrw_runtime.accesses import Access, Stamp, Use
from nbrw_runtime.image_software import ImageSoftware

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_O_PATH = 0o10000000
_O_TMPFILE = 0o20000000
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_CLONE_NEWNS = 0x20000
# The place of the path argument; the descriptor of a directory stands before it in "...at" calls.
_PATHS = {
    "open": 0, "openat": 1, "openat2": 1, "creat": 0, "truncate": 0, "execve": 0, "execveat": 1,
    "mkdir": 0, "mkdirat": 1, "mknod": 0, "mknodat": 1, "unlink": 0, "unlinkat": 1, "rmdir": 0,
    "symlink": 1, "symlinkat": 2,
}  # fmt: skip
_PAIRS = {
    "rename": (0, 1),
    "renameat": (1, 3),
    "renameat2": (1, 3),
    "link": (0, 1),
    "linkat": (1, 3),
}
_WITH_DIRECTORY = frozenset(
    {"openat", "openat2", "execveat", "mkdirat", "mknodat", "unlinkat", "symlinkat", "renameat",
     "renameat2", "linkat"}
)  # fmt: skip
_OPENS = frozenset({"open", "openat", "openat2", "creat"})
_MAKES = frozenset({"mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"})
_VIEWS = frozenset({"chroot", "pivot_root", "unshare", "setns"})


class CallDecoder:
    """Decodes calls of one kernel and its descendants.

    What lies below ``ignored`` is no access; what is ``software`` is none if it is only read or
    executed.
    """

    def __init__(self, ignored: Sequence[str] = (), software: ImageSoftware | None = None) -> None:
        software = software or ImageSoftware()
        self._ignored = _below(ignored)
        self._tops = _below(software.tops)
        self._foreign = _below(software.foreign)
        self._foreign_files = frozenset(os.fsencode(path) for path in software.foreign)
        self._view = _view("self")
        self._same_view: set[int] = set()

    def decode(self, pid: int, name: str, arguments: Sequence[int]) -> list[Access]:
        """The accesses of one call by the thread ``pid``; what cannot be told is UNSEEN."""
        try:
            return self._decode(pid, name, arguments)
        except OSError as error:
            return [_unseen(pid, f"{name} of process {pid} could not be read: {error.strerror}")]

    def _decode(self, pid: int, name: str, arguments: Sequence[int]) -> list[Access]:
        if name in _VIEWS:
            self._same_view.clear()
            return []
        if name == "io_uring_setup":
            return [_unseen(pid, f"process {pid} opens files by io_uring")]
        if name == "open_by_handle_at":
            return [_unseen(pid, f"process {pid} opens files by handle")]
        if name == "connect":
            return _connected(pid, memory.read(pid, arguments[1], min(arguments[2], 128)))
        if pid not in self._same_view:
            if _view(str(pid)) != self._view:
                return [_unseen(pid, f"process {pid} has another root or mount namespace")]
            self._same_view.add(pid)
        if name in _PAIRS:
            return self._pair(pid, name, arguments)
        return self._single(pid, name, arguments)

    def _single(self, pid: int, name: str, arguments: Sequence[int]) -> list[Access]:
        place = _PATHS[name]
        path = self._path(pid, arguments, place, name in _WITH_DIRECTORY)
        if path is None and name == "execveat" and arguments[4] & _AT_EMPTY_PATH:
            path = os.fsencode(os.readlink(f"/proc/{pid}/fd/{_signed(arguments[0])}"))
        if path is None or path.startswith(self._ignored):
            return []
        if name in _OPENS:
            flags = self._flags(pid, name, arguments)
            if flags & _O_TMPFILE == _O_TMPFILE:
                return []  # it has no name yet; linkat gives it one
            reads = flags & _ACCESS == os.O_RDONLY and not flags & (os.O_CREAT | os.O_TRUNC)
            if reads and self._is_software(path):
                return []
            stamp = _stamp(path)
            use = _use(flags, stamp)
        else:
            if name.startswith("exec"):
                if self._is_software(path):
                    return []
                use, stamp = Use.EXECUTE, _stamp(path)
            elif name in _MAKES:
                stamp = _stamp(path)
                use = Use.WRITE if stamp is None else Use.READ
            elif name == "truncate":
                use, stamp = (Use.UPDATE if arguments[1] else Use.WRITE), _stamp(path)
            else:
                use, stamp = Use.REMOVE, _stamp(path)
        return [Access(use, os.fsdecode(path), stamp, pid)]

    def _pair(self, pid: int, name: str, arguments: Sequence[int]) -> list[Access]:
        first, second = _PAIRS[name]
        given = name in _WITH_DIRECTORY
        old = self._path(pid, arguments, first, given)
        new = self._path(pid, arguments, second, given)
        if new is None:
            return []
        if old is None or old.startswith(b"/proc/"):  # an unnamed file gets its name
            return [Access(Use.WRITE, os.fsdecode(new), _stamp(new), pid)]
        stamp = _stamp(old)
        if stamp is not None and stamp.is_directory:
            return [_unseen(pid, f"the directory {os.fsdecode(old)} is moved")]
        accesses = [Access(Use.READ, os.fsdecode(old), stamp, pid)]
        if stamp is not None:
            if name.startswith("rename"):
                accesses.append(Access(Use.REMOVE, os.fsdecode(old), stamp, pid))
            accesses.append(Access(Use.WRITE, os.fsdecode(new), _stamp(new), pid))
        return [a for a in accesses if not os.fsencode(a.path).startswith(self._ignored)]

    def _is_software(self, path: bytes) -> bool:
        return (
            path.startswith(self._tops)
            and not path.startswith(self._foreign)
            and path not in self._foreign_files
        )

    def _path(self, pid: int, arguments: Sequence[int], place: int, given: bool) -> bytes | None:
        """The absolute path of an argument; None if it is empty."""
        path = memory.read_string(pid, arguments[place])
        if not path:
            return None
        if not path.startswith(b"/"):
            start = _signed(arguments[place - 1]) if given else _AT_FDCWD
            link = f"/proc/{pid}/cwd" if start == _AT_FDCWD else f"/proc/{pid}/fd/{start}"
            path = os.fsencode(os.readlink(link)) + b"/" + path
        return _normal(path)

    def _flags(self, pid: int, name: str, arguments: Sequence[int]) -> int:
        if name == "creat":
            return os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        if name == "openat2":
            return memory.read_words(pid, arguments[2], 1)[0]
        return arguments[_PATHS[name] + 1]


def _below(tops: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(os.fsencode(top.rstrip("/") + "/") for top in tops)


def _use(flags: int, stamp: Stamp | None) -> Use:
    """What an open with these flags does to what is there."""
    access = flags & _ACCESS
    if flags & _O_PATH:
        return Use.READ
    if stamp is None:
        return Use.WRITE if flags & os.O_CREAT else Use.READ
    if stamp.is_directory:
        return Use.LIST
    if flags & os.O_CREAT and flags & os.O_EXCL:
        return Use.READ  # it fails, as the file is there
    if flags & os.O_TRUNC:
        return Use.WRITE
    return Use.READ if access == os.O_RDONLY else Use.UPDATE


def _normal(path: bytes) -> bytes:
    """Without ``//``, ``.`` and ``..``; a symbolic link stays in it unless ``..`` leads back."""
    if b"//" not in path and b"/." not in path and not path.endswith(b"/"):
        return path
    place = b""
    for part in path.split(b"/"):
        if part == b"..":
            place = (os.path.realpath(place) if os.path.islink(place) else place).rpartition(b"/")[
                0
            ]
        elif part not in (b"", b"."):
            place += b"/" + part
    return place or b"/"


def _stamp(path: bytes) -> Stamp | None:
    try:
        s = os.stat(path)
    except (OSError, ValueError):
        return None
    return Stamp(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode)


def _view(pid: str) -> tuple[str, str]:
    return os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink(f"/proc/{pid}/root")


def _signed(value: int) -> int:
    return struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFF))[0]


def _unseen(pid: int, text: str) -> Access:
    return Access(Use.UNSEEN, text, None, pid)


def _connected(pid: int, data: bytes) -> list[Access]:
    if len(data) < 3:
        return []
    (family,) = struct.unpack_from("<H", data)
    if family == socket.AF_UNIX:
        name = data[2:]
        text = (
            "@" + os.fsdecode(name[1:]) if name[:1] == b"\0" else os.fsdecode(name.split(b"\0")[0])
        )
        address = f"unix:{text}"
    elif family == socket.AF_INET and len(data) >= 8:
        (port,) = struct.unpack_from(">H", data, 2)
        address = f"{socket.inet_ntop(family, data[4:8])}:{port}"
    elif family == socket.AF_INET6 and len(data) >= 24:
        (port,) = struct.unpack_from(">H", data, 2)
        address = f"[{socket.inet_ntop(family, data[8:24])}]:{port}"
    else:
        return []
    return [Access(Use.CONNECT, address, None, pid)]
