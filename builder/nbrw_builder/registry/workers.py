"""Several transfers at a time, in threads that never keep the process from ending."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable

from nbrw_builder.registry.retry import Stopped

_GRACE = (
    5.0  # seconds that a piece under way has to be completed, so that it need not be sent again
)


def run_all(tasks: Iterable[Callable[[], None]], stop: threading.Event, number: int = 4) -> None:
    """Run the tasks, ``number`` at a time, in their order.

    The first error ends all, by ``stop``, and is raised. So does Ctrl-C; then, too, whatever is
    under way has a few seconds to come to a point where it can be resumed.
    """
    waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    count = 0
    for task in tasks:
        waiting.put(task)
        count += 1
    errors: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                try:
                    task = waiting.get_nowait()
                except queue.Empty:
                    break
                task()
            errors.put(None)
        except BaseException as error:
            errors.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(number, count))]
    for thread in threads:
        thread.start()
    first: BaseException | None = None
    try:
        for _ in threads:
            error = errors.get()
            if error is not None and (first is None or isinstance(first, Stopped)):
                first = error
                stop.set()
    except BaseException:
        stop.set()
        _join(threads)
        raise
    if first is not None:
        raise first


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + _GRACE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
