"""The options of `repeat` that say where tasks run."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from nbrw_runtime import cluster_tls
from nbrw_runtime.clusters import (
    ClusterChoice,
    WorkerRequest,
    parse_cluster,
    parse_memory,
    parse_walltime,
    parse_word,
    parse_workers,
)
from nbrw_runtime.errors import UsageError
from nbrw_runtime.session_file import ClusterOrders

_WAIT_SECONDS = 60.0  # for the file of a scheduler that was started along with us


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    group = parser.add_argument_group("where Dask's tasks run")
    option = group.add_argument
    option(
        "--cluster", default="local", metavar="CLUSTER",
        help="local (default), tcp://HOST:PORT, tls://HOST:PORT or scheduler-file:PATH (a "
        "scheduler of this image), slurm (jobs), as-written (where the notebook says)",
    )  # fmt: skip
    option("--tls", type=Path, metavar="DIR", help="certificates of an encrypted scheduler")
    add_workers(group)


def add_workers(group: argparse._ArgumentGroup) -> None:
    """Those that say what workers are like."""
    option = group.add_argument
    option(
        "--workers", default="", metavar="N", help="how many; slurm: or 0-N, as many as tasks need"
    )
    option("--cores", type=int, default=0, metavar="C", help="threads of each")
    option("--memory", default="", metavar="M", help="memory of each, as in 4GB")
    option("--walltime", default="", metavar="T", help="of a job, as in 2h or 1:30:00")
    option("--queue", default="", metavar="Q", help="queue or partition of a job")
    option("--account", default="", metavar="A", help="who pays for a job")
    option("--interface", default="", metavar="I", help="network of scheduler and workers")


def request(options: argparse.Namespace) -> WorkerRequest:
    """What workers are asked for. Raises UsageError."""
    least, most = parse_workers(options.workers) if options.workers else (0, 0)
    if options.cores < 0:
        raise UsageError(f"--cores {options.cores}: not a number above 0")
    words = ("queue", "account", "interface")
    named = {n: getattr(options, n) and parse_word(f"--{n}", getattr(options, n)) for n in words}
    return WorkerRequest(
        least,
        most,
        options.cores,
        parse_memory(options.memory) if options.memory else 0,
        parse_walltime(options.walltime) if options.walltime else 0,
        **named,
    )


@contextlib.contextmanager
def opened(options: argparse.Namespace, image: str) -> Iterator[ClusterOrders]:
    """What the kernel is told, and what it needs, while the block lasts.

    ``image`` is the digest of the recipe. Raises UsageError.
    """
    choice, asked = parse_cluster(options.cluster), request(options)
    if choice.kind != "slurm" or options.dry_run:
        yield _orders(options, choice, asked, image)
        return
    from nbrw_runtime.slurm_workers import opened as submitted

    if not asked.most:
        raise UsageError("--cluster slurm: say how many workers with --workers N, or 0-N")
    tls = _tls(options)
    with submitted(asked, tls, options.work_dir) as address:
        yield ClusterOrders("joined", address, tls, image, asked.workers, most=asked.most)


def _orders(
    options: argparse.Namespace, choice: ClusterChoice, asked: WorkerRequest, image: str
) -> ClusterOrders:
    if choice.kind in ("local", "as-written"):
        _none_of(options, choice, ("memory", "walltime", "queue", "account", "interface", "tls"))
        if choice.kind == "as-written":
            _none_of(options, choice, ("workers", "cores"))
        if asked.most > asked.workers:
            raise UsageError(f"--workers {options.workers}: on this machine a number, no range")
        return ClusterOrders(choice.kind, workers=asked.workers, threads=asked.cores)
    if choice.kind == "slurm":  # nothing is started to say what would be done
        return ClusterOrders()
    if asked.most > asked.workers:
        raise UsageError(f"--workers {options.workers}: who starts them says how many, no range")
    jobs = ("cores", "memory", "walltime", "queue", "account", "interface")
    _none_of(options, choice, jobs)
    address = choice.place
    if choice.kind == "file":
        address = scheduler_address(Path(os.path.abspath(choice.place)))
    tls = _tls(options)
    if address.startswith("tls://") != bool(tls):
        raise UsageError(f"--cluster {address}: tls:// and --tls DIR belong together")
    return ClusterOrders("joined", address, tls, image, asked.workers)


def _tls(options: argparse.Namespace) -> str:
    if not options.tls:
        return ""
    found = os.path.abspath(options.tls)
    cluster_tls.check(Path(found))
    return found


def _none_of(options: argparse.Namespace, choice: ClusterChoice, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(options, name):
            raise UsageError(
                f"--{name} with --cluster {options.cluster}: it says how workers are started, and "
                f"none are started {'here' if choice.kind == 'as-written' else 'that way'}"
            )


def scheduler_address(path: Path, seconds: float = _WAIT_SECONDS) -> str:
    """What the file of a scheduler says; waits until it is there. Raises UsageError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"read the scheduler's address from {path}: {error}; is `scheduler "
                    f"--scheduler-file {path}` running?"
                ) from error
        time.sleep(0.1)
