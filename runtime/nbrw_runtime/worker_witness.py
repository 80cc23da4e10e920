"""On a Dask worker that the audited kernel did not start: what it used since it was last asked.

Workers have the notebook's environment, not nbrw: the text of this module, and that of
`audit_hook.py` and others, is sent to them (:mod:`nbrw_runtime.worker_plugin`) and becomes the
module ``nbrw_worker_witness`` there. So these import nothing
but the standard library and each other.

A worker that `nbrw worker` started is traced: this hands on what its tracer has written. Any other
tells what Python itself sees inside of it.
"""

import contextlib
import json
import os
import socket
import sys
import zlib
from typing import Any

from nbrw_runtime.audit_hook import HookTrace
from nbrw_runtime.process_identity import identity

#: Set by `nbrw worker`: where its tracer writes.
VARIABLE = "NBRW_WORKER_TRACE"
#: Set where tracing is refused: JSON with the reason.
FALLBACK_VARIABLE = "NBRW_AUDIT_HOOK"
_INSIDE = (
    "a worker on {host} is not traced ({why}): seen is only what Python itself opens in it and the "
    "libraries that are loaded, not what libraries in C open, nor other programs"
)
_UNTRACED = "`nbrw worker` did not start it"


class Traced:
    """Hands on what a tracer of `nbrw worker` writes; all processes below it have the same."""

    def __init__(self, path):
        self.path = path
        self.source = ":".join(map(str, identity()))
        with contextlib.suppress(OSError):
            # What this process did before is its start, and none of any cell's.
            os.readlink("/nbrw/cell/0/begin")

    def take(self, cell, offset):
        """The lines from there on, and what the window left."""
        with contextlib.suppress(OSError):
            os.readlink(f"/nbrw/cell/{cell}/end")  # the tracer writes it all down
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            data = stream.read()
        return data[: data.rfind(b"\n") + 1], self._window(cell)

    def _window(self, cell):
        name = os.path.join(os.path.dirname(self.path), "written", f"{cell}.json")
        try:
            with open(name) as stream:
                found = json.load(stream)
            os.unlink(name)
        except FileNotFoundError:
            return {"written": [], "removed": []}
        return found

    def stop(self):
        """Nobody asks any more; the tracer goes on for the others."""


class Inside:
    """What Python's audit hook sees in this process, and what is loaded in it."""

    def __init__(self, why, audit):
        self.source = ":".join(map(str, [*identity(), os.getpid(), audit]))
        self._lines = []
        reason = _INSIDE.format(host=socket.gethostname(), why=why)
        self._trace = HookTrace(self, "", [], reason)
        self._on = True
        for path in _loaded():
            self._trace.note("read", path)
        self._trace.begun()
        sys.addaudithook(self._hook)  # for good: Python knows no way to remove it

    def _hook(self, event, arguments):
        if self._on:
            self._trace.hook(event, arguments)

    def write(self, line):
        """What the trace calls."""
        self._lines.append(line)

    def take(self, cell, offset):
        """As of a tracer; what was asked for once is forgotten."""
        lines, self._lines = self._lines, []
        return "".join(lines).encode("ascii"), self._trace.end_window()

    def stop(self):
        """Look no more."""
        self._on = False


def _loaded():
    """Files of modules and libraries that this process has loaded."""
    found = dict.fromkeys(
        path for module in list(sys.modules.values())
        if isinstance(path := getattr(module, "__file__", None), str)
    )  # fmt: skip
    with open("/proc/self/maps") as stream:
        for line in stream:
            path = line.rstrip("\n").partition("/")[2]
            if path and ".so" in path and not path.endswith(" (deleted)"):
                found["/" + path] = None
    return list(found)


worker: Any = None  # set by the plugin
_witness: Any = None
_audit = ""  # which one; others may use the same cluster before and after
_next = 0  # the offset, in what the witness tells, of what this process has not handed on


def begin(audit, kernel):
    """This process is a worker of a notebook that is audited. ``kernel``: its own identity."""
    global _witness, _audit, _next
    _audit, _next = audit, 0
    mine = identity()
    if mine[2] and mine == kernel:
        return  # the kernel's own tracer sees it all
    if _witness is None:
        path = os.environ.get(VARIABLE, "")
        refused = os.environ.get(FALLBACK_VARIABLE, "")
        if path and mine[2]:
            _witness = Traced(path)
        else:
            _witness = Inside(json.loads(refused)["reason"] if refused else _UNTRACED, audit)
    worker.log_event(TOPIC, hello())


#: The topic of Dask's events by which workers report what nobody asked them for.
TOPIC = "nbrw-worker-trace"


def hello():
    """Who answers here; None if the kernel's own tracer sees this process."""
    if _witness is None:
        return None
    return {
        "audit": _audit, "address": worker.address, "host": socket.gethostname(),
        "source": _witness.source,
    }  # fmt: skip


def take(cell):
    """What this worker's source saw since this process was asked; None if it ends, and left word.

    Others may have handed on the same.
    """
    global _next
    if _witness is None:
        return None
    data, window = _witness.take(cell, _next)
    offset, _next = _next, _next + len(data)
    return {
        **hello(), "offset": offset, "lines": zlib.compress(data, 1),
        "facts": _facts(window["written"]), **window,
    }  # fmt: skip


def _facts(paths):
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            found[path] = [status.st_size, status.st_mtime_ns]
    return found


def end(*_):
    """The worker ends, or nobody asks any more: what was not asked for goes to the scheduler."""
    global _witness
    if _witness is not None:
        with contextlib.suppress(Exception):
            worker.log_event(TOPIC, take(0))
        _witness.stop()
        _witness = None


# -- what the kernel cannot see itself -------------------------------------------------------------

#: The same files, by a name that no trace has: these reads are not the notebook's.
_UNSEEN = "/proc/self/root"


def read(path, offset, length):
    """A part of a file. Raises OSError."""
    with open(_UNSEEN + path, "rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def look(path):
    """Its mode, and the target of a link. Raises OSError."""
    status = os.lstat(path)
    return status.st_mode, os.readlink(path) if os.path.islink(path) else ""


def kept(name):
    """Where the tracer keeps the former content of a file."""
    return os.path.join(os.path.dirname(_witness.path), "preserved", name)


def names(path):
    """The entries of a directory. Raises OSError."""
    return sorted(os.listdir(_UNSEEN + path))
