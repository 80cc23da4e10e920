"""In a repeat the author's scheduler is not there: the notebook's clients get one that is.

``Client("tcp://scheduler:8786")`` is given a cluster on this machine, unless the address is that of
a cluster which the notebook itself started here. Nothing of Dask is imported before the notebook
does.
"""

from __future__ import annotations

import sys
from typing import Any

from nbrw_runtime import dask_cluster
from nbrw_runtime.import_watch import when_loaded

notes: list[str] = []


def install() -> None:
    """Patch distributed's Client as soon as it is imported."""
    when_loaded("distributed.client", lambda module: patch(module.Client))


def patch(client: Any) -> None:
    """Let a Client of an address elsewhere use a cluster here."""
    original = client.__init__

    def __init__(self: Any, address: Any = None, *args: Any, **options: Any) -> None:  # noqa: N807
        if isinstance(address, str) and "://" in address and not _is_here(address):
            notes.append(f"Client({address!r}) uses a cluster on this machine")
            address = dask_cluster.start(dask_cluster.cpus(), 1, True)
        original(self, address, *args, **options)

    client.__init__ = __init__


def _is_here(address: str) -> bool:
    module = sys.modules.get("distributed.deploy.cluster")
    if address.startswith("inproc://"):
        return True
    known = getattr(getattr(module, "Cluster", None), "_cluster_instances", ())
    spec = sys.modules.get("distributed.deploy.spec")
    known = [*known, *getattr(getattr(spec, "SpecCluster", None), "_instances", ())]
    return any(getattr(cluster, "scheduler_address", None) == address for cluster in known)
