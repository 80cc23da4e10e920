"""In an audit: what Dask workers use that the kernel's tracer does not see, as they run elsewhere.

Before a cell counts as ended, its tasks have; then each worker's witness (`worker_witness.py`) is
asked what it saw since it was asked last, and that belongs to the cell. So no clock decides, and a
worker that comes or goes during a cell is no different. `docs/format/trace.md`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from nbrw_runtime import dask_cluster, worker_plugin
from nbrw_runtime.import_watch import when_loaded
from nbrw_runtime.process_identity import identity
from nbrw_runtime.worker_files import WorkerFiles
from nbrw_runtime.worker_source import Batch, WorkerSource
from nbrw_runtime.worker_window import Window
from nbrw_runtime.worker_witness import TOPIC

_SECONDS = 20.0  # without an answer one asks again
_ATTEMPTS = 3
_EVENTS = 1000  # a scheduler keeps so many, if it is not told otherwise
_LAST_WORD = 2.0  # seconds for what a worker said when it ended to reach its scheduler


class Results(Protocol):
    """What workers elsewhere have stored."""

    def fetch(self, client: Any, workers: Mapping[str, str]) -> None:
        """Bring it here; beside a worker's address stands why its results do not count, if so."""

    def leave(self, client: Any) -> None:
        """The notebook has no other client of this cluster, and will use this one no more."""


