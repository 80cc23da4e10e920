"""What a cell itself does with files, beside its tasks in the same process.

The trace of system calls does not know which task it was, or whether it was one at all. What
Python sees the notebook's own thread write and list outside of tasks is written down among the
tasks' records, as one that explains it (`task_evidence`).
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from nbrw_runtime import task_ship

#: Stands for a fingerprint in the record.
CELL = "cell"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset({"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
                      "os.truncate", "shutil.rmtree"})  # fmt: skip
_PROCESS = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})
_written: dict[str, None] = {}
_listed: dict[str, None] = {}
_hooked = False


def watch() -> None:
    """Look from now on."""
    global _hooked
    if not _hooked:
        _hooked = True
        task_ship.module()  # made now: the hook asks it
        sys.addaudithook(_hook)


def begin() -> None:
    """A cell begins."""
    _written.clear()
    _listed.clear()


def write_down() -> None:
    """The cell has ended: append the record to those of its tasks. Raises OSError."""
    if _written or _listed:
        written = ", ".join(list(_written))
        reason = f"it is the cell itself, which changes {written}" if written else "it is the cell"
        reads = dict.fromkeys(_listed)
        task_ship.module().note_unsafe((CELL, "(the cell itself)"), reason, reads)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _PROCESS:
        task_ship.module().note_change(f"{event} {arguments[0]!r}")
        return
    if event == "open":
        path, mode, flags = arguments
        if not (isinstance(mode, str) and set(mode) & set("wax+")) and not (flags or 0) & _WRITES:
            return
        found = (path,)
    elif event in _CHANGES:
        found = arguments[:2]
    elif event in ("os.listdir", "os.scandir"):
        found = (arguments[0] or ".",)
    else:
        return
    if threading.current_thread() is not threading.main_thread() or task_ship.module().in_task():
        return
    for path in found:
        if isinstance(path, (str, bytes, os.PathLike)):
            name = os.path.abspath(os.fsdecode(path))
            if event in ("os.listdir", "os.scandir"):
                _listed[name + "/"] = None
            else:
                _written[name] = None
