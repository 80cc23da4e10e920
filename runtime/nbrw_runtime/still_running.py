"""What of the notebook's own is at work between two cells: threads, those of pools, and tasks of
asyncio. Who knows what they will do to what.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any


def still_running(namespace: Mapping[str, Any], directory: str) -> list[str]:
    """The names of threads and tasks that run the notebook's code at this moment.

    That is code with ``namespace`` for its globals, or of a module below ``directory``.
    """
    inside = directory.rstrip("/") + "/"

    def is_ours(frame: FrameType | None) -> bool:
        if frame is None:
            return False
        path = frame.f_code.co_filename
        return frame.f_globals is namespace or (
            path.startswith(inside) and "/site-packages/" not in path
        )

    found = []
    frames = sys._current_frames()
    me = threading.get_ident()
    for thread in threading.enumerate():
        if thread.ident != me and (
            _starts_with_ours(thread) or any(map(is_ours, _stack(frames.get(thread.ident or 0))))
        ):
            found.append(thread.name)
    for task in _tasks():
        if any(map(is_ours, _awaited(task.get_coro()))):
            found.append(task.get_name())
    return found


def _starts_with_ours(thread: threading.Thread) -> bool:
    code = getattr(thread, "_target", None) or getattr(thread, "function", None) or type(thread)
    return getattr(code, "__module__", None) == "__main__"


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _tasks() -> list[asyncio.Task[Any]]:
    try:
        loop = asyncio.get_running_loop()
        return [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    except RuntimeError:
        return []


def _awaited(coroutine: Any) -> Iterator[FrameType | None]:
    """The frames of a coroutine, and of those that it waits for."""
    while coroutine is not None:
        yield getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
