"""Dask objects in the state: what is stored of them, how they come back. `docs/format/dask.md`.

A Client or cluster is stored as its shape and comes back connected to the repeat's own cluster. A
Future is stored as its value, written by the worker that has it; it comes back under the same key,
loaded by a worker, so that persisted collections, which hold Futures, work unchanged.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from nbrw_runtime import dask_cluster, dask_contents, dask_named, kernel_tasks
from nbrw_runtime.codec import Omit, SaveContext, current_load_context
from nbrw_runtime.dask_tasks import load_function, store_function
from nbrw_runtime.digest import Digest

_STORE_PREFIX = "nbrw-store-"  # of our own tasks' keys
_STALLED_SECONDS = 120.0  # without any task finishing, a pending future is given up

#: Values of futures that were stored: key -> (its state in the client, digest or reason).
_stored: dict[Any, tuple[Any, Digest | str]] = {}
#: Those that the last `prepare` had workers store, by key.
_new: dict[Any, Digest] = {}


def settle() -> None:
    """Wait until the tasks of all futures that the notebook holds have ended, or no more do."""
    running = False
    for client in dask_contents.live_clients():
        held = _held(client)
        for key in _await(held):
            _stored[key] = (held[key], "a task was still running when the cell had ended")
            running = True
    dask_contents.settle(running)


def prepare(context: SaveContext) -> list[str]:
    """Store the values of all futures that the notebook holds; returns notes for the user."""
    _new.clear()
    settle()
    dask_contents.hold()
    settle()
    notes: list[str] = []
    for client in dask_contents.live_clients():
        wanted = _held(client)
        if wanted:
            notes += _store_values(client, wanted, context)
    return notes


async def _nothing() -> None:
    pass


def new_values() -> dict[Any, Digest]:
    """The blobs of the values that the last :func:`prepare` had workers store, by the futures'
    keys.
    """
    return dict(_new)


def _held(client: Any) -> dict[Any, Any]:
    """Futures that the notebook holds, by key, with their state; not those that are dealt with."""
    # What it has let go of is released by the client's event loop, in its turn: until then it
    # would be taken for held, and waited for in vain.
    client.sync(_nothing)
    return {
        key: state
        for key, state in list(client.futures.items())
        if _stored.get(key, (None,))[0] is not state and not _text(key).startswith(_STORE_PREFIX)
    }


def _store_values(client: Any, wanted: dict[Any, Any], context: SaveContext) -> list[str]:
    root = str(context.store_root)
    tasks = {}
    virtual = kernel_tasks.virtual_values(client)
    for key, state in wanted.items():
        if key in virtual:
            value = virtual[key].value
            if value is None or value not in context.store:
                value = _placed(store_function()(virtual[key](), root), context)
            _stored[key] = (state, value)
        elif state.status == "finished":
            tasks[key] = client.submit(
                store_function(), _future(key, client), root, key=_STORE_PREFIX + _text(key),
                pure=False, retries=0, priority=1000,
            )  # fmt: skip
        else:
            _stored[key] = (state, f"its task ended as {state.status!r}")
    notes = []
    for key, task in tasks.items():
        found = _outcome(task, context)
        _stored[key] = (wanted[key], found)
        if isinstance(found, Digest):
            _new[key] = found
        else:
            notes.append(f"task {_text(key)}: {found}")
    return notes


def _future(key: Any, client: Any) -> Any:
    from distributed import Future

    return Future(key, client)


def _placed(found: str | bytes, context: SaveContext) -> Digest:
    """The digest of what a worker stored, or sent, as it does not see the store."""
    return context.store.put(found) if isinstance(found, bytes) else Digest(found)


def _outcome(task: Any, context: SaveContext) -> Digest | str:
    """The digest that a task gives, or why there is none. The task is let go of.

    In a function of its own: an exception refers to the frames it went through, and would keep
    all futures that these know.
    """
    try:
        found = _placed(task.result(), context)
        if found not in context.store:
            return "the worker stored its value where it cannot be read from here"
        return found
    except Exception as error:
        return f"the worker could not store its value: {type(error).__name__}: {error}"
    finally:
        task.release()


def _await(wanted: dict[Any, Any]) -> set[Any]:
    """Wait for pending futures while tasks keep ending; the keys of those that do not."""
    deadline = time.monotonic() + _STALLED_SECONDS
    left = {key for key, state in wanted.items() if state.status == "pending"}
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        done = {key for key in left if wanted[key].status != "pending"}
        if done:
            left -= done
            deadline = time.monotonic() + _STALLED_SECONDS
    return left


def reducer(obj: Any, pickler: Any) -> Any:
    """How to pickle a Dask object: a reduce value, an Omit, or None for "as usual"."""
    kind = type(obj)
    if kind is dask_contents.KeptFuture:
        found = _reduce_future(obj.future, pickler)
        return found if isinstance(found, Omit) else (dask_contents.restore_kept, found[1])
    if not kind.__module__.startswith("distributed"):
        return _cluster_reducer(obj) if _is_cluster(obj) else None
    from distributed import Client, Future

    if isinstance(obj, Future):
        return _reduce_future(obj, pickler)
    if isinstance(obj, Client):
        return _reduce_client(obj)
    if _is_cluster(obj):
        return _cluster_reducer(obj)
    return dask_named.reduce(obj)


def _reduce_future(future: Any, pickler: Any) -> Any:
    state = getattr(future, "_state", None)
    known = _stored.get(future.key)
    if known is None or state is None or known[0] is not state:
        return Omit(f"the value of future {_text(future.key)} is not to be had")
    if isinstance(known[1], str):
        return Omit(f"future {_text(future.key)}: {known[1]}")
    pickler.futures[known[1]] = None
    return restore_future, (future.key, str(known[1]), *_fingerprint(future.key))


def _reduce_client(client: Any) -> Any:
    if getattr(client, "asynchronous", False):
        return Omit("an asynchronous Dask client cannot be stored")
    if client.cluster is not None:
        return restore_client, (client.cluster, None)
    try:
        workers = dask_cluster.workers_of(client)
    except Exception:
        workers = {}
    threads = [int(worker.get("nthreads", 1)) for worker in workers.values()]
    shape = (len(threads) or 1, max(threads, default=1))
    return restore_client, (None, shape)


def _is_cluster(obj: Any) -> bool:
    module = sys.modules.get("distributed.deploy.cluster")
    return module is not None and isinstance(obj, module.Cluster)


def _cluster_reducer(cluster: Any) -> Any:
    specs = [s for s in getattr(cluster, "worker_spec", {}).values() if isinstance(s, dict)]
    threads = [_threads(spec.get("options", {})) for spec in specs]
    if not all(threads):
        info = getattr(cluster, "scheduler_info", {}).get("workers", {})
        threads = [int(worker.get("nthreads", 1)) for worker in info.values()] or threads
    # Workers of all other kinds are, or start, processes: on this machine or another.
    module = sys.modules.get("distributed.worker")
    inside = module is not None and [
        isinstance(spec.get("cls"), type) and issubclass(spec["cls"], module.Worker)
        for spec in specs
    ]
    return restore_cluster, (len(threads) or 1, max([1, *threads]), not (inside and all(inside)))


def _threads(options: Mapping[str, Any]) -> int:
    """Of a worker with these options; 0 if they do not say."""
    # Subprocess and SSH clusters pass some on.
    found = {**(options.get("kwargs") or {}), **(options.get("worker_kwargs") or {}), **options}
    return int(found.get("nthreads") or 0)


def restore_cluster(workers: int, threads: int, processes: bool) -> Any:
    """A cluster of this shape on this machine."""
    return dask_cluster.start(workers, threads, processes)


def restore_client(cluster: Any, shape: tuple[int, int] | None) -> Any:
    """A client of the given cluster, or of a new one of this shape, as the default client."""
    from distributed import Client

    if cluster is None:
        workers, threads = shape or (1, 1)
        cluster = dask_cluster.start(workers, threads, True)
    client = Client(cluster)
    dask_contents.connected(client)
    return client


def _fingerprint(key: Any) -> tuple[str, ...]:
    tasks = kernel_tasks.current()
    return (tasks.fingerprint_of(key) if tasks is not None else None) or ()


def restore_future(key: Any, digest: str, *fingerprint: str) -> Any:
    """A Future of the same key, whose value a worker loads from the store.

    ``fingerprint`` is that of its task, if known: the digest, and that without inputs.
    """
    from distributed import Future, default_client

    context = current_load_context()
    try:
        client = default_client()
    except ValueError:
        # The client itself was not restored yet, or is gone while the future lives on.
        client = restore_client(None, (dask_cluster.cpus(), 1))
    if key in client.futures:
        return Future(key, client)
    path = str(context.store.path(Digest(digest)))  # type: ignore[attr-defined]
    tasks = kernel_tasks.current()
    future = None
    if tasks is not None:
        future = tasks.virtual_future(client, key, load_function(), (path, digest), digest)
    if future is None:
        future = client.submit(load_function(), path, digest, key=key, pure=False)
    _remember(future, digest)
    if tasks is not None and fingerprint:
        tasks.restored(key, *fingerprint)
    return future


def _remember(future: Any, digest: str) -> None:
    _stored[future.key] = (future._state, Digest(digest))


def _text(key: Any) -> str:
    return key if isinstance(key, str) else "-".join(str(part) for part in key)
