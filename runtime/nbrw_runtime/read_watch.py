"""Watch which files a kernel and all its descendants use, while it runs.

A seccomp filter in the kernel (`read_watch_install.py`) has the operating system notify us of each
call that opens, makes, moves, removes or executes a file, or connects; we write down what it is
about and let it go on. Unlike a tracer this leaves debuggers and signals alone. The listener is a
thread of the process that started the kernel: if it is killed, calls of the kernel that the filter
stops fail (ENOSYS), and the kernel ends.

Source: seccomp_unotify(2), linux/seccomp.h.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from nbrw_runtime import tracee_memory as memory
from nbrw_runtime.accesses import Access, Use
from nbrw_runtime.call_decoder import CallDecoder
from nbrw_runtime.image_software import ImageSoftware
from nbrw_runtime.mount_table import read_mounts
from nbrw_runtime.notifications import Answerer, keep_answering
from nbrw_runtime.unix_path import short_path
from nbrw_runtime.watched_calls import watched_calls

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 20.0  # seconds for a kernel to put itself under the filter
_GRACE = 0.5  # seconds for the last descendants to end
_OLDEST = (5, 9)  # Linux that says when nobody is under the filter any more
_SWITCHING = 0.0005  # seconds that a busy thread here may keep the kernel waiting
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_MOUNTS = Path("/proc/self/mountinfo")
_NOT_FILES = ("/proc", "/sys", "/dev")


class ReadWatch:
    """Watches one kernel, which asks for it at ``socket_path``, and all that descends from it.

    Made before the kernel is started, which gives the path to `read_watch_install.install`, and
    after the process has entered its namespaces. Nothing is raised where watching cannot work.

    What lies below ``/proc``, ``/sys``, ``/dev`` and ``ignored`` is not written down, what is
    ``software`` only if it is changed. :attr:`why_not` says why nothing is watched, and is
    empty while the kernel is; :attr:`socket_path` is empty where no kernel can be.
    """

    def __init__(
        self,
        socket_path: str | Path,
        ignored: Sequence[str] = (),
        software: ImageSoftware | None = None,
    ) -> None:
        self.why_not = "the kernel did not ask to be watched"
        self.socket_path = str(socket_path)
        self._seen: dict[Access, Access] = {}
        self._lock = threading.Lock()
        self._stopping, self._stop = os.pipe()
        self._blind = ""
        self._thread: threading.Thread | None = None
        self._switching = sys.getswitchinterval()
        try:
            self._calls = watched_calls()
            self._decoder = CallDecoder((*_NOT_FILES, *ignored), software)
            self._socket = _listening(Path(socket_path))
        except OSError as error:
            self.why_not = f"no kernel can be watched here: {error}"
            self.socket_path = ""
            return
        _adopt_orphans()
        sys.setswitchinterval(min(self._switching, _SWITCHING))
        self._thread = threading.Thread(target=self._watch, name="nbrw-watch", daemon=True)
        self._thread.start()

    def seen(self) -> list[Access]:
        """What was used since the last :meth:`take`, in order, once for each thread. What a call
        used that has returned is there. Where nothing is watched this says so (``UNSEEN``)."""
        with self._lock:
            return self._told()

    def take(self) -> list[Access]:
        """The same, and forget it."""
        with self._lock:
            found = self._told()
            self._seen = {}
        return found

    def close(self) -> None:
        """Stop watching. What still runs under the filter is let go on, by a process of its own."""
        os.close(self._stop)
        if self._thread is not None:
            self._thread.join()
            sys.setswitchinterval(self._switching)
        os.close(self._stopping)

    def __enter__(self) -> ReadWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _told(self) -> list[Access]:
        found = list(self._seen.values())
        if self.why_not:
            found.append(Access(Use.UNSEEN, self.why_not, None, 0))
        return found

    # -- in the thread -------------------------------------------------------------------------

    def _watch(self) -> None:
        listener = None
        try:
            with self._socket:
                listener = self._invite()
            if listener is not None and not self._answer(listener):
                keep_answering(listener)
            self.why_not = self.why_not or "the kernel has ended, or the watch has"
        except Exception as error:
            self.why_not = str(error)
            if listener is not None:
                keep_answering(listener)
        finally:
            Path(self.socket_path).unlink(missing_ok=True)
            if listener is not None:
                os.close(listener)

    def _invite(self) -> int | None:
        """The kernel's listener; None if we are to stop. Raises OSError if it has none."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stopping, 0)
        if any(descriptor == self._stopping for descriptor, _ in poll.poll()):
            return None
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(_PATIENCE)
            listener = _agree(connection)
            self.why_not = ""
            try:
                connection.sendall(b"go")
            except OSError:
                os.close(listener)
                raise
        return listener

    def _answer(self, listener: int) -> bool:
        """Answer until nobody is under the filter (True), or a while after we are to stop."""
        answer = Answerer(listener)
        end: float | None = None
        with open(_MOUNTS, "rb") as mounts:
            poll = select.poll()
            # A new mount is heard of before the first call that uses it.
            poll.register(mounts, select.POLLPRI)
            poll.register(listener, select.POLLIN)
            poll.register(self._stopping, 0)
            before = _user_mounts()
            while end is None or time.monotonic() < end:
                ready = poll.poll(None if end is None else _GRACE * 1000)
                for descriptor, events in ready:
                    if descriptor == mounts.fileno():
                        self._look_at_mounts(before)
                    elif descriptor == self._stopping:
                        poll.unregister(descriptor)
                        end = time.monotonic() + _GRACE
                    elif not events & select.POLLIN:
                        return True
                    else:
                        self._one(answer)
        return False

    def _look_at_mounts(self, before: set[str]) -> None:
        """Asking for a file that a watched program serves would wait for an answer from us."""
        new = _user_mounts() - before
        if new:
            self._blind = f"what is mounted at {min(new)} may be served by the notebook itself"

    def _one(self, answer: Answerer) -> None:
        if not answer.receive():
            return
        # The call goes on with the answer: whoever takes afterwards waits for the lock.
        with self._lock:
            accesses = self._decode(answer.pid, answer.call, answer.arguments)
            if answer.let_go():
                for access in accesses:
                    self._seen.setdefault(access, access)

    def _decode(self, pid: int, call: int, arguments: Sequence[int]) -> list[Access]:
        if self._blind:
            return [Access(Use.UNSEEN, self._blind, None, pid)]
        try:
            return self._decoder.decode(pid, self._calls[call], arguments)
        except Exception as error:  # whatever it is, the kernel goes on
            return [Access(Use.UNSEEN, f"a call could not be decoded: {error!r}", None, pid)]


