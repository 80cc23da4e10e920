"""What a notebook holds in place of a cluster of its own, in a repeat that was given a scheduler.

It is shared, and not the notebook's to end or to resize: `close` leaves it, `scale` and `adapt`
are noted. All else (`scheduler_address`, `scheduler_info`, `dashboard_link`, logs) is Dask's own
`Cluster`, connected to that scheduler. Imported when distributed has been.
"""

from __future__ import annotations

import os
from typing import Any

from distributed import Security
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster

from nbrw_runtime import cluster_guard, cluster_tls, dask_cluster, dask_doze
from nbrw_runtime.errors import RestoreError
from nbrw_runtime.session_file import ClusterOrders

#: Sentences for the user, each once.
notes: list[str] = []


def note(text: str) -> None:
    """Say it in the report."""
    if text not in notes:
        notes.append(text)


def security_of(orders: ClusterOrders) -> Any:
    """How Dask connects under these orders."""
    if not orders.tls:
        return Security()
    authority, certificate, key = (os.path.join(orders.tls, name) for name in cluster_tls.NAMES)
    return Security(
        tls_ca_file=authority,
        tls_client_cert=certificate,
        tls_client_key=key,
        require_encryption=True,
    )


class JoinedCluster(Cluster):
    """The scheduler and workers that the repeat was given.

    To connect raises RestoreError if they are of another image, and OSError if they do not answer.
    """

    #: Its workers and scheduler have the image's files, and know our functions around tasks.
    nbrw_same_image = True
    _supports_scaling = True
    #: Nothing here starts workers one by one.
    worker_spec: dict[Any, Any] = {}
    #: What has the workers, where they are on this machine (`dask_doze.HERE`).
    _nbrw_here: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        name = options.get("name")
        Cluster.__init__(
            self,
            asynchronous=bool(options.get("asynchronous")),
            loop=options.get("loop"),
            quiet=True,
            name=name if isinstance(name, str) else None,
        )
        self._orders = dask_cluster.orders()
        self.security = security_of(self._orders)
        if self._orders.kind != "joined":
            self._nbrw_here = dask_cluster.start()
        if not self.called_from_running_loop:
            self._loop_runner.start()
            try:
                self.sync(self._start)
            except BaseException:
                self.close()
                raise

    @property
    def scheduler(self) -> Any:
        """Dask's own, if it is in this process; else None."""
        return None if self._nbrw_here is None else self._nbrw_here.scheduler

    @property
    def scheduler_info(self) -> Any:
        """What the scheduler says of itself and its workers."""
        here = self._nbrw_here
        return vars(self)["scheduler_info"] if here is None else here.scheduler_info

    @scheduler_info.setter
    def scheduler_info(self, value: Any) -> None:
        here = self._nbrw_here
        if here is None:
            vars(self)["scheduler_info"] = value
        else:  # asked again, as Dask does while it waits for workers
            here.scheduler_info = value

    @property
    def nbrw_elsewhere(self) -> bool:
        """Its workers are of this image, and nobody here sees what they do with files."""
        return self._nbrw_here is None

    async def _start(self) -> None:
        joined = self._nbrw_here is None
        address = self._orders.address if joined else self._nbrw_here.scheduler_address
        arguments = self.security.get_connection_args("client")
        self.scheduler_comm = rpc(address, connection_args=arguments)
        if not joined:
            # A scheduler tells one cluster alone of its workers: that one.
            self.status = Status.running
            return
        image = self._orders.image
        who = "the notebook's kernel"
        why = await cluster_guard.scheduler_refusal(self.scheduler_comm, who, image)
        if why:
            raise RestoreError(why)
        await Cluster._start(self)

    def __await__(self) -> Any:
        async def started() -> JoinedCluster:
            if self.status == Status.created:
                await self._start()
            return self

        return started().__await__()

    def close(self, timeout: float | None = None) -> Any:
        """Let go of it; it goes on."""
        closed = Cluster.close(self, timeout)
        if not self.asynchronous:
            self._loop_runner.stop()
        if self._nbrw_here is not None:
            self._nbrw_here.close()
        return closed

    def scale(self, n: Any = None, *args: Any, **options: Any) -> None:
        """Noted; as many workers as there are stay."""
        if n is None:
            n = options.get("jobs") or options.get("cores") or options.get("memory")
        note(f"scale({n}): the repeat's cluster has {self._has()}")

    def scale_up(self, *args: Any, **options: Any) -> None:
        """See `scale`."""
        self.scale(*args, **options)

    def scale_down(self, *args: Any, **options: Any) -> None:
        """See `scale`."""
        self.scale(0)

    def adapt(self, *args: Any, **options: Any) -> Any:
        """Noted. What is returned can be stopped, as what Dask returns."""
        note(f"adapt(): the repeat's cluster has {self._has()}")
        return _Adaptive(self)

    def expected(self) -> int:
        """How many workers somebody may wait for."""
        asked = max(self._orders.workers, self._orders.most)
        here = self._nbrw_here.worker_spec if self._nbrw_here is not None else ()
        return max(1, asked, len(here), len(self.scheduler_info["workers"]))

    def _has(self) -> str:
        if self._orders.adaptive:
            return f"as many workers as its tasks need, {self._orders.most} at most"
        return f"{self.expected()} workers, and keeps them"

    def wait_for_workers(self, n_workers: int = 1, timeout: float | None = None) -> Any:
        """Wait for them, if the repeat's cluster has so many, or else for all it has.

        Where they come and go they are asked for, and stay.
        """
        n_workers = at_most(self, n_workers)
        if self._orders.adaptive and isinstance(n_workers, int) and not self.asynchronous:
            scheduler: Any = self.scheduler_comm
            self.sync(scheduler.nbrw_at_least, n=n_workers)
        return Cluster.wait_for_workers(self, n_workers, timeout)

    @property
    def workers(self) -> dict[Any, Any]:
        """What the scheduler says of each, by name."""
        return {told["name"]: told for told in self.scheduler_info["workers"].values()}

    def job_script(self) -> str:
        """As clusters of dask-jobqueue have it."""
        return "# the workers of this repeat were started from outside the notebook\n"


dask_doze.watch(JoinedCluster)


class _Adaptive:
    """Looks as Dask's when nothing is to be adapted."""

    periodic_callback = None

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster

    def stop(self) -> None:
        """There is nothing to stop."""


def at_most(cluster: Any, wanted: Any) -> Any:
    """How many workers are waited for where a notebook waits for so many."""
    if not isinstance(wanted, int) or wanted <= cluster.expected():
        return wanted
    has = cluster.expected()
    note(f"wait_for_workers({wanted}): the repeat's cluster has {has} workers")
    return has


_classes: dict[type, type] = {}


def class_for(kind: type) -> type:
    """A class of joined clusters whose instances are instances of ``kind`` as well."""
    if kind not in _classes:
        names: dict[str, Any] = {}
        # What ``kind`` does in its own way is done in Dask's usual one.
        for base in (*reversed(Cluster.__mro__[:-1]), JoinedCluster):
            names |= {n: v for n, v in vars(base).items() if n not in ("__dict__", "__weakref__")}
        names["__module__"] = kind.__module__
        _classes[kind] = type(kind.__name__, (JoinedCluster, kind), names)
    return _classes[kind]
