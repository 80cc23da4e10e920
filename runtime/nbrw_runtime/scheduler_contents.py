"""What a Dask scheduler keeps for `Event`, `Variable`, `Queue` and `Semaphore`: read, and set.

These functions run in the scheduler's event loop. Where that is another process the text of this
module is sent there, so it imports nothing but the standard library. It knows Dask's insides, as
nothing public looks at a queue without emptying it.
"""

import asyncio
import re
import time

#: What has a name of Dask's making is registered anew by whoever uses it, as nobody else can.
_UNNAMED = re.compile(r"(lock|semaphore)-[0-9a-f]{32}\Z")
_OF_CLUSTER = "cluster-manager-info"  # metadata that every cluster sets
_WAIT_SECONDS = 30.0  # until tasks that were just submitted are known


def look(dask_scheduler):
    """All of it as plain values, by name; ``busy`` counts what happens while tasks are not done.

    ``other`` says what there is beside: it cannot be set.
    """
    kept = dask_scheduler.extensions
    events, variables, queues, semaphores = (
        kept[name] for name in ("events", "variables", "queues", "semaphores")
    )
    return {
        "events": _sorted(name for name, event in events._events.items() if event.is_set()),
        "variables": {
            name: (record["type"], record["value"]) for name, record in _items(variables.variables)
        },
        "queues": {
            name: (
                queue.maxsize,
                queues.client_refcount[name],
                tuple((record["type"], record["value"]) for record in queue._queue),
            )
            for name, queue in _items(queues.queues)
        },
        "semaphores": {
            name: (leases, semaphores.lease_timeouts.get(name))
            for name, leases in _items(semaphores.max_leases)
            if not _UNNAMED.match(str(name))
        },
        "other": _other(dask_scheduler),
        "busy": dask_scheduler.transition_counter if _is_busy(dask_scheduler) else None,
    }


def _other(dask_scheduler):
    kept = dask_scheduler.extensions
    held = _sorted(name for name, leases in kept["semaphores"].leases.items() if leases)
    held += _sorted(getattr(kept.get("locks"), "ids", ()))  # before 2024.12
    taken = kept["multi_locks"].requests.values()
    held += _sorted({name for names in taken for name in names})
    found = [f"the lock {name!r} is held" for name in held]
    published = kept["publish"].datasets
    found += [f"the dataset {name!r} is published" for name in _sorted(published)]
    metadata = {k: v for k, v in dask_scheduler.task_metadata.items() if k != _OF_CLUSTER}
    if metadata:
        found.append(f"metadata are set ({metadata!r})")
    return tuple(found)


def _is_busy(dask_scheduler):
    return bool(
        any(worker.processing for worker in dask_scheduler.workers.values())
        or dask_scheduler.queued
        or dask_scheduler.unrunnable
    )


def _items(table):
    return [(name, table[name]) for name in _sorted(table)]


def _sorted(names):
    return sorted(names, key=repr)


async def put(wanted, dask_scheduler):
    """Make it what :func:`look` gave once; futures stand by the keys of tasks that are submitted.

    Raises TimeoutError if one is not, and whatever an unknown release of Dask leads to.
    """
    for key in sorted(_keys(wanted), key=repr):
        await _known(dask_scheduler, key)
    kept = dask_scheduler.extensions
    _put_events(kept["events"], set(wanted["events"]))
    _put_variables(dask_scheduler, kept["variables"], wanted["variables"])
    _put_queues(dask_scheduler, kept["queues"], wanted["queues"])
    semaphores = kept["semaphores"]
    for name in set(semaphores.max_leases) - set(wanted["semaphores"]):
        if not _UNNAMED.match(str(name)):
            semaphores.close(name)
    for name, (leases, timeout) in wanted["semaphores"].items():
        semaphores.max_leases[name], semaphores.lease_timeouts[name] = leases, timeout


async def clear(client, dask_scheduler):
    """Leave nothing of what an earlier client made, unless another one beside ``client`` is still
    connected; returns how many are.
    """
    others = len(set(dask_scheduler.client_comms) - {client})
    if not others:
        await put({"events": (), "variables": {}, "queues": {}, "semaphores": {}}, dask_scheduler)
        dask_scheduler.extensions["publish"].datasets.clear()
        for name, holder in list(dask_scheduler.clients.items()):
            if str(name).startswith("published-"):
                keys = [task.key for task in holder.wants_what]
                dask_scheduler.client_releases_keys(keys, name)
        for name in set(dask_scheduler.task_metadata) - {_OF_CLUSTER}:
            del dask_scheduler.task_metadata[name]
    return others


def _keys(contents):
    """The keys of the futures in there."""
    records = list(contents["variables"].values())
    for _, _, items in contents["queues"].values():
        records += items
    return {value for kind, value in records if kind == "Future"}


async def _known(dask_scheduler, key):
    deadline = time.monotonic() + _WAIT_SECONDS
    while key not in dask_scheduler.tasks:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the scheduler does not know the task {key!r}")
        await asyncio.sleep(0.01)


def _put_events(events, wanted):
    for name in set(events._events) - wanted:
        events.event_clear(name)
    for name in wanted:
        events.event_set(name)


def _put_variables(dask_scheduler, variables, wanted):
    new = {name: {"type": kind, "value": value} for name, (kind, value) in wanted.items()}
    for name, record in new.items():
        if record["type"] == "Future":
            dask_scheduler.client_desires_keys([record["value"]], f"variable-{name}")
    for name, old in list(variables.variables.items()):
        if new.get(name) != old:
            del variables.variables[name]
            if old["type"] == "Future":
                dask_scheduler.client_releases_keys([old["value"]], f"variable-{name}")
    variables.variables.update(new)


def _put_queues(dask_scheduler, queues, wanted):
    for name in set(queues.queues) - set(wanted):
        queues.client_refcount[name] = 1
        queues.release(name)
    for name, (maxsize, references, items) in wanted.items():
        new: asyncio.Queue = asyncio.Queue(maxsize=maxsize)
        keys = [value for kind, value in items if kind == "Future"]
        dask_scheduler.client_desires_keys(keys, f"queue-{name}")
        for kind, value in items:
            new.put_nowait({"type": kind, "value": value})
        for known in [known for known in queues.future_refcount if known[0] == name]:
            del queues.future_refcount[known]
            if known[1] not in keys:
                dask_scheduler.client_releases_keys([known[1]], f"queue-{name}")
        for key in keys:
            queues.future_refcount[name, key] += 1
        queues.queues[name], queues.client_refcount[name] = new, references
