"""What is ended when a notebook has ended, so that its kernel ends at once and in order.

A kernel that is asked to shut down ends its child processes first, and waits until they are gone
(ipykernel, ``kernelbase.py``). Workers are started again by their nannies, and multiprocessing's
resource tracker ignores SIGTERM: the kernel waits for seconds until it is killed, and what its exit
handlers would have done is lost.

Then Python looks for garbage five times, among all that software has loaded, while it takes itself
apart: up to half a second. Once is enough, unless a file is still to be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import stat
import sys
import time
from collections.abc import Collection
from typing import Any

_SECONDS = 1.0
_in_order = False
_holds = False


def ends_in_order() -> None:
    """The notebook has ended, and nothing more is asked of this kernel."""
    global _in_order
    _in_order = True


def hold() -> None:
    """The exit handler before IPython's, which looks for garbage and then makes some: once will do,
    when that is done.
    """
    global _holds
    if _in_order and gc.isenabled() and not gc.get_freeze_count():
        gc.freeze()
        _holds = True


def leave(outputs: Collection[tuple[int, int]] = ()) -> None:
    """The last exit handler: look for garbage once, and have Python not do it again.

    IPython has emptied the notebook's namespace by now, so what was only in that is finalised here.
    What the modules of libraries hold is not looked at again: where such a thing may be a file with
    something left to write, all is as always. (``outputs``, as device and inode, are what the
    kernel's own output goes to.) A kernel that was just told to end is left alone.
    """
    if _holds:
        gc.unfreeze()
    if _in_order and gc.isenabled():
        gc.collect()
        if not _writes_files(outputs):
            gc.freeze()


def _writes_files(outputs: Collection[tuple[int, int]]) -> bool:
    """Whether this process has a file open for writing, beside these."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            flags = fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE
            is_output = (status.st_dev, status.st_ino) in outputs
            if stat.S_ISREG(status.st_mode) and flags != os.O_RDONLY and not is_output:
                return True
    return False


def end_children() -> None:
    """Close Dask's clusters, then let the resource tracker end."""
    close_clusters = getattr(sys.modules.get("distributed.deploy.spec"), "close_clusters", None)
    if close_clusters is not None:
        # What distributed itself does at the end of a process.
        with contextlib.suppress(Exception):
            close_clusters()
    with contextlib.suppress(Exception):
        _end_resource_tracker()


def _end_resource_tracker() -> None:
    """It ends when nobody holds the pipe to it; where it is needed again, it is started again."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker: Any = getattr(module, "_resource_tracker", None)
    if getattr(tracker, "_fd", None) is None:
        return
    pipe, process = tracker._fd, tracker._pid
    tracker._fd = tracker._pid = None
    os.close(pipe)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        # Other processes of the notebook's may hold the pipe, too: then it is not waited for.
        if os.waitpid(process, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
