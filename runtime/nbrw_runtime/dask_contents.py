"""What a Dask scheduler keeps for the notebook, as a part of the state outside the namespace.

Events, variables, queues and semaphores are names; whether one is set, and what is in it, lies in
the scheduler, where a task, or another object of the same name, may change it. So the content is
looked at after each cell, whatever its code says. `docs/format/dask.md`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nbrw_runtime import dask_tasks, scheduler_contents
from nbrw_runtime.codec import LoadContext, current_load_context, loading
from nbrw_runtime.codec_kinds import Lost
from nbrw_runtime.mutables import ATOMS

_STALLED_SECONDS = 120.0  # without anything happening, running tasks are given up
_AT_MOST = 10 * _STALLED_SECONDS  # tasks may go on for ever
_PARTS = ("events", "variables", "queues", "semaphores")


class KeptFuture:
    """A future that is kept in a scheduler: pickled as its value, a future again when asked for.

    Unlike a future it can be loaded before there is a client.
    """

    def __init__(self, future: Any = None, make: Callable[[], Any] | None = None) -> None:
        self._future = future
        self._make = make

    @property
    def future(self) -> Any:
        """The future itself."""
        if self._future is None and self._make is not None:
            self._future = self._make()
        return self._future


def restore_kept(*arguments: Any) -> KeptFuture:
    """What a KeptFuture is pickled as; ``arguments`` are those of ``restore_future``."""
    context = current_load_context()

    def make() -> Any:
        from nbrw_runtime import dask_state

        assert isinstance(context, LoadContext)
        with loading(context):
            return dask_state.restore_future(*arguments)

    return KeptFuture(make=make)


#: Futures that a scheduler keeps, by key. Held here so that their values stay known.
_kept: dict[Any, Any] = {}
#: Contents that were restored before there was a client.
_waiting: Any = None
#: Schedulers whose tasks did not end, and have not since.
_given_up: set[str] = set()


def live_clients() -> list[Any]:
    """The clients of this process that are connected."""
    module = sys.modules.get("distributed.client")
    found = list(getattr(getattr(module, "Client", None), "_instances", ()))
    return [c for c in found if c.status == "running" and not getattr(c, "asynchronous", False)]


def hold() -> None:
    """Make the futures that schedulers keep futures of this process, so that they are stored."""
    clients = _one_for_each()
    found = {client: _look(client) for client in clients}
    keys: dict[Any, Any] = {}
    for client, contents in found.items():
        if contents is not None:
            keys.update(dict.fromkeys(scheduler_contents._keys(contents), client))
    for key in _kept.keys() - keys.keys():
        del _kept[key]
    for key, client in keys.items():
        known = _kept.get(key)
        if known is None or known.client is not client:
            _kept[key] = _future(key, client)


def settle(running: bool) -> None:
    """Wait until nothing runs on any scheduler, or nothing happens; ``running``: that is known."""
    for client in _one_for_each():
        last, began = None, time.monotonic()
        deadline = began + _STALLED_SECONDS
        while (found := _look(client)) is not None and found["busy"] is not None:
            now = time.monotonic()
            if running or _address(client) in _given_up or now > min(deadline, began + _AT_MOST):
                _given_up.add(_address(client))
                break
            if found["busy"] != last:
                last, deadline = found["busy"], now + _STALLED_SECONDS
            time.sleep(0.02)
        else:
            _given_up.discard(_address(client))


def get() -> Any:
    """All that is kept, as a value that can be pickled; None if it is nothing.

    If part of it cannot be stored, the value is one that cannot be loaded again.
    """
    clients = _one_for_each()
    if not clients:
        return _waiting
    found = [(client, _look(client)) for client in clients]
    full = [(client, contents) for client, contents in found if contents and _is_any(contents)]
    if not full:
        return None
    why = _why_not(full, len(found))
    values = [_value(client, contents) for client, contents in full]
    return (values, Lost(why)) if why else values[0]


def set_(value: Any) -> None:
    """Make it what :func:`get` gave; as soon as there is a client, if there is none."""
    global _waiting
    clients = _one_for_each()
    if not clients:
        _waiting = value
        return
    _waiting = None
    if value is not None:
        from distributed import default_client

        _put(default_client(), value)
        return
    for client in clients:
        contents = _look(client)
        if contents and any(contents[part] for part in _PARTS):
            _put(client, {"events": (), "variables": {}, "queues": {}, "semaphores": {}})


def connected(client: Any) -> None:
    """There is a client now: what waits for one is set."""
    global _waiting
    if _waiting is not None:
        value, _waiting = _waiting, None
        _put(client, value)


def begin_with(client: Any) -> int:
    """The first client of a scheduler that was there before the notebook: what earlier ones left is
    no state of this one's. Returns how many others use it.
    """
    return int(_ask(client, "clear", client.id))


def unknown() -> str:
    """Why it is not known what a name in a scheduler stands for; empty if it is."""
    clients = _one_for_each()
    if len(clients) > 1:
        return "there are several Dask schedulers, and it is not known which one has it"
    if clients and _look(clients[0]) is None:
        return "it lives in a Dask scheduler that nbrw cannot look into"
    return ""


# -- one scheduler ---------------------------------------------------------------------------------


def _one_for_each() -> list[Any]:
    """A client of each scheduler."""
    return list({_address(client): client for client in live_clients()}.values())


def _address(client: Any) -> str:
    return str(client.scheduler.address)


def _look(client: Any) -> dict[str, Any] | None:
    """What a scheduler keeps; None if it cannot be looked at."""
    try:
        return dict(_ask(client, "look"))
    except Exception:
        return None


def _ask(client: Any, name: str, *arguments: Any, quietly: bool = True) -> Any:
    """Have a function of `scheduler_contents` run by a client's scheduler.

    ``quietly``: without the client, whose workers may not have been started yet, and need not be.
    """
    scheduler = getattr(client.cluster, "scheduler", None)
    if not hasattr(scheduler, "extensions"):
        return client.run_on_scheduler(_shipped(name), *arguments)
    from distributed.utils import iscoroutinefunction, sync

    function = getattr(scheduler_contents, name)

    async def ask() -> Any:
        found = function(*arguments, dask_scheduler=scheduler)
        return await found if iscoroutinefunction(function) else found

    return sync(client.loop, ask) if quietly else client.sync(ask)


def _shipped(name: str) -> Callable[..., Any]:
    text = Path(scheduler_contents.__file__).read_text(encoding="utf-8")
    return dask_tasks.made(text, name)


def _is_any(contents: Mapping[str, Any]) -> bool:
    return bool(contents["other"] or any(contents[part] for part in _PARTS))


def _why_not(full: list[tuple[Any, dict[str, Any]]], schedulers: int) -> str:
    """Why contents cannot be restored; empty if they can."""
    client, contents = full[0]
    if schedulers > 1:
        return "there are several Dask schedulers, and objects such as queues in one of them"
    if contents["other"]:
        return f"what a Dask scheduler keeps cannot be stored: {'; '.join(contents['other'])}"
    if contents["busy"] is not None:
        return "a task was still running that may change what the Dask scheduler keeps"
    if _address(client).startswith("inproc://"):
        for kind, value in _records(contents):
            if kind != "Future" and not _is_plain(value):
                return "a Dask variable or queue holds the very object that the notebook has"
    return ""


def _records(contents: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    yield from contents["variables"].values()
    for _, _, items in contents["queues"].values():
        yield from items


def _is_plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return type(value) in ATOMS


def _value(client: Any, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Contents as they are pickled, with futures for their keys."""

    def known(record: tuple[str, Any]) -> Any:
        kind, value = record
        if kind != "Future":
            return kind, value
        return kind, KeptFuture(_kept.get(value) or _future(value, client))

    return {
        "events": tuple(contents["events"]),
        "variables": {name: known(record) for name, record in contents["variables"].items()},
        "queues": {
            name: (maxsize, references, tuple(map(known, items)))
            for name, (maxsize, references, items) in contents["queues"].items()
        },
        "semaphores": contents["semaphores"],
        "other": contents["other"],
    }


def _put(client: Any, value: Mapping[str, Any]) -> None:
    """Raises what keeps it from being set."""
    futures = {}

    def key(record: tuple[str, Any]) -> Any:
        kind, held = record
        if kind != "Future":
            return record
        futures[held.future.key] = held.future
        return kind, held.future.key

    wanted = {
        **value,
        "variables": {name: key(record) for name, record in value["variables"].items()},
        "queues": {
            name: (maxsize, references, tuple(map(key, items)))
            for name, (maxsize, references, items) in value["queues"].items()
        },
    }
    # Futures must be tasks of the scheduler's.
    _ask(client, "put", {part: wanted[part] for part in _PARTS}, quietly=not futures)
    _kept.update(futures)


def _future(key: Any, client: Any) -> Any:
    from distributed import Future

    known = key in client.futures
    future: Any = Future(key, client)
    if not known:
        # As Variable.get() does: only whoever wants a task is told how it went.
        message = {"op": "client-desires-keys", "keys": [key], "client": client.id}
        client._send_to_scheduler(message)
    return future
