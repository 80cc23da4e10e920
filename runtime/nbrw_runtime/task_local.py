"""Tasks of Dask's own schedulers: threads, processes, synchronous; in this process or beside it.

They all meet in ``dask.local.get_async``, also ``dask.get`` and an executor as scheduler. There
the graph is rewritten as a client's is. If anything goes wrong, Dask gets what it would have got.
"""

from __future__ import annotations

import functools
import multiprocessing.pool
import operator
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nbrw_runtime import task_ship

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache

_NAME = "get_async"
_MODULES = ("dask.local", "dask.threaded", "dask.multiprocessing")
#: Two threads may compute at a time; fingerprints are made by one.
_one = threading.Lock()

# What a process that Dask starts evaluates before the first task: it may know nothing of nbrw.
_PROGRAM = """
import sys, types
if "nbrw_task_worker" not in sys.modules:
    module = types.ModuleType("nbrw_task_worker")
    lines = [line for path in texts for line in open(path, encoding="utf-8")]
    text = "".join(line for line in lines if not line.startswith("from nbrw_runtime."))
    exec(compile(text, "<nbrw_task_worker>", "exec"), module.__dict__)
    sys.modules["nbrw_task_worker"] = module
    module.here = True
    module.configure(*orders)
    module.watch_prints()
"""


class Attach:
    """Unpickled, it has a process know the module of `task_worker.py`, with these orders."""

    def __init__(self, orders: Sequence[Any]) -> None:
        names = {"texts": task_ship.SOURCES, "orders": tuple(orders)}
        self._expression = f"exec({_PROGRAM!r}, {names!r})"

    def __reduce__(self) -> Any:
        return eval, (self._expression,)


class Loads:
    """The function with which a process unpickles tasks; there it comes with the module."""

    def __init__(self, function: Callable[[Any], Any], attach: Attach) -> None:
        self._function = function
        self._attach = attach

    def __call__(self, data: Any) -> Any:
        return self._function(data)

    def __reduce__(self) -> Any:
        return operator.getitem, ((self._attach, self._function), 1)


def patch(cache_of: Callable[[], TaskCache | None]) -> None:
    """Have Dask's own schedulers ask a cache first; once is enough."""
    modules = [sys.modules[name] for name in _MODULES if name in sys.modules]
    original = modules[0].get_async
    if hasattr(original, "_nbrw"):
        return

    @functools.wraps(original)
    def get_async(submit: Any, workers: Any, dsk: Any, result: Any, **options: Any) -> Any:
        here = _is_here(submit, options)
        new, changed, guard, values, cache = dsk, options, None, None, None
        if here is None or options.get("cache") is not None:
            return original(submit, workers, dsk, result, **options)
        try:
            cache = cache_of()
            if cache is not None and not _inside_a_task():
                with _one:
                    new, changed, guard = _rewritten(cache, here, dsk, result, options)
        except Exception as error:
            if cache is not None:
                cache.note(f"tasks ran as usual: {type(error).__name__}: {error}")
        try:
            values = original(submit, workers, new, result, **changed)
            return values
        finally:
            if guard is not None:
                guard.look(result, values)

    get_async._nbrw = True  # type: ignore[attr-defined]
    for module in modules:
        setattr(module, _NAME, get_async)


def _rewritten(
    cache: TaskCache, here: bool | None, dsk: Any, result: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any], Any]:
    from dask._task_spec import DataNode, Task, convert_legacy_graph
    from dask.core import flatten

    from nbrw_runtime.task_guard import Guard

    whole = dsk if isinstance(dsk, Mapping) else dsk.__dask_graph__()
    graph = convert_legacy_graph(dict(whole))
    keys = list(flatten(result)) if isinstance(result, list) else [result]
    new, found = cache.rewritten_local(graph, keys)
    module = task_ship.module()
    stored = {}
    for key, node in new.items():
        if type(node) is not Task:
            continue
        if node.func is module.load and not here:
            new[key] = DataNode(key, node())  # else it would travel there and back
        elif node.func is module.run:
            ticket, box, values = node.args
            stored[key] = ticket
            if here:
                new[key] = Task(key, module.run_here, ticket, box, values)
    if not stored:
        return new, options, None
    if not here:
        options = {**options, "loads": Loads(options["loads"], Attach(cache.orders))}
    return new, options, Guard(cache, graph, found, stored) if here else None


def _is_here(submit: Any, options: Mapping[str, Any]) -> bool | None:
    """Whether tasks run in this process; None: nobody knows what runs them, or how they travel."""
    executor = getattr(submit, "__self__", None)
    if type(executor).__name__ == "SynchronousExecutor" or isinstance(executor, ThreadPoolExecutor):
        return True
    pool = getattr(executor, "pool", None)
    if isinstance(pool, multiprocessing.pool.ThreadPool):
        return True
    return False if "loads" in options and "dumps" in options else None


def _inside_a_task() -> bool:
    """Whether a task computes something with Dask; what its threads read is not seen."""
    return bool(task_ship.module().note_change("what it computes with Dask in other threads"))
