"""Where tracing is refused: Python's own audit events of the kernel, in the trace's format.

Source: PEP 578. Seen are the opens and starts of programs that go through Python, in this process
only; the trace's gap says so.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from typing import Any

from nbrw_runtime.file_facts import facts_of
from nbrw_runtime.window import left_by_window

#: The audit event by which the session marks cells: readlink, the tracer's mark, has none.
CELL_EVENT = "nbrw.cell"
_NOT_FILES = ("/proc", "/sys", "/dev")
_GAP = (
    "the host forbids tracing ({reason}): seen is only what Python itself opens in the kernel, not "
    "shared libraries, not other processes and Dask workers, not files that libraries in C open"
)


class HookTrace:
    """Writes one trace from audit events; ``gap`` is what it begins with. Workers are sent the text
    of this, too.
    """

    def __init__(self, stream: Any, written: str, ignored: list[str], gap: str) -> None:
        self._stream = stream
        self._written = written
        self._ignored = tuple(ignored) + _NOT_FILES
        self._began = time.monotonic()
        self._cell: int | None = 0
        self._touched: dict[str, bool] = {}
        self._busy = threading.local()
        header = {
            "format": "nbrw.trace", "version": 1, "backend": "audithook",
            "kernel_pid": os.getpid(), "cwd": os.getcwd(), "argv": list(sys.orig_argv),
            "began": time.time(),
        }  # fmt: skip
        self._put(header)
        self._put({"kind": "gap", "reason": gap, "time": 0.0})

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """What :func:`sys.addaudithook` calls."""
        if event not in _HANDLED or getattr(self._busy, "on", False):
            return
        self._busy.on = True
        try:
            self._handle(event, args)
        except Exception as error:
            self._put({"kind": "gap", "reason": f"{event} could not be decoded: {error!r}"})
        finally:
            self._busy.on = False

    def _handle(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            self._open(args)
        elif event == CELL_EVENT:
            self._marker(*args)
        elif event in ("os.listdir", "os.scandir"):
            self.note("list", args[0] if args[0] is not None else ".")
        elif event in ("os.remove", "os.rmdir"):
            self._touch(args[0], "remove")
        elif event == "os.rename":
            self._touch(args[0], "remove")
            self._touch(args[1], "write")
        elif event in ("os.symlink", "os.link"):
            self._touch(args[1], "write")
        elif event == "os.mkdir":
            self._touch(args[0], "mkdir")
        elif event == "os.truncate":
            self._touch(args[0], "write")
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
            self._put(self._record("exec", {"path": os.fsdecode(args[0])}))
        elif event == "socket.connect":
            address = args[1]
            if isinstance(address, tuple):
                detail = {"family": "inet", "address": str(address[0]), "port": address[1]}
                self._put(self._record("connect", {"detail": detail}))

    def _open(self, args: tuple[Any, ...]) -> None:
        path, mode, flags = args
        if isinstance(path, int) or path is None:
            return
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            writes = True
        if writes:
            self._touch(path, "write")
        else:
            self.note("read", path)

    def note(self, kind: str, path: Any) -> None:
        """A path was used."""
        if isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(self._ignored):
            return
        fields: dict[str, Any] = {"path": name}
        try:
            status = os.stat(name)
        except OSError as error:
            fields["result"] = -(error.errno or errno.ENOENT)
        else:
            fields["facts"] = facts_of(status)
        self._put(self._record(kind, fields))

    def _touch(self, path: Any, kind: str) -> None:
        if isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(self._ignored):
            return
        existed = os.path.lexists(name)
        self._touched.setdefault(name, existed)
        fields: dict[str, Any] = {"path": name}
        if kind == "write":
            fields["flags"] = ["existed"] if existed else ["create"]
        self._put(self._record(kind, fields))

    def begun(self) -> None:
        """The process has started: what follows is its work."""
        self._put(self._record("cell", {"flags": ["begin"]}))

    def _marker(self, cell: int, edge: str) -> None:
        if edge == "begin":
            self._cell = cell
        self._put(self._record("cell", {"flags": [edge]}))
        if edge == "end":
            self._cell = None
            self._end_window(cell)

    def end_window(self) -> dict[str, list[str]]:
        """What the window left; then a new one begins."""
        touched, self._touched = self._touched, {}
        return left_by_window(touched)

    def _end_window(self, cell: int) -> None:
        left = self.end_window()
        if self._written:
            os.makedirs(self._written, exist_ok=True)
            target = os.path.join(self._written, f"{cell}.json")
            with open(target + ".new", "w", encoding="ascii") as stream:
                json.dump(left, stream)
            os.rename(target + ".new", target)

    def _record(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        elapsed = round(time.monotonic() - self._began, 6)
        record: dict[str, Any] = {"kind": kind, "time": elapsed, "pid": os.getpid()}
        if self._cell is not None:
            record["cell"] = record["origin"] = self._cell
        record.update(fields)
        return record

    def _put(self, record: dict[str, Any]) -> None:
        self._stream.write(json.dumps(record) + "\n")


_HANDLED = frozenset(
    {
        "open", CELL_EVENT, "os.listdir", "os.scandir", "os.remove", "os.rmdir", "os.rename",
        "os.symlink", "os.link", "os.truncate", "subprocess.Popen", "os.exec", "os.posix_spawn",
        "socket.connect",
    }
)  # fmt: skip


def install(settings: str) -> None:
    """Begin to write a trace, as the tracer asks by ``NBRW_AUDIT_HOOK`` (its text)."""
    value = json.loads(settings)
    stream = open(value["trace"], "w", encoding="ascii", buffering=1)  # noqa: SIM115
    gap = _GAP.format(reason=value["reason"])
    trace = HookTrace(stream, value["written"], value["ignore"], gap)
    sys.addaudithook(trace.hook)
