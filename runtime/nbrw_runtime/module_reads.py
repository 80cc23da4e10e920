"""Which files modules of the notebook's own read while they were loaded: what they hold came of
them. From Python's audit events; what libraries in C open is not seen.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from nbrw_runtime.digest import digest_file
from nbrw_runtime.own_files import is_own_file

_NOT_FILES = ("/proc/", "/sys/", "/dev/")
_WRITING = os.O_WRONLY | os.O_RDWR
_read: dict[str, set[str]] = {}


@functools.cache
def watch_reads() -> None:
    """From here on it is noted. Once: Python knows no way to take a hook away."""
    sys.addaudithook(_hook)


def read_by(module: str) -> list[tuple[str, str]]:
    """The names and digests of the files that a module read as it was loaded."""
    found = []
    for path in list(_read.get(module, ())):
        try:
            found.append((os.path.basename(path), str(digest_file(path)[0])))
        except OSError:  # looked for in vain
            found.append((os.path.basename(path), ""))
    return sorted(found)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open":
        return
    path, flags = arguments[0], arguments[-1]
    if not isinstance(path, (str, bytes)) or (isinstance(flags, int) and flags & _WRITING):
        return
    frame: Any = sys._getframe(1)
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        return  # a module, which is looked at itself
    names = []
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name = frame.f_globals.get("__name__")
            if not is_own_file(frame.f_globals.get("__file__")):
                break  # what a library reads when it is loaded is its own affair
            names.append(name)
        frame = frame.f_back
    if names:
        text = os.path.abspath(os.fsdecode(path))
        if is_own_file(text) and not text.startswith(_NOT_FILES):
            for name in names:
                _read.setdefault(str(name), set()).add(text)
