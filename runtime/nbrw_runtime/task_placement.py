"""Which workers a notebook asks for, in a repeat, whose cluster may have no such workers.

Dask would wait for them for ever: for workers of the author's cluster; and, while no worker has
been started, even for those that are only preferred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nbrw_runtime.dask_doze import is_dozing

_WORKERS, _PREFERRED = "workers", "allow_other_workers"


def possible_options(
    client: Any, options: Mapping[str, Any], note: Callable[[str], None]
) -> dict[str, Any]:
    """What a client's method was given, without workers that are not there."""
    found = dict(options)
    wanted = found.get(_WORKERS)
    if wanted and _is_in_vain(client, wanted, bool(found.get(_PREFERRED)), note):
        found[_WORKERS] = found[_PREFERRED] = None
    return found


def possible_annotations(
    client: Any, annotations: Mapping[str, Mapping[Any, Any]], note: Callable[[str], None]
) -> Mapping[str, Mapping[Any, Any]]:
    """The same for annotations of tasks: by name and key."""
    asked = annotations.get(_WORKERS)
    if not asked:
        return annotations
    preferred = annotations.get(_PREFERRED, {})
    left = {
        key: wanted
        for key, wanted in asked.items()
        if not wanted or not _is_in_vain(client, wanted, bool(preferred.get(key)), note)
    }
    found = {**annotations, _WORKERS: left}
    found[_PREFERRED] = {key: value for key, value in preferred.items() if key in left}
    return {name: by_key for name, by_key in found.items() if by_key}


def _is_in_vain(client: Any, wanted: Any, preferred: bool, note: Callable[[str], None]) -> bool:
    names = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
    known = _known(client)
    if any(str(name) in known for name in names):
        return preferred and is_dozing(client.cluster)
    if not preferred:
        text = ", ".join(map(str, names[:3]))
        note(f"tasks ask for workers that this cluster lacks ({text}): any of its own runs them")
    return True


def _known(client: Any) -> set[str]:
    """Names, addresses and hosts of the workers that there are, or will be."""
    cluster = client.cluster
    found = {str(name) for name in getattr(cluster, "worker_spec", {})}
    scheduler = vars(cluster).get("scheduler") if cluster is not None else None
    for worker in list(getattr(scheduler, "workers", {}).values()):
        found |= {str(worker.name), str(worker.address), str(worker.host)}
    info = client._scheduler_identity.get("workers", {})
    for address, worker in list(info.items()):
        host = address.partition("://")[2].rpartition(":")[0]
        found |= {str(address), str(worker.get("name")), host}
    return found
