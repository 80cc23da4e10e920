"""In a repeat the author's cluster is not there: the notebook's clients get one that is.

``Client("tcp://scheduler:8786")`` is given the repeat's cluster, unless the address is that of one
which the notebook itself started here; so is what starts jobs (dask-jobqueue, dask-kubernetes). If
the repeat was given a scheduler, ``LocalCluster()`` and all others of their kind stand for it, too.
Nothing of Dask is imported before the notebook does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from nbrw_runtime import cluster_guard, dask_cluster, dask_contents, dask_inherit
from nbrw_runtime.import_watch import when_loaded
from nbrw_runtime.session_file import ClusterOrders

notes: list[str] = []
_met = False  # the scheduler that the repeat was given
_JOBS = (
    ("dask_jobqueue.core", "JobQueueCluster"),
    ("dask_kubernetes.operator.kubecluster.kubecluster", "KubeCluster"),
)


def install(orders: ClusterOrders | None = None) -> None:
    """Patch distributed as soon as it is imported."""
    orders = orders or ClusterOrders()
    dask_cluster.use(orders)
    if orders.kind == "as-written":
        return
    dask_inherit.begin()
    when_loaded("distributed.client", lambda module: _patch_client(module, orders))
    for name, kind in _JOBS:
        when_loaded(name, _patcher(kind))
    # LocalCluster, SSHCluster and SubprocessCluster among them. The author's hosts are not here.
    wanted = _is_any if orders.kind == "joined" else _is_by_ssh
    when_loaded("distributed.deploy.spec", _patcher("SpecCluster", wanted))


def all_notes() -> list[str]:
    """What was done for the notebook, for the report."""
    joined = sys.modules.get("nbrw_runtime.joined_cluster")
    return list(dict.fromkeys([*notes, *getattr(joined, "notes", ())]))


def _patch_client(module: Any, orders: ClusterOrders) -> None:
    if orders.kind == "joined":
        when_loaded("distributed", lambda _: cluster_guard.announce(orders.image))
    patch(module.Client)


def patch(client: Any) -> None:
    """Let a Client of an address elsewhere use the repeat's cluster."""
    original = client.__init__

    def __init__(self: Any, address: Any = None, *args: Any, **options: Any) -> None:  # noqa: N807
        named = _elsewhere(address, options)
        if named:
            options.pop("scheduler_file", None)
            options.pop("security", None)
            address = _cluster(bool(options.get("asynchronous")))
            place = dask_cluster.orders().address
            where = f"the scheduler at {place}" if place else "a cluster on this machine"
            notes.append(f"Client({named}) uses {where}")
        elif (
            address is None and dask_cluster.orders().tls and options.get("processes") is not False
        ):
            # Dask makes the cluster, but asks it not how to connect.
            from nbrw_runtime.joined_cluster import security_of

            options["security"] = security_of(dask_cluster.orders())
        original(self, address, *args, **options)
        if _is_joined(self.cluster) and not self.asynchronous and self.status == "running":
            _joined(self)

    client.__init__ = __init__
    wait = client.wait_for_workers

    def wait_for_workers(self: Any, n_workers: Any = 0, timeout: Any = None) -> Any:
        """See distributed; waits for no more workers than the repeat's cluster has."""
        if _is_joined(self.cluster):
            from nbrw_runtime.joined_cluster import at_most

            n_workers = at_most(self.cluster, n_workers)
        return wait(self, n_workers, timeout)

    client.wait_for_workers = wait_for_workers
    for name in ("run", "scatter"):
        setattr(client, name, _with_workers(getattr(client, name), name))


def _with_workers(original: Any, name: str) -> Any:
    """A method of clients that is about the workers that are there: where they come and go it has
    them come first. What is run on all workers may change them: all come, and stay.
    """

    @functools.wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        if dask_cluster.orders().adaptive and _is_joined(self.cluster) and not self.asynchronous:
            self.cluster.wait_for_workers(dask_cluster.orders().most if name == "run" else 1)
        return original(self, *args, **options)

    return method


def _joined(client: Any) -> None:
    """A client is connected to the repeat's scheduler."""
    global _met
    if not _met and dask_cluster.orders().kind == "joined":
        _met = True
        if dask_contents.begin_with(client):
            notes.append(
                f"others use the scheduler at {dask_cluster.orders().address} as well: what they "
                "keep there, such as published datasets, is seen; give each repeat its own"
            )
    dask_inherit.ship(client)


def _elsewhere(address: Any, options: dict[str, Any]) -> str:
    """How a client's arguments name a scheduler that is not here; empty: they do not."""
    if options.get("scheduler_file"):
        return f"scheduler_file={options['scheduler_file']!r}"
    if address is None:
        address = sys.modules["dask"].config.get("scheduler-address", None)
    if not isinstance(address, str):
        return ""
    if "://" not in address and not address.rpartition(":")[2].isdigit():
        return ""
    joined = address == dask_cluster.orders().address
    return "" if _is_here(address) and not joined else repr(address)


def _cluster(asynchronous: bool) -> Any:
    if dask_cluster.orders().kind == "joined":
        from nbrw_runtime.joined_cluster import JoinedCluster

        return JoinedCluster(asynchronous=asynchronous)
    return dask_cluster.start()


def _is_joined(cluster: Any) -> bool:
    return getattr(cluster, "nbrw_same_image", False) is True


def _is_here(address: str) -> bool:
    module = sys.modules.get("distributed.deploy.cluster")
    if address.startswith("inproc://"):
        return True
    known = getattr(getattr(module, "Cluster", None), "_cluster_instances", ())
    spec = sys.modules.get("distributed.deploy.spec")
    known = [*known, *getattr(getattr(spec, "SpecCluster", None), "_instances", ())]
    return any(getattr(cluster, "scheduler_address", None) == address for cluster in known)


_Wanted = Callable[[tuple[Any, ...], dict[str, Any]], bool]


def _is_any(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    return True


def _is_by_ssh(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a SpecCluster is what SSHCluster(...), a function, makes of its arguments."""
    scheduler = args[1] if len(args) > 1 else options.get("scheduler")
    kind = scheduler.get("cls") if isinstance(scheduler, dict) else None
    return getattr(kind, "__module__", "") == "distributed.deploy.ssh"


def _patcher(name: str, wanted: _Wanted = _is_any) -> Callable[[Any], None]:
    return lambda module: _stand_in(getattr(module, name), wanted)


def _stand_in(kind: Any, wanted: _Wanted) -> None:
    """Have the repeat's cluster made where a cluster of this class, or of one below, would be, if
    it is one that is ``wanted``.
    """

    def __new__(cls: Any, *args: Any, **options: Any) -> Any:  # noqa: N807
        if _is_joined(cls) or _shares_memory(args, options) or not wanted(args, options):
            return object.__new__(cls)
        from nbrw_runtime.joined_cluster import class_for

        name = "SSHCluster" if _is_by_ssh(args, options) else cls.__name__
        notes.append(f"{name}(...) stands for the repeat's cluster")
        return object.__new__(class_for(cls))

    kind.__new__ = staticmethod(__new__)


def _shares_memory(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether workers are asked for that may change what the notebook holds: they must be here."""
    processes = args[3] if len(args) > 3 else options.get("processes")
    kind = options.get("worker_class")
    worker = getattr(sys.modules.get("distributed.worker"), "Worker", ())
    return processes is False or (isinstance(kind, type) and issubclass(kind, worker))
