"""In a repeat a LocalCluster starts its workers when somebody needs them, and not before.

Where all results are known nobody does. Whoever looks at the workers finds them all there: what the
notebook asks of the cluster or its client beyond submitting tasks has them started first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

#: The attribute of a cluster that names the one which it stands for.
HERE = "_nbrw_here"
_FLAG, _WAKING = "_nbrw_dozes", "_nbrw_waking"
#: What a cluster may be asked for without waking it.
_QUIET = frozenset({"_start", "_correct_state", "_close", "close", "__aenter__", "__aexit__"})
_LOOKED_AT = ("workers", "scheduler", "scheduler_info")
_INSIDE = ("distributed.", "dask.", "nbrw_runtime.")


def patch(kind: Any, wanted: Callable[[], bool]) -> None:
    """Have clusters of this class (LocalCluster) doze when they are made, if that is ``wanted``."""
    if "_nbrw_patched" in vars(kind):
        return
    kind._nbrw_patched = True
    original = kind.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        alone = not options.get("asynchronous") and options.get("processes") is not False
        if alone and wanted():
            vars(self)[_FLAG] = True
        original(self, *args, **options)
        if vars(self).get(_FLAG) and not has_processes(self):
            wake(self)

    kind.__init__ = __init__
    correct = kind._correct_state_internal

    @functools.wraps(correct)
    async def _correct_state_internal(self: Any) -> None:
        if not vars(self).get(_FLAG) or not self.worker_spec:
            await correct(self)
        else:
            self._correct_state_waiting = None

    kind._correct_state_internal = _correct_state_internal
    watch(kind)


def watch(kind: Any) -> None:
    """Have the workers started when the notebook looks at a cluster of this class."""
    _wake_in(kind, ("adapt", "get_logs", "__repr__", "_repr_html_", "_ipython_display_"))
    _wake_in(kind, ("sync",), but=_QUIET)
    for name in _LOOKED_AT:
        setattr(kind, name, _looked_at(name, getattr(kind, name, None)))


def _real(cluster: Any) -> Any:
    """What has the workers of a cluster: it may stand for another."""
    return getattr(cluster, "__dict__", {}).get(HERE) or cluster


def is_dozing(cluster: Any) -> bool:
    """Whether its workers are yet to be started, or are being started."""
    found = getattr(_real(cluster), "__dict__", {})
    return bool(found.get(_FLAG) or found.get(_WAKING))


def start(cluster: Any) -> None:
    """Have the workers started; does not wait for them, and may be called with any lock held."""
    cluster = _real(cluster)
    if not vars(cluster).pop(_FLAG, None) or vars(cluster).get("scheduler") is None:
        return  # (still being made: they will be started presently)
    loop = cluster.loop.asyncio_loop
    vars(cluster)[_WAKING] = asyncio.run_coroutine_threadsafe(_correct(cluster), loop)


async def _correct(cluster: Any) -> None:
    await cluster._correct_state()


def wake(cluster: Any) -> None:
    """Have the workers started, and wait for them unless we are the event loop ourselves."""
    cluster = _real(cluster)
    if is_dozing(cluster):
        start(cluster)
        if not cluster.asynchronous:
            started = vars(cluster).pop(_WAKING, None)
            if started is not None:
                started.result()


def has_processes(cluster: Any) -> bool:
    """Whether the workers of a cluster are processes of their own."""
    specs = getattr(_real(cluster), "worker_spec", {}).values()
    return all(getattr(spec.get("cls"), "__name__", "") == "Nanny" for spec in specs)


def _wake_in(kind: Any, names: tuple[str, ...], but: frozenset[str] = frozenset()) -> None:
    for name in names:
        with contextlib.suppress(AttributeError):
            setattr(kind, name, _waking_first(getattr(kind, name), but))


def _waking_first(original: Any, but: frozenset[str]) -> Any:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        if is_dozing(self) and not (args and getattr(args[0], "__name__", "") in but):
            wake(self)
        return original(self, *args, **options)

    return method


def _looked_at(name: str, default: Any) -> property:
    """An attribute that has the workers started if the notebook looks at it."""

    def get(self: Any) -> Any:
        if is_dozing(self):
            module = sys._getframe(1).f_globals.get("__name__", "")
            if not module.startswith(_INSIDE):
                wake(self)
        if isinstance(default, property):
            return default.__get__(self)
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(name) from None

    def put(self: Any, value: Any) -> None:
        if isinstance(default, property) and default.fset is not None:
            default.fset(self, value)
        else:
            vars(self)[name] = value

    return property(get, put)
