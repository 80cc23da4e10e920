"""Dask objects that stand for something in the scheduler, or for futures: how they are pickled.

An event, a variable, a queue or a lock is its name; what is in it is stored apart, once for all
objects of that name (`dask_contents.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nbrw_runtime import dask_contents
from nbrw_runtime.codec import Omit

_TRACKED_SECONDS = 10.0  # until an iterator knows of tasks that have ended
_REFUSED = {
    "Actor": "a Dask actor lives in one worker and cannot be stored",
    "Pub": "a Dask topic lives in the scheduler and cannot be stored",
    "Sub": "a Dask topic lives in the scheduler and cannot be stored",
    "Worker": "a Dask worker is a running server and cannot be stored",
    "Scheduler": "a Dask scheduler is a running server and cannot be stored",
    "Nanny": "a Dask nanny is a running server and cannot be stored",
}


def reduce(obj: Any) -> Any:
    """A reduce value, an Omit, or None if it is none of these objects."""
    for base in type(obj).__mro__:
        if base.__module__.startswith("distributed"):
            reason = _REFUSED.get(base.__name__)
            if reason:
                return Omit(reason)
            found = _REDUCERS.get((base.__module__, base.__name__))
            if found is not None:
                why = dask_contents.unknown() if base.__name__ in _IN_SCHEDULER else ""
                return Omit(why) if why else found(obj)
    return None


def _reduce_named(obj: Any) -> Any:
    return type(obj), (obj.name,)


def _reduce_queue(queue: Any) -> Any:
    return restore_queue, (queue.name, queue.maxsize)


def _reduce_semaphore(semaphore: Any) -> Any:
    if semaphore._leases:
        return Omit(f"the Dask semaphore {semaphore.name!r} is held and cannot be stored")
    return restore_semaphore, (semaphore.name, semaphore.max_leases, semaphore.refresh_leases)


def _reduce_lock(lock: Any) -> Any:
    # Before 2024.12 a lock was no semaphore, and did not know whether it held itself.
    if getattr(lock, "_leases", None) or (not hasattr(lock, "_leases") and lock.locked()):
        return Omit(f"the Dask lock {lock.name!r} is held and cannot be stored")
    return _reduce_named(lock)


def _reduce_multi_lock(lock: Any) -> Any:
    if lock._locked:
        return Omit(f"the Dask locks {', '.join(map(repr, lock.names))} are held, not to be stored")
    return restore_multi_lock, (lock.names,)


def _reduce_executor(executor: Any) -> Any:
    return restore_executor, (executor._client, executor._kwargs, executor._shutdown)


def _reduce_as_completed(iterator: Any) -> Any:
    deadline = time.monotonic() + _TRACKED_SECONDS
    while time.monotonic() < deadline and any(future.done() for future in list(iterator.futures)):
        time.sleep(0.005)
    if iterator._deadline.expires:
        return Omit("an iterator over finishing tasks that has a time limit cannot be stored")
    with iterator.lock:
        ready = list(iterator.queue.queue)
        left = [future for future, count in iterator.futures.items() for _ in range(count)]
    if iterator.with_results:
        ready = [future for future, _ in ready]
    return restore_as_completed, ([*ready, *left], iterator.with_results, iterator.raise_errors)


_REDUCERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("distributed.event", "Event"): _reduce_named,
    ("distributed.variable", "Variable"): _reduce_named,
    ("distributed.queues", "Queue"): _reduce_queue,
    ("distributed.lock", "Lock"): _reduce_lock,
    ("distributed.semaphore", "Semaphore"): _reduce_semaphore,
    ("distributed.multi_lock", "MultiLock"): _reduce_multi_lock,
    ("distributed.cfexecutor", "ClientExecutor"): _reduce_executor,
    ("distributed.client", "as_completed"): _reduce_as_completed,
}
_IN_SCHEDULER = frozenset({"Event", "Variable", "Queue", "Lock", "Semaphore", "MultiLock"})


def restore_queue(name: str, maxsize: int) -> Any:
    """A queue that is counted already by its scheduler."""
    from distributed import Queue

    queue = Queue.__new__(Queue)
    queue._client, queue.name, queue.maxsize = None, name, maxsize
    return queue


def restore_semaphore(name: str, leases: int, refresh: bool) -> Any:
    """A semaphore that nobody holds; it is registered when it is used."""
    from distributed import Semaphore

    semaphore = Semaphore(leases, name)
    semaphore.refresh_leases = refresh
    return semaphore


def restore_multi_lock(names: list[str]) -> Any:
    """Several locks in one that nobody holds."""
    from distributed import MultiLock

    return MultiLock(names)


def restore_executor(client: Any, options: dict[str, Any], shut_down: bool) -> Any:
    """An executor of this client."""
    executor = client.get_executor(**options)
    executor._shutdown = shut_down
    return executor


def restore_as_completed(futures: list[Any], with_results: bool, raise_errors: bool) -> Any:
    """An iterator over these futures."""
    from distributed import as_completed

    return as_completed(futures, with_results=with_results, raise_errors=raise_errors)
