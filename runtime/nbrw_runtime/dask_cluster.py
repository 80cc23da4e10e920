"""The cluster of a repeat: workers on this machine, as many as the author had if there is room, or
those of the scheduler that the repeat was told to use.
"""

from __future__ import annotations

import os
from typing import Any

from nbrw_runtime.session_file import ClusterOrders

_orders = ClusterOrders()


def use(orders: ClusterOrders) -> None:
    """Have clusters that are started from now on follow these orders."""
    global _orders
    _orders = orders


def orders() -> ClusterOrders:
    """Those in force."""
    return _orders


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def workers_of(client: Any) -> dict[str, dict[str, Any]]:
    """All workers of a client's scheduler, by address. Raises what Dask raises."""
    try:
        info = client.scheduler_info(n_workers=-1)
    except TypeError:  # before 2025.4
        info = client.scheduler_info()
    return dict(info["workers"])


def start(workers: int = 0, threads: int = 1, processes: bool = True) -> Any:
    """The joined cluster, or a LocalCluster of this shape, cut down to this machine's CPUs.

    Without ``workers``: as many as were asked for, or as fit. Workers that share the notebook's
    memory (not ``processes``) are always here.
    """
    if _orders.kind == "joined" and processes:
        from nbrw_runtime.joined_cluster import JoinedCluster

        return JoinedCluster()
    from distributed import LocalCluster

    if not workers and _orders.threads:
        threads = _orders.threads
    threads = max(1, min(threads, cpus()))
    room = max(1, cpus() // threads)
    # What the user asks for by name is not cut down.
    workers = _orders.workers or max(1, min(workers or room, room))
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=processes,
        dashboard_address=":0",
    )
