"""The tasks that a notebook's kernel starts: stored in an audit, loaded in a repeat.

Nothing of this is imported before the notebook imports distributed, or computes with a scheduler
of Dask's own.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbrw_runtime import task_own
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Data
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import StorageError
from nbrw_runtime.import_watch import when_loaded
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_place import Start

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache
    from nbrw_runtime.task_carrier import TaskCarrier
    from nbrw_runtime.task_collect import TaskCollector
    from nbrw_runtime.task_counts import TaskCounts
    from nbrw_runtime.task_virtual import Load

#: The oldest release of Dask that this is known to work with.
OLDEST = (2025, 5)
_PLACES = ("stdlib", "platstdlib", "purelib", "platlib")
_SYSTEM = ("/usr/lib", "/usr/share", "/lib", "/etc", "/nbrw")


@dataclass
class KernelTasks:
    """One kernel's. ``known`` gives the checkpoints whose tasks may be loaded, when Dask is loaded
    (None: all tasks run, an audit).

    ``data`` is what the audit's workers used, ``kept`` are documents of earlier repeats, and
    ``keeps`` says whether results are stored. ``namespace`` is the notebook's, ``directory`` where
    its own modules are. ``stores`` are all stores, of which workers write to ``first``. With
    ``fetches``, results are fetched from workers elsewhere (``fetch``).
    """

    namespace: Mapping[str, Any]
    directory: str
    stores: StackedStore
    first: DirectoryStore
    known: Callable[[], Iterable[Checkpoint]] | None = None
    data: Iterable[Data] = ()
    kept: Sequence[Digest] = ()
    keeps: bool = True
    fetches: bool = False
    start_place: Start = field(default_factory=Start.now)
    notes: list[str] = field(default_factory=list)
    _cell: int = 0
    _begun: bool = False
    _cache: TaskCache | None = None
    _collector: TaskCollector | None = None
    _counts: dict[int, TaskCounts] = field(default_factory=dict)

    def install(self) -> None:
        """Use it for all clients of Dask that this kernel makes from now on."""
        global _current
        _current = self
        when_loaded("distributed.client", lambda module: _begin(module.Client))
        when_loaded("dask.base", _begin_local)
        if self.known is not None:
            when_loaded("distributed.deploy.local", _let_doze)

    @property
    def spool(self) -> Path:
        """Where workers of this kernel say what they stored."""
        return Path(self.first.root) / "tasks" / _PROCESS

    def start(self, client: type) -> None:
        """distributed has been loaded: from now on its clients ask us first."""
        from nbrw_runtime import task_virtual
        from nbrw_runtime.task_client import patch

        cache = self.cache()
        if cache is not None:
            patch(client, _cache)
            if cache.index is not None:
                task_virtual.patch(client)

    def cache(self) -> TaskCache | None:
        """The cache, made when it is asked for first; None if Dask is not known to work."""
        if not self._begun:
            self._begun = True
            self._make()
        return self._cache

    def _make(self) -> None:
        from nbrw_runtime.task_cache import TaskCache
        from nbrw_runtime.task_collect import TaskCollector
        from nbrw_runtime.task_index import TaskIndex

        version = str(getattr(sys.modules.get("dask"), "__version__", "?"))
        if not _is_known(version):
            self.notes.append(f"results of tasks are not kept: Dask {version} is not known to work")
            return
        index = None
        if self.known is not None:
            documents = {c.cell: c.tasks for c in self.known() if c.tasks is not None}
            index = TaskIndex(self.stores, documents, self.data, self.kept)
        places = {sysconfig.get_path(kind) for kind in _PLACES}
        self._collector = TaskCollector(self.spool)
        if index is not None:
            self._collector.known = index.find
        self._cache = TaskCache(
            self.namespace,
            self.directory,
            str(self.first.root),
            str(self.spool),
            sorted({f"{place}/" for place in (*places, *_SYSTEM) if place}),
            index,
            self.keeps,
            self.start_place,
        )
        if self.fetches:
            self._cache.carry(self.first)
        self._counts[self._cell] = self._cache.start_cell()
        self._cache.classes.install()
        self._collector.foreign = self._cache.classes.why_not
        self._watch_shows()

    def _watch_shows(self) -> None:
        """What tasks show in this process is part of the cell's outputs."""
        from nbrw_runtime import task_ship

        module = task_ship.module()
        module.watch_prints()
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None:
            module.watch_calls(type(shell.display_pub), "publish", module.SHOWS)

    def begin(self, cell: int) -> None:
        """A cell begins."""
        self._note_spared()
        self._cell = cell
        if self._cache is not None:
            self._counts[cell] = self._cache.start_cell()
        task_own.begin()

    def collect(self) -> tuple[Digest | None, tuple[Digest, ...]]:
        """What the tasks of the cell that has just ended left: a document, and its blobs.

        Raises StorageError.
        """
        if self._collector is None or self._cache is None:
            return None, ()
        if self._cache.is_local and self._cache.index is None:
            self._cache.is_local = False
            with contextlib.suppress(OSError):  # unexplained, all counts as the tasks' doing
                task_own.write_down()
        noted = self._cache.explainer.noted
        values = _values(self._cache)
        found = self._collector.collect(self.first, self._cache.facts(), noted, values)
        self._cache.spare(self._collector.spared)
        return found or (None, ())

    def fetch(self, client: Any, workers: Mapping[str, str]) -> None:
        """Bring here what these workers of a client's, which are elsewhere, have stored, or drop it
        for the reasons given.
        """
        carrier = self._carrier_of(client)
        if self._cache is not None and carrier is not None:
            try:
                carrier.fetch(client, workers)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                self._cache.note(f"results of tasks were not fetched: {why}")

    def leave(self, client: Any) -> None:
        """The notebook uses the cluster of this client no more; others may."""
        carrier = self._carrier_of(client)
        if carrier is not None:
            with contextlib.suppress(Exception):
                carrier.leave(client)

    def _carrier_of(self, client: Any) -> TaskCarrier | None:
        """What fetches results from a client's workers, if they have our functions."""
        cache = self._cache
        return cache.carrier if cache is not None and cache.is_shipped(client) else None

    def _note_spared(self) -> None:
        """Where nothing is kept, workers are asked for what did not run all the same."""
        if self.known is not None and not self.keeps:
            with contextlib.suppress(StorageError, OSError):
                self.collect()

    def by_cell(self) -> dict[str, dict[str, Any]]:
        """What became of the tasks of each cell that had some, for the report."""
        self._note_spared()
        return {
            str(cell): counts.as_json()
            for cell, counts in self._counts.items()
            if counts.loaded or counts.run
        }

    def end(self) -> list[str]:
        """The kernel ends; returns what went wrong, each said once."""
        global _current
        if _current is self:
            _current = None
        shutil.rmtree(self.spool, ignore_errors=True)
        return [*self.notes, *(self._cache.all_notes() if self._cache is not None else ())]

    def used(self) -> list[Digest]:
        """The documents of earlier repeats that results came from."""
        index = self._cache.index if self._cache is not None else None
        return sorted(index.used) if index is not None else []

    def fingerprint_of(self, key: Any) -> tuple[str, str] | None:
        """The fingerprint of a future's task, and that without inputs, if they are known."""
        found = self._cache.fingerprint_of(key) if self._cache is not None else None
        return None if found is None else (str(found.digest), str(found.local))

    def virtual_future(
        self, client: Any, key: Any, function: Any, arguments: tuple[Any, ...], name: str
    ) -> Any:
        """A future whose value this gives, known by this name; None: it must be a usual one."""
        if self._cache is None or self._cache.index is None:
            return None
        from nbrw_runtime import task_virtual

        if not task_virtual.can_have(client):
            return None
        load = task_virtual.Load(function, arguments, Digest(name).hex)
        return task_virtual.futures(client, {key: load})[key]

    def restored(self, key: Any, digest: str, local: str) -> None:
        """A future of the author's came back, with the author's value."""
        if self._cache is not None:
            self._cache.restored(key, Digest(digest), Digest(local))


