"""Where all of a client's ways into Dask meet: there it asks a cache first.

`Client._graph_to_futures` receives what submit, map, compute, persist and get are to do, of
delayed, bag, array and dataframe. If anything goes wrong, Dask gets what it would have got.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nbrw_runtime import dask_doze, task_scatter, task_told, task_virtual
from nbrw_runtime.task_cache import is_ours, is_own_cluster
from nbrw_runtime.task_carrier import is_scheduler_here
from nbrw_runtime.task_graph import expression
from nbrw_runtime.task_placement import possible_options

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache

_METHOD = "_graph_to_futures"
_ASYNCHRONOUS = "the client is asynchronous"
_UNKNOWN = "the client is used from its event loop before its workers have what stores them"
_HERE = "the workers are in the notebook's process, which may change their data"


def patch(client: type, cache_of: Callable[[], TaskCache | None]) -> None:
    """Have clients of this class ask a cache first; once is enough."""
    original: Callable[..., Any] = getattr(client, _METHOD)
    if hasattr(original, "_nbrw"):
        return

    def submit(self: Any, graph: dict[Any, Any]) -> Any:
        cache = cache_of()
        if cache is not None:
            cache.prepare(self)
        with _without_warning():
            return original(self, expression(graph, {}), list(graph), {"collections": []})

    @functools.wraps(original)
    def _graph_to_futures(self: Any, expr: Any, keys: Any, *args: Any, **options: Any) -> Any:
        cache = cache_of()
        keys = list(keys)
        if cache is not None and cache.index is not None:
            options = possible_options(self, options, cache.note)
        new = None
        if cache is not None and not options.get("actors"):
            try:
                reason = _why_not(self, cache)
                if reason:
                    cache.note(f"results of tasks are not kept: {reason}")
                else:
                    new = cache.rewritten(self, expr, keys)
            except Exception as error:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")
        if new is None:
            if cache is not None:
                cache.forget(keys)
            if self.cluster is not None:
                dask_doze.start(self.cluster)
            if not all(map(is_ours, keys)):  # ours use none of these
                task_virtual.materialise(self, task_virtual.loads_of(self))
            return original(self, expr, keys, *args, **options)
        assert cache is not None
        made = {}
        if new.expr is not None:
            cache.prepare(self)
            order = options.get("internal_priority")
            if order is not None:  # it has all tasks, and Dask knows of no others
                first = min(order.values(), default=0)
                options["internal_priority"] = dict.fromkeys(new.tasks, first) | order
            with _without_warning():
                made = original(self, new.expr, new.keys, *args, **options)
        return made | task_virtual.futures(self, new.virtual)

    _graph_to_futures._nbrw = True  # type: ignore[attr-defined]
    setattr(client, _METHOD, _graph_to_futures)
    setattr(client, task_virtual.SUBMIT, submit)
    start = client.__init__  # type: ignore[misc]

    @functools.wraps(start)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        start(self, *args, **options)
        cache = cache_of()
        # Now, as nobody may wait for the event loop later on, with the client's lock held.
        if cache is not None and self.status == "running" and not _why_not(self, cache):
            try:
                cache.ship(self)
            except Exception as error:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")

    client.__init__ = __init__  # type: ignore[misc]
    task_scatter.patch(client, cache_of)
    task_told.patch(client, cache_of)


def _why_not(client: Any, cache: TaskCache) -> str:
    """Why a client's tasks are left alone; empty: its scheduler finds our functions, as it is in
    this process, or of this image, or has been given them; one may wait for it, and what workers
    hold is theirs alone.
    """
    if getattr(client, "_asynchronous", False):
        return _ASYNCHRONOUS
    if client.asynchronous and not cache.is_shipped(client):
        return _UNKNOWN
    if task_virtual.is_elsewhere(client):
        return ""
    if not is_scheduler_here(client) or (cache.carrier is not None and not is_own_cluster(client)):
        return cache.why_not_elsewhere(client)
    address = getattr(client.cluster.scheduler, "address", "")
    return _HERE if str(address).startswith("inproc") else ""


@contextlib.contextmanager
def _without_warning() -> Iterator[None]:
    """A graph is larger when it is written out: the notebook must not be blamed for that."""
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        yield
