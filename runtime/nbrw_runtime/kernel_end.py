"""What is ended when a notebook has ended, so that its kernel ends at once and in order.

A kernel that is asked to shut down ends its child processes first, and waits until they are gone
(ipykernel, ``kernelbase.py``). Workers are started again by their nannies, and multiprocessing's
resource tracker ignores SIGTERM: the kernel waits for seconds until it is killed, and what its exit
handlers would have done is lost.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

_SECONDS = 1.0


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
