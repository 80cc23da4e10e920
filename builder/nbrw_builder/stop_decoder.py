"""What a system call of a traced process means: raw arguments to events. `docs/format/trace.md`."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_builder.executables import interpreters
from nbrw_builder.file_changes import FileChanges
from nbrw_builder.syscalls import OPENS
from nbrw_builder.trace_writer import TraceWriter
from nbrw_runtime import tracee_memory as memory
from nbrw_runtime.file_facts import facts_of

_MARKER = b"/nbrw/cell/"
_AT_FDCWD = -100
_O_PATH = 0o10000000
_O_TMPFILE = 0o20000000
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_CLONE_NEWNS = 0x20000
_ARGUMENTS, _ARGUMENT_LENGTH = 5, 200
_NOT_FILES = ("/proc", "/sys", "/dev")
_AT_EMPTY_PATH = 0x1000


@dataclass
class Pending:
    """A call whose result is awaited."""

    tid: int
    name: str
    record: dict[str, Any]
    paths: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


class Decoder:
    """Turns stops into records of the trace; knows processes, cells and what was seen before."""

    def __init__(
        self,
        kernel: int,
        writer: TraceWriter,
        clock: Callable[[], float],
        ignored: Sequence[str],
        preserved: Path,
        window_ended: Callable[[int, dict[str, Any]], None],
        all_mark: bool = False,
    ) -> None:
        self._kernel = kernel
        self._all_mark = all_mark  # cells are marked by any process, not only by the kernel
        self._writer = writer
        self._clock = clock
        tops = [prefix.rstrip("/") for prefix in (*ignored, *_NOT_FILES)]
        self._ignored = frozenset(tops)
        self._below_ignored = tuple(top + "/" for top in tops)
        self._reads: list[tuple[Any, ...]] = []
        self._changes = FileChanges(preserved, lambda reason: self.gap(reason, None))
        self._window_ended = window_ended
        self._cell: int | None = 0
        self._groups: dict[int, int] = {kernel: kernel}  # thread -> process
        self._origins: dict[int, int | None] = {}  # process -> cell in which it stems
        self._seen: set[tuple[Any, ...]] = set()

    # -- processes -----------------------------------------------------------------------------

    def born(self, tid: int, creator: int) -> None:
        """A thread or process was made."""
        parent = self._group(creator)
        group = self._thread_group(tid)
        self._groups[tid] = group
        if group == tid:
            origin = self._cell if parent == self._kernel else self._origins.get(parent)
            self._origins[tid] = origin
            self._emit("process", tid, detail={"parent": parent})

    def ended(self, tid: int, status: int) -> None:
        """A thread or process ended."""
        if self._groups.pop(tid, tid) == tid:
            self._emit("exit", tid, result=status)

    def executed(self, tid: int, former: int, pending: Pending | None) -> None:
        """An execve succeeded; the process goes on under its own id, its other threads are gone."""
        for thread in [t for t, group in self._groups.items() if group == tid and t != tid]:
            del self._groups[thread]
        self._groups[tid] = tid
        if pending is None:
            self.gap("a program was started, but not which", tid)
            return
        pending.record["pid"] = tid
        self._write(pending.record)
        path = pending.record["path"]
        for interpreter in interpreters(path):
            self._read(tid, interpreter)
        mode = (pending.record.get("facts") or {}).get("mode", 0)
        if mode & (stat.S_ISUID | stat.S_ISGID):
            self.gap(f"{path} has lost its set-uid privilege, as it was traced", tid)

    def gap(self, reason: str, tid: int | None) -> None:
        """Something was not seen."""
        record: dict[str, Any] = {"kind": "gap", "reason": reason, "time": round(self._clock(), 6)}
        if tid is not None:
            record["pid"] = tid
        if self._cell is not None:
            record["cell"] = self._cell
        self._writer.add(record)

    # -- calls ---------------------------------------------------------------------------------

    def entered(self, tid: int, name: str, args: Sequence[int]) -> Pending | None:
        """A call is about to be made. Returns what to finish when its result is there."""
        if name in OPENS:
            return self._open(tid, name, args)
        if name in ("readlink", "readlinkat"):
            self._marker(tid, args[0] if name == "readlink" else args[1])
            return None
        return getattr(self, "_" + name)(tid, args)

    def left(self, pending: Pending, result: int) -> None:
        """A call that was awaited came back with this result."""
        record = pending.record
        record["result"] = min(result, 0)
        if pending.name == "gap":
            if result >= 0:
                self.gap(pending.extra["reason"], pending.tid)
            return
        if result >= 0:
            for path in pending.paths:
                self._changes.wrote(path)
            if pending.name == "rename":
                source, target = pending.paths[0], pending.paths[-1]
                if pending.extra.get("directory"):
                    self._changes.moved(source, target)
        self._write(record)

    def _open(self, tid: int, name: str, args: Sequence[int]) -> Pending | None:
        if name == "open":
            directory, address, flags = _AT_FDCWD, args[0], args[1]
        elif name == "openat":
            directory, address, flags = _signed(args[0]), args[1], args[2]
        else:
            directory, address = _signed(args[0]), args[1]
            (flags,) = memory.read_words(tid, args[2], 1)
        path = self._path(tid, directory, address)
        if path is None or self._is_ignored(path):
            return None
        flags &= 0xFFFFFFFF
        if flags & _ACCESS == os.O_RDONLY and not flags & (os.O_CREAT | os.O_TRUNC):
            self._read(tid, path, flags)
            return None
        if flags & _O_TMPFILE == _O_TMPFILE:
            return None
        return self._write_open(tid, path, flags)

    def _creat(self, tid: int, args: Sequence[int]) -> Pending | None:
        path = self._path(tid, _AT_FDCWD, args[0])
        if path is None or self._is_ignored(path):
            return None
        return self._write_open(tid, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def _read(self, tid: int, path: str, flags: int = 0) -> None:
        status: os.stat_result | None = None
        kind, result = "read", 0
        try:
            status = os.lstat(path) if flags & os.O_NOFOLLOW else os.stat(path)
        except OSError as error:
            result = -(error.errno or errno.ENOENT)
        except ValueError:
            result = -errno.ENOENT
        else:
            if stat.S_ISDIR(status.st_mode):
                kind = "list"
            elif flags & os.O_DIRECTORY:
                result = -errno.ENOTDIR
            elif flags & os.O_NOFOLLOW and stat.S_ISLNK(status.st_mode):
                result = 0 if flags & _O_PATH else -errno.ELOOP
            if result == 0 and not flags & _O_PATH and not _is_readable(path, status):
                result = -errno.EACCES
        if result == 0 and status is not None and stat.S_ISREG(status.st_mode):
            self._changes.read(path)
        # The process need not wait while this is written down.
        group = self._group(tid)
        origin = self._cell if group == self._kernel else self._origins.get(group)
        self._reads.append(
            (kind, self._clock(), group, self._cell, origin, path, status, result, flags)
        )

    def settle(self) -> None:
        """Write down what was seen of calls whose process goes on already."""
        reads, self._reads = self._reads, []
        for kind, when, group, cell, origin, path, status, result, flags in reads:
            facts = facts_of(status) if status is not None else None
            key = (
                group,
                kind,
                path,
                result,
                facts and (facts["inode"], facts["size"], facts["ctime_ns"], facts["device"]),
            )
            if key in self._seen:
                continue
            self._seen.add(key)
            record = _made(kind, when, group, cell, origin)
            record["path"] = path
            if result:
                record["result"] = result
            if facts is not None:
                record["facts"] = facts
            if flags & _O_PATH:
                record["flags"] = ["path"]
            self._writer.add(record)

    def _write_open(self, tid: int, path: str, flags: int) -> Pending | None:
        status = _stat(path)
        existed = status is not None
        words = []
        if flags & os.O_CREAT and not existed:
            words.append("create")
        if flags & os.O_TRUNC:
            words.append("truncate")
        if flags & os.O_APPEND:
            words.append("append")
        if flags & _ACCESS == os.O_RDWR:
            words.append("read")
        if existed:
            words.append("existed")
        if existed and flags & _ACCESS == os.O_RDONLY and not flags & os.O_TRUNC:
            self._read(tid, path, flags & ~os.O_CREAT)
            return None
        if status is not None and not stat.S_ISREG(status.st_mode):
            existed = False  # a terminal, a pipe, a directory: not a file to keep
        record = self._record(
            "write", tid, path=path, flags=words, facts=facts_of(status) if status else None
        )
        if existed and status is not None:
            if "read" in words and "truncate" not in words:
                self._changes.read(path)
            self._keep(record, path, status, by_name_only=False)
        if status is None or stat.S_ISREG(status.st_mode):
            self._changes.touch(path, existed)
            return Pending(tid, "write", record, (path,))
        return Pending(tid, "write", record)

    def _truncate(self, tid: int, args: Sequence[int]) -> Pending | None:
        path = self._path(tid, _AT_FDCWD, args[0])
        if path is None or self._is_ignored(path):
            return None
        return self._write_open(tid, path, os.O_WRONLY)

    def _keep(
        self, record: dict[str, Any], path: str, status: os.stat_result, by_name_only: bool
    ) -> None:
        kept = self._changes.preserve(path, status, by_name_only)
        if kept is not None:
            record.setdefault("detail", {})["preserved"] = kept

    def _two(
        self, tid: int, kind: str, first: tuple[int, int], second: tuple[int, int]
    ) -> tuple[dict[str, Any], str, str] | None:
        path = self._path(tid, *first)
        target = self._path(tid, *second)
        if path is None or target is None:
            return None
        if self._is_ignored(path) and self._is_ignored(target):
            return None
        return self._record(kind, tid, path=path, target=target), path, target

    def _moves(self, tid: int, first: tuple[int, int], second: tuple[int, int]) -> Pending | None:
        found = self._two(tid, "rename", first, second)
        if found is None:
            return None
        record, path, target = found
        source, replaced = _lstat(path), _lstat(target)
        directory = source is not None and stat.S_ISDIR(source.st_mode)
        if source is not None and not directory:
            self._keep(record, path, source, by_name_only=True)
        if replaced is not None:
            self._keep(record, target, replaced, by_name_only=True)
        if not directory:
            self._changes.touch(path, source is not None)
            self._changes.touch(target, replaced is not None)
        return Pending(tid, "rename", record, (path, target), extra={"directory": directory})

    def _rename(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._moves(tid, (_AT_FDCWD, args[0]), (_AT_FDCWD, args[1]))

    def _renameat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._moves(tid, (_signed(args[0]), args[1]), (_signed(args[2]), args[3]))

    _renameat2 = _renameat

    def _remove(self, tid: int, directory: int, address: int) -> Pending | None:
        path = self._path(tid, directory, address)
        if path is None or self._is_ignored(path):
            return None
        status = _lstat(path)
        record = self._record("remove", tid, path=path, facts=facts_of(status) if status else None)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            self._keep(record, path, status, by_name_only=True)
            self._changes.touch(path, True)
        return Pending(tid, "remove", record)

    def _unlink(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._remove(tid, _AT_FDCWD, args[0])

    _rmdir = _unlink

    def _unlinkat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._remove(tid, _signed(args[0]), args[1])

    def _links(
        self, tid: int, first: tuple[int, int], second: tuple[int, int], symbolic: bool
    ) -> Pending | None:
        target = self._path(tid, *second)
        if target is None or self._is_ignored(target):
            return None
        if symbolic:
            path = os.fsdecode(memory.read_string(tid, first[1]))
        else:
            path = self._path(tid, *first) or ""
        record = self._record("link", tid, path=path, target=target)
        record["flags"] = ["symbolic"] if symbolic else ["hard"]
        self._changes.touch(target, _lstat(target) is not None)
        return Pending(tid, "link", record, (target,))

    def _link(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._links(tid, (_AT_FDCWD, args[0]), (_AT_FDCWD, args[1]), False)

    def _linkat(self, tid: int, args: Sequence[int]) -> Pending | None:
        first = (_signed(args[0]), args[1])
        return self._links(tid, first, (_signed(args[2]), args[3]), False)

    def _symlink(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._links(tid, (_AT_FDCWD, args[0]), (_AT_FDCWD, args[1]), True)

    def _symlinkat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._links(tid, (_AT_FDCWD, args[0]), (_signed(args[1]), args[2]), True)

    def _makes(self, tid: int, kind: str, directory: int, address: int) -> Pending | None:
        path = self._path(tid, directory, address)
        if path is None or self._is_ignored(path):
            return None
        self._changes.touch(path, _lstat(path) is not None)
        return Pending(tid, kind, self._record(kind, tid, path=path))

    def _mkdir(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._makes(tid, "mkdir", _AT_FDCWD, args[0])

    def _mkdirat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._makes(tid, "mkdir", _signed(args[0]), args[1])

    def _mknod(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._node(tid, _AT_FDCWD, args[0])

    def _mknodat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._node(tid, _signed(args[0]), args[1])

    def _node(self, tid: int, directory: int, address: int) -> Pending | None:
        path = self._path(tid, directory, address)
        if path is None or self._is_ignored(path):
            return None
        record = self._record("write", tid, path=path, flags=["create"])
        self._changes.touch(path, _lstat(path) is not None)
        return Pending(tid, "write", record, (path,))

    def _execve(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._exec(tid, _AT_FDCWD, args[0], args[1])

    def _execveat(self, tid: int, args: Sequence[int]) -> Pending | None:
        return self._exec(tid, _signed(args[0]), args[1], args[2], args[4])

    def _exec(
        self, tid: int, directory: int, address: int, argv: int, flags: int = 0
    ) -> Pending | None:
        if flags & _AT_EMPTY_PATH and not memory.read_string(tid, address, 1):
            path: str | None = os.readlink(f"/proc/{tid}/fd/{directory}")
        else:
            path = self._path(tid, directory, address)
        if path is None:
            return None
        try:
            words = memory.read_string_array(tid, argv, _ARGUMENTS, _ARGUMENT_LENGTH)
        except OSError:
            words = []
        status = _stat(path)
        record = self._record(
            "exec",
            tid,
            path=path,
            facts=facts_of(status) if status else None,
            detail={"argv": [word.decode("utf-8", "backslashreplace") for word in words]},
        )
        return Pending(tid, "execve", record)

    def _connect(self, tid: int, args: Sequence[int]) -> Pending | None:
        data = memory.read(tid, args[1], max(2, min(args[2], 128)))
        (family,) = struct.unpack_from("<H", data)
        detail: dict[str, Any]
        if family == socket.AF_INET and len(data) >= 8:
            (port,) = struct.unpack_from(">H", data, 2)
            address = socket.inet_ntop(socket.AF_INET, data[4:8])
            detail = {"family": "inet", "address": address, "port": port}
        elif family == socket.AF_INET6 and len(data) >= 24:
            (port,) = struct.unpack_from(">H", data, 2)
            address = socket.inet_ntop(socket.AF_INET6, data[8:24])
            detail = {"family": "inet6", "address": address, "port": port}
        elif family == socket.AF_UNIX:
            name = data[2:].split(b"\0")[0] if data[2:3] != b"\0" else b"@"
            detail = {"family": "unix", "address": os.fsdecode(name)}
        else:
            return None
        return Pending(tid, "connect", self._record("connect", tid, detail=detail))

    def _io_uring_setup(self, tid: int, args: Sequence[int]) -> Pending:
        reason = "io_uring is used: what it opens cannot be seen"
        return Pending(tid, "gap", {}, extra={"reason": reason})

    def _chroot(self, tid: int, args: Sequence[int]) -> Pending:
        reason = "a process changed its root directory: its paths are not the host's"
        return Pending(tid, "gap", {}, extra={"reason": reason})

    def _unshare(self, tid: int, args: Sequence[int]) -> Pending | None:
        if not args[0] & _CLONE_NEWNS:
            return None
        reason = "a process made a mount namespace: its paths may not be the host's"
        return Pending(tid, "gap", {}, extra={"reason": reason})

    def _setns(self, tid: int, args: Sequence[int]) -> Pending:
        reason = "a process entered another namespace: its paths may not be the host's"
        return Pending(tid, "gap", {}, extra={"reason": reason})

    def _marker(self, tid: int, address: int) -> None:
        self.settle()
        text = memory.read_string(tid, address, 64)
        if not text.startswith(_MARKER):
            return
        if self._group(tid) != self._kernel and not self._all_mark:
            return
        number, _, edge = text[len(_MARKER) :].partition(b"/")
        if not number.isdigit() or edge not in (b"begin", b"end"):
            return
        cell = int(number)
        if edge == b"begin":
            self._cell = cell
            self._seen.clear()
            self._emit("cell", tid, flags=["begin"])
            return
        self._emit("cell", tid, flags=["end"])
        self._cell = None
        self._seen.clear()
        changes = self._changes.end_window()
        self._writer.flush()
        self._window_ended(cell, changes)

    # -- helpers -------------------------------------------------------------------------------

    def _path(self, tid: int, directory: int, address: int) -> str | None:
        """The absolute, normalised path of an argument; None if there is none."""
        raw = memory.read_string(tid, address)
        if not raw:
            return None
        if len(raw) >= memory.PATH_MAX:
            return None  # the kernel refuses it with ENAMETOOLONG
        path = os.fsdecode(raw)
        if not path.startswith("/"):
            base = f"/proc/{tid}/cwd" if directory == _AT_FDCWD else f"/proc/{tid}/fd/{directory}"
            try:
                path = os.readlink(base) + "/" + path
            except OSError as error:
                self.gap(f"the directory of {path!r} is not known: {error.strerror}", tid)
                return None
        return normalise(path)

    def _is_ignored(self, path: str) -> bool:
        return path.startswith(self._below_ignored) or path in self._ignored

    def _group(self, tid: int) -> int:
        group = self._groups.get(tid)
        if group is None:
            group = self._groups[tid] = self._thread_group(tid)
            if group not in self._origins and group != self._kernel:
                self._origins[group] = self._cell
        return group

    @staticmethod
    def _thread_group(tid: int) -> int:
        try:
            with open(f"/proc/{tid}/status", "rb") as stream:
                for line in stream:
                    if line.startswith(b"Tgid:"):
                        return int(line[5:])
        except OSError:
            pass
        return tid

    def _record(self, kind: str, tid: int, **fields: Any) -> dict[str, Any]:
        group = self._group(tid)
        origin = self._cell if group == self._kernel else self._origins.get(group)
        record = _made(kind, self._clock(), group, self._cell, origin)
        record.update((key, value) for key, value in fields.items() if value)
        return record

    def _emit(self, kind: str, tid: int, **fields: Any) -> None:
        self._write(self._record(kind, tid, **fields))

    def _write(self, record: dict[str, Any]) -> None:
        if self._reads:
            self.settle()
        path = record.get("path")
        if record["kind"] == "exec" and path and self._is_ignored(path):
            return
        self._writer.add(record)


def normalise(path: str) -> str:
    """An absolute path without ``.``, ``..`` and ``//``; links are followed before ``..``."""
    if "//" not in path and "/." not in path and not path.endswith("/"):
        return path  # nearly all are
    if ".." not in path:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        return "/" + "/".join(parts)
    current = "/"
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            current = os.path.dirname(os.path.realpath(current))
        else:
            current = current.rstrip("/") + "/" + part
    return current


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def _made(
    kind: str, when: float, group: int, cell: int | None, origin: int | None
) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": kind, "time": round(when, 6), "pid": group}
    if cell is not None:
        record["cell"] = cell
    if origin is not None:
        record["origin"] = origin
    return record


def _is_readable(path: str, status: os.stat_result) -> bool:
    """Whether a file that could be looked at can be read, too."""
    return status.st_mode & 0o444 == 0o444 or os.access(path, os.R_OK)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (OSError, ValueError):
        return None
