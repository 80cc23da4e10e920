"""The tracer's wait loop: stops of traced processes to events.

Source: ptrace(2), and the order of calls in `docs/format/trace.md`. Whatever goes wrong while a
stop is decoded, the process is let go on; what was missed is a gap in the trace.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptrace import PtraceError
from ptrace.binding.func import ptrace, ptrace_geteventmsg

from nbrw_builder.stop_decoder import Decoder, Pending
from nbrw_builder.trace_writer import TraceWriter

_WALL = 0x40000000
_CONT, _SYSCALL = 7, 24
_SEIZE, _LISTEN, _GET_SYSCALL_INFO = 0x4206, 0x4208, 0x420E
# SYSGOOD, FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
_OPTIONS = 1 | 2 | 4 | 8 | 0x10 | 0x80 | 0x100000
_EVENT_EXEC, _EVENT_SECCOMP, _EVENT_STOP = 4, 7, 128
_NEW = (1, 2, 3)  # fork, vfork, clone
_STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_INFO_SIZE = 88


def seize(pid: int) -> None:
    """Begin to trace a process. Raises OSError where the host forbids it."""
    try:
        ptrace(_SEIZE, pid, 0, _OPTIONS)
    except PtraceError as error:
        number = error.errno or errno.EPERM
        raise OSError(number, f"ptrace: {os.strerror(number)}") from error


class TracerLoop:
    """Traces one kernel and all that descends from it until the last of them has ended."""

    def __init__(
        self,
        kernel: int,
        calls: dict[int, str],
        writer: TraceWriter,
        decoder: Decoder,
        kernel_ended: Callable[[], None],
    ) -> None:
        self._kernel = kernel
        self._calls = calls
        self._writer = writer
        self._decoder = decoder
        self._kernel_ended = kernel_ended
        self._pending: dict[int, Pending] = {}
        self._info = ctypes.create_string_buffer(_INFO_SIZE)
        self._info_address = ctypes.addressof(self._info)
        self._failures = 0

    def run(self) -> None:
        """Wait and decode until nothing is left to trace."""
        while True:
            try:
                tid, status = os.waitpid(-1, _WALL | os.WNOHANG)
                if not tid:
                    # Nobody waits for us: time to write down what was seen.
                    self._decoder.settle()
                    tid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                return
            except InterruptedError:
                continue
            try:
                self._handle(tid, status)
            except PtraceError as error:
                # The process was killed while it was stopped: its end is reported next.
                if error.errno != errno.ESRCH:
                    self._decoder.gap(f"ptrace failed: {error}", tid)

    def _handle(self, tid: int, status: int) -> None:
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            self._pending.pop(tid, None)
            self._decoder.ended(tid, status)
            self._decoder.settle()
            if tid == self._kernel:
                self._writer.flush()
                self._kernel_ended()
            return
        event = status >> 16
        number = (status >> 8) & 0xFF
        if event == _EVENT_SECCOMP:
            self._resume(tid, self._guarded(tid, self._entered))
        elif event == 0 and number == _SYSCALL_STOP:
            self._resume(tid, self._guarded(tid, self._left))
        elif event in _NEW:
            self._decoder.born(ptrace_geteventmsg(tid), tid)
            self._resume(tid, tid in self._pending)
        elif event == _EVENT_EXEC:
            former = ptrace_geteventmsg(tid)
            pending = self._pending.pop(former, None) or self._pending.pop(tid, None)
            with contextlib.suppress(Exception):
                self._decoder.executed(tid, former, pending)
            self._resume(tid, False)
        elif event == _EVENT_STOP:
            if number in _STOPPING:
                ptrace(_LISTEN, tid, 0, 0)
            else:
                ptrace(_CONT, tid, 0, 0)
        else:
            ptrace(_CONT, tid, 0, number)

    def _guarded(self, tid: int, decode: Callable[[int], bool]) -> bool:
        """Decode; whatever it raises becomes a gap. Returns whether the exit is awaited."""
        try:
            return decode(tid)
        except PtraceError:
            raise
        except Exception as error:
            self._failures += 1
            if self._failures <= 100:
                self._decoder.gap(f"a call could not be decoded: {error!r}", tid)
            self._pending.pop(tid, None)
            return False

    def _entered(self, tid: int) -> bool:
        ptrace(_GET_SYSCALL_INFO, tid, _INFO_SIZE, self._info_address)
        number, *arguments = struct.unpack_from("<7Q", self._info, 24)
        name = self._calls.get(number)
        if name is None:
            return False
        pending = self._decoder.entered(tid, name, arguments)
        if pending is None:
            return False
        self._pending[tid] = pending
        return True

    def _left(self, tid: int) -> bool:
        pending = self._pending.pop(tid, None)
        if pending is None:
            return False
        ptrace(_GET_SYSCALL_INFO, tid, _INFO_SIZE, self._info_address)
        (result,) = struct.unpack_from("<q", self._info, 24)
        # ERESTARTSYS and its like: the call is made again and stops again.
        if not -516 <= result <= -512:
            self._decoder.left(pending, result)
        return False

    def _resume(self, tid: int, await_exit: bool) -> None:
        ptrace(_SYSCALL if await_exit else _CONT, tid, 0, 0)


def clock() -> Callable[[], float]:
    """Seconds since now."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def write_window(directory: Path | None, cell: int, value: dict[str, Any]) -> None:
    """Put a cell's file list where the kernel looks for it, atomically."""
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{cell}.json"
    temporary = directory / f".{cell}.new"
    data = json.dumps(value, ensure_ascii=True).encode("ascii")
    with open(temporary, "wb") as stream:
        stream.write(data)
    temporary.rename(target)