class WorkerTraces:
    """One kernel's. ``prefix`` is what the names of its trace files begin with; ``window`` has what
    the cell that ran last left changed. ``results`` fetches results of tasks at the same times.
    """

    def __init__(self, prefix: str, results: Results) -> None:
        self._prefix = prefix
        self._results = results
        # The address of its scheduler, which a client that is closed has no more.
        self._clients: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._sources: dict[str, WorkerSource] = {}
        self._workers: dict[str, dict[str, dict[str, Any] | None]] = {}  # by scheduler
        self._audit = uuid.uuid4().hex
        self._events: dict[str, float] = {}  # when that was made which was looked at last
        self._cell = 0
        self.window = Window()
        self._cluster: set[str] = set()
        self._gaps = WorkerSource(Path(f"{prefix}.worker-0.jsonl"), os.uname().nodename)

    def install(self, client: type) -> None:
        """Use it for all of Dask's clients that this kernel makes from now on."""
        self._patch_client(client)
        when_loaded("distributed.deploy.cluster", lambda module: self._patch_cluster(module))

    def begin(self, cell: int) -> None:
        """A cell begins."""
        self._cell = cell
        self.window = Window()

    def end(self) -> None:
        """The cell's tasks have ended: what workers elsewhere used is written down."""
        for client in list(self._clients):
            self._collect(client)

    def finish(self) -> None:
        """The notebook has ended: workers that go on are left alone."""
        for client in list(self._clients):
            self._collect(client)
            self._results.leave(client)
            with contextlib.suppress(Exception):
                client.unregister_worker_plugin(worker_plugin.NAME)
        self._clients.clear()  # (they are closed later)
        for source in (self._gaps, *self._sources.values()):
            source.close()

    # -- clients and clusters ------------------------------------------------------------------

    def _patch_client(self, client: type) -> None:
        start = client.__init__  # type: ignore[misc]

        @functools.wraps(start)
        def __init__(this: Any, *args: Any, **options: Any) -> None:  # noqa: N807
            start(this, *args, **options)
            self._joined(this)

        client.__init__ = __init__  # type: ignore[misc]
        for name in ("close", "shutdown"):
            self._patch_end(client, name, lambda this: [this] if this in self._clients else [])

    def _patch_cluster(self, module: Any) -> None:
        def clients(cluster: Any) -> list[Any]:
            return [found for found in self._clients if found.cluster is cluster]

        self._patch_end(module.Cluster, "close", clients)

    def _patch_end(self, owner: type, name: str, clients: Any) -> None:
        """Before workers go, or cannot be asked any more."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def ends(this: Any, *args: Any, **options: Any) -> Any:
            for client in clients(this):
                self._collect(client)
                scheduler = self._clients.pop(client, None)
                if scheduler not in set(self._clients.values()):
                    self._results.leave(client)
            return original(this, *args, **options)

        setattr(owner, name, ends)

    def _joined(self, client: Any) -> None:
        local = type(getattr(client, "cluster", None)).__name__ == "LocalCluster"
        if local or client.status != "running":
            return  # workers that this process starts, its tracer sees
        if client.asynchronous:
            self._gap("an asynchronous client was used: what its workers read is not known")
            return
        try:
            scheduler = self._clients[client] = client.scheduler.address
            if scheduler not in self._workers:
                client.register_plugin(worker_plugin.plugin(self._audit, identity()))
                # What was before, for others, is no cell's doing.
                self._ask(client, self._greet(client), 0)
        except Exception as error:
            self._gap(f"workers could not be asked what they use: {type(error).__name__}: {error}")

    # -- what they saw -------------------------------------------------------------------------

    def _collect(self, client: Any) -> None:
        if getattr(client, "status", "") != "running":
            self._lost(client, set(self._of(client)), set())
            return
        why: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                alive = self._greet(client)
                alive -= self._ask(client, alive, self._cell)
                self._results.fetch(client, self._elsewhere(client, alive))
                self._lost(client, *self._hear(client, alive))
                return
            except Exception as error:
                why = error  # such as a worker that has just been killed, as Dask knows by now
        self._gap(f"workers did not say what they used: {type(why).__name__}: {why}")

    def _hear(self, client: Any, alive: set[str]) -> tuple[set[str], set[str]]:
        """Workers that went, and those of them that left word: it may still be on its way."""
        told = set()
        deadline = time.monotonic() + _LAST_WORD
        while True:
            for batch in self._reported(client):
                told.add(batch["address"])
                self._add(batch, self._cell, WorkerFiles(None, batch["address"]))
            gone = {a for a, worker in self._of(client).items() if a not in alive and worker}
            if gone <= told or time.monotonic() > deadline:
                return set(self._of(client)) - alive, told
            time.sleep(0.05)

    def _of(self, client: Any) -> dict[str, dict[str, Any] | None]:
        """The workers of a client's scheduler; None: our own tracer sees it."""
        return self._workers.setdefault(self._clients[client], {})

    def _greet(self, client: Any) -> set[str]:
        """Who is there; those that are new say who they are."""
        workers, known = dask_cluster.workers_of(client), self._of(client)
        new = [address for address in workers if address not in known]
        for address, answer in worker_plugin.ask(client, new, _SECONDS, "hello").items():
            if answer is not None and not isinstance(answer, dict):
                self._gap(f"the worker {address} does not say what it uses: {answer!r}")
                continue
            known[address] = answer
            if answer is not None:
                self._source(answer)
        nannies = (str(found.get("nanny")) for found in workers.values())
        for address in (self._clients[client], *workers, *nannies):
            self._cluster.add(address.partition("://")[2])
        return set(workers)

    def _ask(self, client: Any, alive: set[str], cell: int) -> set[str]:
        """Ask one worker of all that share a source; those that are ending already."""
        asked: dict[str, str] = {}
        known = self._of(client)
        for address in sorted(alive):
            worker = known.get(address)
            if worker is not None:
                asked.setdefault(worker["source"], address)
        answers = worker_plugin.ask(client, asked.values(), _SECONDS, "take", cell)
        for address, answer in answers.items():
            if isinstance(answer, dict):
                self._add(answer, cell, WorkerFiles(client, address))
            elif answer is not None:
                self._gap(f"the worker {address} does not say what it used: {answer!r}")
        return {address for address, answer in answers.items() if answer is None}

    def _elsewhere(self, client: Any, alive: set[str]) -> dict[str, str]:
        """Workers that this kernel did not start, and why their results do not count."""
        doubts = {name: source.why_doubtful() for name, source in self._sources.items()}
        known = self._of(client)
        workers = {address: known.get(address) for address in alive}
        return {a: doubts.get(worker["source"], "") for a, worker in workers.items() if worker}

    def _source(self, hello: Mapping[str, Any]) -> WorkerSource:
        name = hello["source"]
        if name not in self._sources:
            path = f"{self._prefix}.worker-{len(self._sources) + 1}.jsonl"
            self._sources[name] = WorkerSource(Path(path), hello["host"], self._cluster)
        return self._sources[name]

    def _reported(self, client: Any) -> Iterator[dict[str, Any]]:
        """What workers left with the scheduler before they went, that has not been seen."""
        events = client.get_events(TOPIC) or ()
        scheduler = self._clients[client]
        last = self._events.get(scheduler, 0.0)
        new = [(stamp, message) for stamp, message in events if stamp > last]
        if len(new) == len(events) >= _EVENTS:
            self._gap("more workers came and went in a cell than the scheduler keeps word of")
        for stamp, message in new:
            self._events[scheduler] = stamp
            if message["audit"] != self._audit:
                continue
            if "lines" in message:
                yield message
            else:
                # It may have gone since.
                self._of(client).setdefault(message["address"], dict(message))
                self._source(message)

    def _add(self, batch: dict[str, Any], cell: int, files: WorkerFiles) -> None:
        self._source(batch).add(Batch.of(batch), cell, files)
        self.window.add(batch, files)

    def _lost(self, client: Any, gone: set[str], told: set[str]) -> None:
        """Workers that went: did they, or another of the same tracer, tell the rest?"""
        known = self._of(client)
        there = {w["source"] for a, w in known.items() if w is not None and a not in gone}
        for address in sorted(gone):
            worker = known.pop(address)
            if worker is None or address in told or worker["source"] in there:
                continue
            self._gap(
                f"the worker {address} on {worker['host']} ended in cell {self._cell} before it "
                "said what it had used there"
            )

    def _gap(self, reason: str) -> None:
        self._gaps.gap(reason, self._cell)
