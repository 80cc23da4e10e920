"""The trace: what an audited kernel and its descendants asked of the operating system.

Written as JSON lines compressed with zstd; `docs/format.md`, section "Trace", is the definition.
The first line is the header, every other line an Event or a Gap. Paths are absolute and
normalised (no ``.`` or ``..`` component, symbolic links *not* resolved); bytes that are not UTF-8
are kept as surrogate escapes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.records import from_json, to_json

TRACE_FORMAT = "nbrw.trace"
TRACE_VERSION = 1


class Kind(str, enum.Enum):
    """What an event is about."""

    READ = "read"  # a file opened for reading (or mapped by execve as interpreter)
    WRITE = "write"  # a file opened for writing, created or truncated
    LIST = "list"  # a directory opened
    EXEC = "exec"  # a program executed; detail: argv
    RENAME = "rename"  # path -> target
    REMOVE = "remove"  # unlink or rmdir
    LINK = "link"  # hard or symbolic link: target is the new name, path what it names
    MKDIR = "mkdir"
    CONNECT = "connect"  # detail: address (and port), family
    PROCESS = "process"  # a process began; detail: parent
    EXIT = "exit"  # a process ended; result is its wait status
    CELL = "cell"  # a cell began or ended; flags: "begin" or "end"


@dataclass(frozen=True)
class Facts:
    """What lstat/stat said of a file when it was used; times in nanoseconds since the epoch."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Event:
    """One observed system call of interest.

    ``time`` is in seconds since the trace began. ``cell`` is the cell that was open when the call
    happened (0: before the first cell began, None: between two cells or after the last);
    ``origin`` the cell in which the top-most ancestor process below the kernel was started (equal
    to ``cell`` for the kernel itself). ``result`` is 0 or a positive value for success and
    ``-errno`` for failure. ``flags`` of a WRITE are among ``create``, ``truncate``, ``append``,
    ``read`` (opened for both) and ``existed`` (the file was there before the call).
    ``facts`` describe the file at the moment of use (for a WRITE: before it, if it existed).
    ``detail`` holds what only some kinds have; ``preserved`` there names a copy, beside the trace,
    of the content that a WRITE, REMOVE or RENAME was about to destroy in a file read earlier.
    """

    kind: Kind
    time: float
    pid: int
    cell: int | None = None
    origin: int | None = None
    path: str | None = None
    target: str | None = None
    result: int = 0
    flags: tuple[str, ...] = ()
    facts: Facts | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.result >= 0


@dataclass(frozen=True)
class Gap:
    """Something that could not be observed, and why."""

    reason: str
    time: float = 0.0
    pid: int | None = None
    cell: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """How a trace was taken. ``kernel_pid`` is the process whose events have the role "kernel".

    ``began`` is in seconds since the epoch. Traces of workers elsewhere have the ``role``
    ``worker`` and the ``host`` that they are of.
    """

    backend: str
    kernel_pid: int
    cwd: str
    argv: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    began: float = 0.0
    role: str = ""
    host: str = ""
    format: str = TRACE_FORMAT
    version: int = TRACE_VERSION


@dataclass(frozen=True)
class Trace:
    """A whole trace in memory; ``complete`` is False when the writer was cut off."""

    header: Header
    events: tuple[Event, ...]
    gaps: tuple[Gap, ...] = ()
    complete: bool = True


def event_to_json(event: Event | Gap) -> dict[str, Any]:
    """The JSON object of one line; a Gap's has ``"kind": "gap"``."""
    value = to_json(event)
    if isinstance(event, Gap):
        value["kind"] = "gap"
    return value


def event_from_json(value: dict[str, Any], where: str = "trace") -> Event | Gap:
    """The inverse of :func:`event_to_json`. Raises FormatError."""
    if value.get("kind") == "gap":
        return from_json(Gap, value, where)
    return from_json(Event, value, where)
