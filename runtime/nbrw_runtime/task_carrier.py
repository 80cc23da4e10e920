"""In an audit: fetches what workers elsewhere stored of tasks (`task_outbox.py`), and checks it.

What comes is laid into the store and the spool as if workers of this machine had written it. A
fingerprint tells the kernel's software, so results count only of workers that have the same.
"""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nbrw_runtime import task_ship, worker_plugin
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import StorageError
from nbrw_runtime.process_identity import identity
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.task_outbox import digest_of_software, software
from nbrw_runtime.worker_software import difference, loaded

_LIMIT = 32 << 20  # bytes that are sent at once
_AT_ONCE = 4  # workers
_FILES = 256  # that are asked for at once
_SECONDS = 600.0
_NAME = re.compile(r"\d+-[0-9a-f]{12}\.(seg|jsonl)|blobs/sha256/[0-9a-f]{64}")
_SAME = ("python", "dask", "distributed", "cloudpickle")


class NotShipped(Exception):
    """A scheduler cannot have our functions; says why."""


class TaskCarrier:
    """One kernel's. ``orders`` are those of `task_worker.py`, ``store`` the one that they name.

    ``digest_of`` gives the digest of a local module's file, by its name; ``note`` says what went
    wrong.
    """

    def __init__(
        self,
        store: DirectoryStore,
        orders: tuple[str, str, tuple[str, ...]],
        digest_of: Callable[[str], str],
        note: Callable[[str], None],
    ) -> None:
        self._store = store
        self._orders = orders
        self._digest_of = digest_of
        self._note = note
        self._name = f"{task_ship.PLUGIN_NAME}-{uuid.uuid4().hex}"

    def ship(self, client: Any) -> None:
        """Have a cluster know our functions. Raises NotShipped, and what Dask raises."""
        # Workers that see this directory reach the store.
        Path(self._orders[1]).mkdir(parents=True, exist_ok=True)
        if not is_scheduler_here(client):
            self._compare(client.sync(client.scheduler.versions, packages=[]))
            task_ship.ship_to_scheduler(client, self._name)
        task_ship.ship(client, *self._orders, identity(), self._name)

    def leave(self, client: Any) -> None:
        """No client of the kernel's uses the cluster any more. Raises what Dask raises."""
        client.unregister_worker_plugin(self._name)
        if not is_scheduler_here(client):
            client.unregister_scheduler_plugin(self._name)

    def fetch(self, client: Any, workers: Mapping[str, str]) -> None:
        """Bring here what these workers have stored; what cannot be had is noted.

        Beside a worker's address stands why its results do not count; empty: they do.
        """
        client.sync(self._fetch_all, client, workers)

    @staticmethod
    def _compare(found: Mapping[str, Any]) -> None:
        from distributed.versions import get_versions

        theirs, ours = found["packages"], get_versions(packages=[])["packages"]
        for name in _SAME:
            if theirs.get(name) != ours.get(name):
                raise NotShipped(
                    f"its scheduler has {name} {theirs.get(name)}, the notebook {ours.get(name)}"
                )

    async def _fetch_all(self, client: Any, workers: Mapping[str, str]) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def fetch(address: str, doubt: str) -> None:
            async with turn:
                try:
                    await _Worker(client, address, self._orders[1]).empty(self, doubt)
                except Exception as error:
                    self.note(f"could not be fetched: {type(error).__name__}: {error}", address)

        await asyncio.gather(*(fetch(*worker) for worker in sorted(workers.items())))

    # -- what is asked when one worker's are fetched ---------------------------------------------

    def why_not(self, found: Mapping[str, Any]) -> str:
        """Why a worker's results do not count; empty: they do."""
        for name, digest in sorted(found["modules"].items()):
            if not digest:
                return f"its file of the module {name} may have changed since it was loaded"
            if digest != self._digest_of(name):
                return f"its module {name} is not the notebook's"
        return ""

    def note(self, why: str, worker: str) -> None:
        """What a worker has stored is not had."""
        self._note(f"results of tasks on {worker} {why}")

    def has(self, name: str) -> bool:
        """Whether a file need not be fetched."""
        return name.startswith("blobs/") and Digest.from_hex(Path(name).name) in self._store

    def put(self, name: str, offset: int, data: bytes, size: int, mark: str) -> None:
        """A part of a file of ``size`` bytes; parts come in order. ``mark`` is the worker's: others
        may send the same file. Raises OSError, StorageError.
        """
        if not _NAME.fullmatch(name):
            raise StorageError(f"receive {name} of a worker: it is none of its results")
        spool = Path(self._orders[1])
        path = spool / f"{Path(name).name}.{mark}"
        with open(path, "r+b" if offset else "wb") as stream:
            stream.seek(offset)
            stream.write(data)
        if offset + len(data) < size:
            return
        if not name.startswith("blobs/"):
            path.rename(spool / name)
            return
        found, _ = self._store.put_file(path)
        path.unlink()
        if found.hex != Path(name).name:
            raise StorageError(f"receive {name} of a worker: its content has digest {found}")


class _Worker:
    """Of which one fetches what waits there."""

    def __init__(self, client: Any, address: str, spool: str) -> None:
        self._client = client
        self._address = address
        self._spool = spool
        self._mark = uuid.uuid4().hex

    async def empty(self, carrier: TaskCarrier, doubt: str) -> None:
        """Bring all of it to the carrier, or drop it. Raises OSError, StorageError, and what Dask
        raises.
        """
        found = await self._outbox("contents")
        if found is None:
            carrier.note("are lost: it has no directory to keep them in", self._address)
            return
        files = dict(found.get("files", ()))
        if not files:
            return
        why = doubt or carrier.why_not(found) or await self._other_software(found["software"])
        if why:
            carrier.note(f"({found['host']}) are not kept: {why}", self._address)
        else:
            # In this order: whoever gathers them looks for lines, and then all else is there.
            await self._bring(carrier, {n: size for n, size in files.items() if not carrier.has(n)})
        await self._outbox("remove", list(files))

    async def _bring(self, carrier: TaskCarrier, files: dict[str, int]) -> None:
        loop = asyncio.get_running_loop()
        left = [(name, 0) for name in files]
        while left:
            for name, offset, data in await self._outbox("parts", left[:_FILES], _LIMIT):
                part = (name, offset, data, files[name], self._mark)
                await loop.run_in_executor(None, carrier.put, *part)
                end = offset + len(data)
                if end < files[name] and not data:
                    raise StorageError(f"receive {name} of a worker: it ends after {end} bytes")
                left[0] = (name, end)
                if end >= files[name]:
                    del left[0]

    async def _other_software(self, digest: str) -> str:
        if digest == digest_of_software():
            return ""
        found = difference(await self._ask("software"), software(), loaded())
        return f"it has other software: {found}" if found else ""

    async def _outbox(self, *call: Any) -> Any:
        return await self._ask("outbox", self._spool, *call)

    async def _ask(self, *call: Any) -> Any:
        answer = self._client._run(
            worker_plugin.function(), task_ship.MODULE, *call, workers=[self._address]
        )
        return (await asyncio.wait_for(answer, _SECONDS))[self._address]


def is_scheduler_here(client: Any) -> bool:
    """Whether a client's scheduler is in this process."""
    kind = getattr(sys.modules.get("distributed.scheduler"), "Scheduler", ())
    # (That of an SSHCluster is called so, too.)
    return isinstance(getattr(client.cluster, "scheduler", None), kind)