_PROCESS = uuid.uuid4().hex
_current: KernelTasks | None = None


def current() -> KernelTasks | None:
    """Those of this process."""
    return _current


def virtual_values(client: Any) -> Mapping[Any, Load]:
    """What gives the values of a client's virtual futures, by key."""
    found = sys.modules.get("nbrw_runtime.task_virtual")
    return found.loads_of(client) if found is not None else {}


def _values(cache: TaskCache) -> dict[str, Digest]:
    """The blobs of the values of futures that were just stored, by fingerprint."""
    state = sys.modules.get("nbrw_runtime.dask_state")
    found = {}
    for key, digest in (state.new_values() if state is not None else {}).items():
        fingerprint = cache.fingerprint_of(key)
        if fingerprint is not None:
            found[fingerprint.digest.hex] = digest
    return found


def _cache() -> TaskCache | None:
    return _current._cache if _current is not None else None


def _local_cache() -> TaskCache | None:
    return _current.cache() if _current is not None else None


def _begin_local(_: Any) -> None:
    from nbrw_runtime import task_local

    task_own.watch()
    task_local.patch(_local_cache)


def _begin(client: type) -> None:
    if _current is not None:
        _current.start(client)


def _let_doze(module: Any) -> None:
    from nbrw_runtime import dask_doze

    dask_doze.patch(module.LocalCluster, lambda: _cache() is not None)


def _is_known(version: str) -> bool:
    try:
        return tuple(int(part) for part in version.split(".")[:2]) >= OLDEST
    except ValueError:
        return False
