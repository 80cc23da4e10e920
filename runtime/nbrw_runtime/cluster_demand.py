"""How many workers a scheduler needs, told to the keeper that has them started (`slurm_keeper.py`).

Runs in the scheduler's process, which is of the notebook's environment, where nbrw is not
installed: loaded by path, it imports the standard library and distributed. Dask's own `Adaptive`
decides; here is what it takes for a cluster. Lines of JSON go between the two: ``{"address": A}``
and ``{"wanted": [names]}`` to the keeper, ``{"gone": [names]}`` of workers whose job is over back.
"""

import asyncio
import contextlib
import json
import math
import socket
import time
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

_INTERVAL = 1.0  # seconds


class Workers:
    """Those that are to be there, by name; a name is used once.

    For `Adaptive` all of them are planned and requested: the keeper sees to that.
    """

    status = Status.running

    def __init__(self, scheduler, tell):  # type: ignore[no-untyped-def]
        self.scheduler_comm = _Here(scheduler)
        self.loop = scheduler.loop
        self._scheduler, self._tell = scheduler, tell
        self._made = 0
        self._seen = {}  # when each was last known to the scheduler; None: not yet

    @property
    def plan(self):  # type: ignore[no-untyped-def]
        """All of them."""
        return set(self._seen)

    requested = plan

    @property
    def observed(self):  # type: ignore[no-untyped-def]
        """Those that have come, and not gone."""
        return set(self._addresses()) & set(self._seen)

    def _addresses(self):  # type: ignore[no-untyped-def]
        return {str(ws.name): address for address, ws in self._scheduler.workers.items()}

    def scale(self, n):  # type: ignore[no-untyped-def]
        """Have at least so many."""
        if n > len(self._seen):
            for _ in range(n - len(self._seen)):
                self._made += 1  # (the keeper knows the first names beforehand)
                self._seen[f"worker-{self._made}"] = None
            self._say()

    def scale_down(self, names):  # type: ignore[no-untyped-def]
        """These have been asked to go. One that has what is needed, and nobody else, is still here
        and stays.
        """
        here = self._addresses()
        self._forget([name for name in names if name not in here])

    async def lost(self, names):  # type: ignore[no-untyped-def]
        """The jobs of these are over, whatever the scheduler believes of their connections."""
        here = self._addresses()
        for name in [name for name in names if name in here]:
            await self._scheduler.remove_worker(here[name], stimulus_id=f"nbrw-lost-{time.time()}")
        self._forget(names)

    def look(self, patience):  # type: ignore[no-untyped-def]
        """Give up those that were here and have been away for so many seconds."""
        here, now = self._addresses(), time.monotonic()
        for name in self._seen:
            if name in here:
                self._seen[name] = now
        self._forget([n for n, last in self._seen.items() if last and now - last > patience])

    def _forget(self, names):  # type: ignore[no-untyped-def]
        known = [name for name in names if name in self._seen]
        for name in known:
            del self._seen[name]
        if known:
            self._say()

    def _say(self):  # type: ignore[no-untyped-def]
        self._tell({"wanted": list(self._seen)})


class _Here:
    """The scheduler as `Adaptive` asks it, without a connection."""

    def __init__(self, scheduler):  # type: ignore[no-untyped-def]
        self._scheduler = scheduler

    async def adaptive_target(self, **options):  # type: ignore[no-untyped-def]
        return self._scheduler.adaptive_target(**options)

    async def workers_to_close(self, **options):  # type: ignore[no-untyped-def]
        return [str(name) for name in self._scheduler.workers_to_close(**options)]

    async def retire_workers(self, **options):  # type: ignore[no-untyped-def]
        return await self._scheduler.retire_workers(**options)


class _Adaptive(Adaptive):
    """Looks for workers that are lost before it decides."""

    cluster: Any

    async def target(self):  # type: ignore[no-untyped-def]
        patience = dask.config.get("distributed.deploy.lost-worker-timeout")
        self.cluster.look(parse_timedelta(patience))
        return await super().target()


def starter(descriptor, least, most, idle):  # type: ignore[no-untyped-def]
    """What a scheduler calls when it has started: from then on the keeper at the other end of the
    socket ``descriptor`` is told. A worker that nobody needs is kept for ``idle`` seconds.
    """

    async def dask_setup(scheduler):  # type: ignore[no-untyped-def]
        connection = socket.socket(fileno=descriptor)
        reader, writer = await asyncio.open_connection(sock=connection)

        def tell(message):  # type: ignore[no-untyped-def]
            writer.write(json.dumps(message).encode() + b"\n")

        tell({"address": scheduler.address})
        workers: Any = Workers(scheduler, tell)
        workers.scale(least)
        adaptive = _Adaptive(
            workers,
            interval=f"{_INTERVAL:g}s",
            minimum=least,
            maximum=most,
            wait_count=max(1, math.ceil(idle / _INTERVAL)),
        )

        def at_least(n):  # type: ignore[no-untyped-def]
            """Somebody asks for workers themselves; so many stay."""
            adaptive.minimum = max(adaptive.minimum, min(n, most))
            workers.scale(adaptive.minimum)
            return adaptive.minimum

        scheduler.handlers["nbrw_at_least"] = at_least

        async def listen():  # type: ignore[no-untyped-def]
            # (it holds the references that keep all of this alive)
            with contextlib.suppress(OSError, ValueError):
                while line := await reader.readline():
                    await workers.lost(json.loads(line)["gone"])
            adaptive.stop()
            writer.close()

        scheduler._nbrw_demand = asyncio.ensure_future(listen())

    return dask_setup
