"""The cluster of a repeat: workers on this machine, as many as the author had if there is room."""

from __future__ import annotations

import os
from typing import Any


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def start(workers: int, threads: int, processes: bool) -> Any:
    """A LocalCluster of this shape, cut down to this machine's CPUs."""
    from distributed import LocalCluster

    threads = max(1, min(threads, cpus()))
    workers = max(1, min(workers, max(1, cpus() // threads)))
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=processes,
        dashboard_address=":0",
    )
