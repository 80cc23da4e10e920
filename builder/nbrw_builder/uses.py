"""What the events of all traces say about each path: first use, cells, roles, content. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nbrw_builder.trace_merge import is_elsewhere, placed
from nbrw_builder.trace_part import PartialTrace
from nbrw_runtime.paths import is_installed
from nbrw_runtime.trace import Event, Facts, Kind, Trace

_WORKER_WORDS = ("distributed.cli", "dask-worker", "dask-scheduler", "dask-cuda-worker")
_DASK_FILES = ("/distributed/worker.", "/distributed/nanny.", "/distributed/__pycache__/worker.")


@dataclass
class Use:
    """How a path was used. ``facts`` are those of the first successful use."""

    path: str
    first: str = ""  # read, write, absent, list or exec
    cells: set[int] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    facts: Facts | None = None
    preserved: str | None = None
    inputs: bool = False  # its content from before the notebook was needed
    names: tuple[str, ...] | None = None  # of a directory that only a worker elsewhere can list

    @property
    def written(self) -> bool:
        """Whether the notebook made or changed it."""
        return "write" in self.kinds


def connection_file(trace: Trace) -> str:
    """The file by which Jupyter told the kernel where to listen."""
    words = trace.header.argv
    return next((after for word, after in itertools.pairwise(words) if word == "-f"), "")


class Roles:
    """Which processes are the kernel, Dask workers (and what they start), or others."""

    def __init__(self, trace: Trace) -> None:
        self._kernel = trace.header.kernel_pid
        self._parents: dict[int, int] = {}
        workers: set[int] = set()
        spawned: set[int] = set()
        for event in trace.whole if isinstance(trace, PartialTrace) else trace.events:
            if event.kind is Kind.PROCESS:
                self._parents[event.pid] = int(event.detail.get("parent", 0))
            elif event.kind is Kind.EXEC and event.ok:
                words = " ".join(str(word) for word in event.detail.get("argv", ()))
                if any(word in words for word in _WORKER_WORDS):
                    workers.add(event.pid)
                elif "multiprocessing" in words or "from multiprocessing" in words:
                    spawned.add(event.pid)
            elif event.pid in spawned and any(part in (event.path or "") for part in _DASK_FILES):
                workers.add(event.pid)
        self._workers = workers

    def role(self, pid: int) -> str:
        """``kernel``, ``worker`` or ``child``."""
        if pid == self._kernel:
            return "kernel"
        if is_elsewhere(pid):
            return "worker"
        seen = set()
        while pid and pid not in seen and pid != self._kernel:
            if pid in self._workers:
                return "worker"
            seen.add(pid)
            pid = self._parents.get(pid, 0)
        return "child"


def collect(traces: Sequence[Trace]) -> dict[str, Use]:
    """The uses of all paths, in the order in which they were first used.

    The order is that of the cells, whichever of the traces has them: a file that one cell wrote and
    another read is a result, also if the one was executed again since. Installed software is loaded
    once: that a kernel which went on loads it again is no use by the cell it went on with.
    """
    uses: dict[str, Use] = {}
    found = []
    for number, trace in enumerate(traces):
        roles = Roles(trace)
        found += [(place, number, event, roles) for place, event in placed(trace)]
    if len(traces) > 1:
        found.sort(key=lambda item: item[:2])
    loaded: dict[str, int] = {}
    for _, number, event, roles in found:
        path = event.path or ""
        if event.kind is Kind.READ and event.ok and is_installed(path):
            again = loaded.setdefault(path, number) != number
            if again and event.cell and roles.role(event.pid) == "kernel":
                continue
        _add(uses, event, roles)
    return uses


def _add(uses: dict[str, Use], event: Event, roles: Roles) -> None:
    if event.path is None:
        return
    kind = event.kind
    if kind is Kind.READ:
        _note(uses, event, roles, event.path, "read" if event.ok else "absent")
    elif kind is Kind.EXEC and event.ok:
        _note(uses, event, roles, event.path, "exec")
    elif kind is Kind.LIST and event.ok:
        _note(uses, event, roles, event.path, "list")
    elif kind is Kind.WRITE and event.ok:
        use = _note(uses, event, roles, event.path, "write")
        if use.first == "write" and len(use.kinds) == 1 and _needs_content(event.flags):
            use.inputs = True
            use.facts = event.facts
        _keep(use, event)
    elif kind is Kind.REMOVE and event.ok:
        removed = uses.get(event.path)
        if removed is not None:
            _keep(removed, event)
            removed.kinds.add("write")
            removed.cells.update(cell for cell in (event.cell, event.origin) if cell)
    elif kind is Kind.REMOVE:
        _note(uses, event, roles, event.path, "absent")
    elif kind in (Kind.RENAME, Kind.LINK) and event.ok and event.target:
        target = _note(uses, event, roles, event.target, "write")
        _keep(target, event)
        if kind is Kind.RENAME:
            source = uses.get(event.path)
            if source is not None:
                source.kinds.add("write")
        elif "hard" in event.flags:
            _note(uses, event, roles, event.path, "read")


def _needs_content(flags: Iterable[str]) -> bool:
    words = set(flags)
    return "existed" in words and "truncate" not in words


def _note(uses: dict[str, Use], event: Event, roles: Roles, path: str, kind: str) -> Use:
    use = uses.get(path)
    if use is None:
        use = uses[path] = Use(path, kind)
    elif use.first == "absent" and kind != "absent":
        use.first = kind
    cell = event.cell if event.cell is not None else event.origin
    if cell:
        use.cells.add(cell)
    use.roles.add(roles.role(event.pid))
    use.kinds.add(kind)
    if kind in ("read", "list", "exec") and use.facts is None and not use.written:
        use.facts = event.facts
    if kind == "read" and not use.written:
        use.inputs = True
        _keep(use, event)  # a worker elsewhere read it where it cannot be read from here
    if kind == "list" and "names" in event.detail:
        use.names = tuple(event.detail["names"])
    return use


def _keep(use: Use, event: Event) -> None:
    name = event.detail.get("preserved")
    if name and use.preserved is None:
        use.preserved = str(name)
