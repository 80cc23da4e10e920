"""Futures whose results are known: finished from the start, and loaded by whoever asks for them.

The scheduler is not told of them. What a notebook does with a future beyond waiting for it, getting
its result, or having a task use it, is done with a future like all others: then a worker loads the
result first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_runtime import dask_doze, task_ship
from nbrw_runtime.digest import Digest


@dataclass(frozen=True)
class Load:
    """How a result is had, here and on workers; ``name`` tells it from all others.

    ``value`` is the blob that it was stored in as a future's value, if it was.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str
    value: Digest | None = None

    def __call__(self) -> Any:
        return self.function(*self.arguments)

    def task(self, key: Any) -> Any:
        """A task that gives it."""
        from dask._task_spec import Task

        return Task(key, self.function, *self.arguments)


#: A method of patched clients (`task_client.patch`) that has a graph computed as it is.
SUBMIT = "_nbrw_submit"

#: Of each client: by key the load, and the state that the client keeps of that very future. When
#: nobody holds it any more the state is gone, and the key may come to stand for something else.
_loads: weakref.WeakKeyDictionary[Any, dict[Any, tuple[Load, Any]]] = weakref.WeakKeyDictionary()
#: What a client may be asked for without any of this being noticed.
_QUIET = frozenset(
    {"_gather", "_result", "_exception", "_traceback", "_wait", "_close", "_start", "_nothing"}
)


def loads_of(client: Any, keys: Iterable[Any] | None = None) -> dict[Any, Load]:
    """The loads of those keys (None: of all) that are virtual futures of a client, by key."""
    known = _loads.get(client)
    if not known:
        return {}
    found = {}
    for key in list(known) if keys is None else keys:
        load, state = known.get(key, (None, None))
        if load is not None and client.futures.get(key) is state:
            found[key] = load
    return found


def has_some(client: Any) -> bool:
    """Whether a client may have virtual futures."""
    return bool(_loads.get(client))


def can_have(client: Any) -> bool:
    """Whether a client's futures may be virtual: if its workers are other processes, so that a
    result is a copy in any case.
    """
    return client.cluster is not None and dask_doze.has_processes(client.cluster)


def is_elsewhere(client: Any) -> bool:
    """Whether the workers are of this image, but not of this repeat: they see the image's files,
    not those that are kept, and nobody sees what they read.
    """
    return getattr(getattr(client, "cluster", None), "nbrw_elsewhere", False) is True


def futures(client: Any, loads: Mapping[Any, Load]) -> dict[Any, Any]:
    """Virtual futures with these keys."""
    from distributed import Future

    known = _loads.setdefault(client, {})
    if len(known) > 1000 + 2 * len(client.futures):
        for key in [key for key in known if key not in client.futures]:
            del known[key]  # nobody holds it any more
    made: dict[Any, Any] = {}
    for key, load in loads.items():
        made[key] = Future(key, client)
        made[key]._state.finish()
        known[key] = load, made[key]._state
    return made


def materialise(client: Any, keys: Iterable[Any] | None = None) -> None:
    """Make virtual futures into futures like others: workers load their results.

    All of them, and they are waited for; or those of ``keys``, with any lock held.
    """
    graph = {key: load.task(key) for key, load in loads_of(client, keys).items()}
    if not graph:
        return
    for key in graph:
        del _loads[client][key]
        state = client.futures.get(key)
        if state is not None:  # (another thread may have let go of it)
            state.reset()
    made = getattr(client, SUBMIT)(graph)
    if keys is None and not client.asynchronous:
        client.sync(_done, list(made.values()))


async def _done(made: list[Any]) -> None:
    await asyncio.gather(*(future._state.wait() for future in made))


def rouse(client: Any) -> None:
    """From here on a client is as it would be without all this."""
    if client.cluster is not None:
        dask_doze.wake(client.cluster)
    if has_some(client):
        materialise(client)


def patch(client: Any) -> None:
    """Have clients of this class, and their futures, know about virtual ones."""
    _patch_gather(client)
    _patch_sync(client)
    for name in ("__repr__", "_repr_html_"):
        _patch_look(client, name)
    _patch_future()
    _patch_progress()


def _patch_gather(client: Any) -> None:
    original = client._gather

    @functools.wraps(original)
    async def _gather(
        self: Any, futures: Any, errors: str = "raise", *args: Any, **more: Any
    ) -> Any:
        if not has_some(self):
            return await original(self, futures, errors, *args, **more)
        from distributed.utils_comm import pack_data, unpack_remotedata

        packed, found = unpack_remotedata(futures, byte_keys=True)
        wanted = loads_of(self, {f.key for f in found if f.client is self})
        rest = [f for f in found if f.key not in wanted]
        got = await original(self, rest, errors, *args, **more) if rest else []
        if len(got) == len(rest):
            values = {f.key: value for f, value in zip(rest, got, strict=True)}
            # A worker may tell what is wrong with a load, as of any task; or does better.
            with contextlib.suppress(Exception):
                loop = asyncio.get_running_loop()
                values |= await loop.run_in_executor(None, _loaded, wanted)
                return pack_data(packed, values)
        # One is not to be had, or what failed was left out.
        materialise(self, wanted)
        return await original(self, futures, errors, *args, **more)

    client._gather = _gather


def _loaded(wanted: Mapping[Any, Load]) -> dict[Any, Any]:
    return {key: load() for key, load in wanted.items()}


def _patch_sync(client: Any) -> None:
    original = client.sync

    @functools.wraps(original)
    def sync(self: Any, func: Any, *args: Any, **more: Any) -> Any:
        quiet = getattr(func, "__name__", "") in _QUIET or self.status != "running"
        # Workers that are yet to come get our plugin from the scheduler.
        quiet = quiet or more.get("name") == task_ship.PLUGIN_NAME
        if not quiet and (has_some(self) or dask_doze.is_dozing(self.cluster)):
            rouse(self)
        return original(self, func, *args, **more)

    client.sync = sync


def _patch_look(client: Any, name: str) -> None:
    original = getattr(client, name)

    @functools.wraps(original)
    def look(self: Any) -> Any:
        if self.status == "running":
            rouse(self)
        return original(self)

    setattr(client, name, look)


def _patch_future() -> None:
    from distributed import client as module

    Future: Any = module.Future  # noqa: N806
    if getattr(Future.__reduce__, "_nbrw", False):
        return
    original, kind = Future.__reduce__, Future.type

    def __reduce__(self: Any) -> Any:  # noqa: N807
        # Whoever reads the pickle will ask the scheduler.
        if self._client is not None:
            materialise(self._client, [self.key])
        return original(self)

    def type_of(self: Any) -> Any:
        state = self._state
        if state is not None and state.type is None:
            for load in loads_of(self._client, [self.key]).values():
                state.type = type(load())
        return kind.fget(self)

    __reduce__._nbrw = True  # type: ignore[attr-defined]
    Future.__reduce__ = __reduce__
    Future.type = property(type_of, doc=kind.__doc__)


def _patch_progress() -> None:
    """A progress bar waits until the scheduler knows all tasks."""
    module: Any = sys.modules.get("distributed.diagnostics.progressbar")
    if module is None or hasattr(module.futures_of, "_nbrw"):
        return
    original = module.futures_of

    @functools.wraps(original)
    def futures_of(*args: Any, **more: Any) -> Any:
        found = original(*args, **more)
        for client in {future.client for future in found}:
            materialise(client)
        return found

    futures_of._nbrw = True  # type: ignore[attr-defined]
    module.futures_of = futures_of