def _listening(path: Path) -> socket.socket:
    release = os.uname().release
    numbers = tuple(int(word) for word in release.split("-")[0].split(".")[:2])
    if numbers < _OLDEST:
        raise OSError(f"it needs Linux {_OLDEST[0]}.{_OLDEST[1]}, this is {release}")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as short:
        made.bind(short)
    path.chmod(0o600)
    made.listen(1)
    return made


def _agree(connection: socket.socket) -> int:
    """The listener of the kernel at the other end. Raises OSError with the reason if none."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if uid != os.geteuid():
        raise OSError("another user's process asked to be watched")
    offer, _ = _message(connection)
    try:
        if memory.read_string(pid, offer["address"]) != offer["token"].encode():
            raise OSError(errno.EIO, "it reads as something else")
    except OSError as error:
        reason = f"the kernel's memory cannot be read here: {error.strerror}"
        connection.sendall(reason.encode())
        raise OSError(reason) from error
    connection.sendall(b"ok")
    _, listener = _message(connection)
    if listener is None:
        raise OSError("the kernel ended while it put itself under the filter")
    return listener


def _message(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """A message, and the descriptor that came with it. Raises OSError with the kernel's reason."""
    space = socket.CMSG_SPACE(array.array("i").itemsize)
    data, rights, _, _ = connection.recvmsg(4096, space, socket.MSG_CMSG_CLOEXEC)
    value = json.loads(data or b"{}")
    if "reason" in value:
        raise OSError(value["reason"])
    for level, kind, content in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return value, array.array("i", content)[0]
    return value, None


def _user_mounts() -> set[str]:
    """Where file systems are mounted that programs serve."""
    return {m.point for m in read_mounts(_MOUNTS.read_text()) if m.kind.startswith("fuse")}


def _adopt_orphans() -> None:
    """Where only ancestors may read a process' memory, stay the ancestor of all descendants."""
    with contextlib.suppress(OSError, ValueError):
        if int(_YAMA.read_text()) == 1:
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
