"""What the cells of a former audit used that is no longer as it was.

In doubt a cell is executed again. What a restored cell read, listed or wrote must be as it was, by
device, inode, size and ctime of what was read, and by digest of what was written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_builder.audit_directory import Run
from nbrw_builder.noise import is_cache, is_noise
from nbrw_builder.packages import source_of
from nbrw_builder.uses import connection_file
from nbrw_runtime.checkpoint import Checkpoint, StoredFile
from nbrw_runtime.digest import Digest, digest_file, digest_json
from nbrw_runtime.paths import is_software
from nbrw_runtime.result import lasting_variables
from nbrw_runtime.trace import Event, Kind, Trace

# What saving a notebook and building an image of it add to a directory.
_NOT_INPUTS = (".ipynb", ".sif", ".tar")
_MODULES = (".py", ".pyc", ".so")


def environment_digest(variables: Mapping[str, str] | None = None) -> Digest:
    """The identity of the environment variables that a notebook may depend on."""
    found = os.environ if variables is None else variables
    return digest_json(sorted(lasting_variables(found).items()))


@dataclass(frozen=True)
class Changed:
    """What cells of a former audit used that is no longer as it was.

    ``cells`` are to be executed again, each with the reason; if ``everything`` is not empty, it is
    why all of them are.
    """

    cells: dict[int, str] = field(default_factory=dict)
    everything: str = ""


def changed_since(
    traces: Sequence[Trace],
    runs: Sequence[Run],
    written: AbstractSet[str],
    made: AbstractSet[str],
    checkpoints: Sequence[Checkpoint],
) -> Changed:
    """Look at everything that the cells with these checkpoints used.

    ``traces`` are those of ``runs``; ``written`` are paths that the audit's cells are known to have
    written or removed, ``made`` those that any cell of the notebook ever did.
    """
    ours = set(written).union(*(written_in(trace.events) for trace in traces))
    left = _left(checkpoints)
    altered = {path for path, stored in left.items() if not is_as_left(path, stored)}
    # What somebody read was there, so that it is no new entry of a directory.
    there = {e.path or "" for trace in traces for e in trace.events if e.kind is Kind.READ and e.ok}
    looker = _Looker(ours, made | ours, there, altered)
    by_cells = {e.path for trace in traces for e in trace.events if e.cell or e.origin}
    wanted = {0, *(checkpoint.cell for checkpoint in checkpoints)}
    cells: dict[int, str] = {}
    onwards: tuple[int, str] | None = None
    for index, (trace, run) in enumerate(zip(traces, runs, strict=True)):
        connection = connection_file(trace)
        for event in trace.events:
            number = event.cell or event.origin or 0
            if event.path in (None, connection) or number in cells or number not in wanted:
                continue
            if number == 0 and index > 0 and event.path in by_cells:
                continue  # a kernel that went on loaded what a cell had loaded before
            path = looker.changed(event, run.began)
            if not path:
                continue
            if number == 0:
                return Changed({}, f"the kernel used {path}, which changed")
            cells[number] = f"it used {path}, which changed"
            if is_software(path) and (onwards is None or number < onwards[0]):
                onwards = number, f"cell {number} loaded {path}, which changed"
    if onwards is not None:
        # Who loads software once may use it in any cell after.
        for number in range(onwards[0], max((c.cell for c in checkpoints), default=0) + 1):
            cells.setdefault(number, onwards[1])
    return Changed(cells)


class _Looker:
    """Looks at each path once. ``altered`` are results that are not as the notebook left them."""

    def __init__(
        self,
        ours: AbstractSet[str],
        made: AbstractSet[str],
        there: AbstractSet[str],
        altered: AbstractSet[str],
    ) -> None:
        self._ours = ours
        self._made = made
        self._there = there
        self._altered = altered
        self._home = str(Path.home())
        self._known: dict[tuple[object, ...], bool] = {}

    def changed(self, event: Event, began: float) -> str:
        """The path that the event is about, if it is not as it was then."""
        path = event.path or ""
        if path in self._ours:
            # Its content at the time is gone, but for what the notebook left in the end.
            # In no cell it is read while checkpoints are taken.
            used = event.kind is Kind.READ and event.ok and (event.cell or event.origin)
            return path if used and path in self._altered else ""
        if is_noise(path, self._home):
            return ""
        source = source_of(path)
        if source != path and source not in self._ours and event.kind is Kind.READ and event.ok:
            key: tuple[object, ...] = (source, "compiled")
            if key not in self._known:
                self._known[key] = _is_newer(source, began)
            return source if self._known[key] else ""
        if is_cache(path, self._home):
            return ""
        in_cell = bool(event.cell or event.origin)
        key = (path, event.facts or event.result, in_cell)
        if key not in self._known:
            lists = event.kind is Kind.LIST
            self._known[key] = (
                _lists_differently(event, self._made, self._there, began)
                if lists
                else _differs(event)
            )
        return path if self._known[key] else ""


def _left(checkpoints: Sequence[Checkpoint]) -> dict[str, StoredFile | None]:
    """The files that these cells left in the end; None: it is gone."""
    left: dict[str, StoredFile | None] = {}
    for checkpoint in checkpoints:
        left.update(dict.fromkeys(checkpoint.removed))
        left.update({stored.path: stored for stored in checkpoint.files})
    return left


def _is_newer(path: str, began: float) -> bool:
    """Whether a source was changed since a run that loaded what had been compiled from it."""
    try:
        return os.stat(path).st_ctime > began
    except OSError:
        return False


def _differs(event: Event) -> bool:
    path = event.path or ""
    if event.kind is Kind.READ and event.result < 0:
        return os.path.lexists(path)
    if event.kind not in (Kind.READ, Kind.EXEC) or event.facts is None:
        return False
    try:
        status = os.stat(path)
    except OSError:
        return True
    facts = event.facts
    then = (facts.device, facts.inode, facts.size, facts.ctime_ns)
    return then != (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


def _lists_differently(
    event: Event, written: AbstractSet[str], there: AbstractSet[str], began: float
) -> bool:
    """Whether somebody else may have added to or removed from a directory since.

    Where notebooks are saved, or the notebook itself writes, the directory's own times say
    nothing; there the entries that came later are looked at, but for those that were ``there``.
    When no cell ran it was looked for modules.
    """
    path = event.path or ""
    if event.result < 0 or event.facts is None:
        return event.result < 0 and os.path.lexists(path)
    try:
        if os.stat(path).st_mtime_ns == event.facts.mtime_ns:
            return False
        names = os.listdir(path)
    except OSError:
        return True
    in_cell = bool(event.cell or event.origin)
    own = [name for name in names if os.path.join(path, name) in written]
    if not own and not any(name.endswith(".ipynb") for name in names):
        return True
    for name in set(names) - set(own):
        if name.endswith(_NOT_INPUTS) or name.startswith(".") or name == "__pycache__":
            continue
        place = os.path.join(path, name)
        if place in there or os.path.exists(os.path.join(place, "oci-layout")):
            continue
        if not in_cell and not name.endswith(_MODULES) and not os.path.isdir(place):
            continue
        with contextlib.suppress(OSError):
            if os.lstat(place).st_ctime > began:
                return True
    return False


def written_in(events: Iterable[Event]) -> set[str]:
    """What a trace saw written: a cell that was cut off has no list of its own."""
    return {
        name
        for event in events
        if event.ok and event.kind in (Kind.WRITE, Kind.RENAME, Kind.LINK, Kind.REMOVE)
        for name in (event.path, event.target)
        if name
    }


def is_as_left(path: str, stored: StoredFile | None) -> bool:
    """Whether a file is as a cell left it; ``stored`` is None if the cell removed it."""
    try:
        if stored is None:
            return not os.path.lexists(path)
        if stored.link:
            return os.readlink(path) == stored.link
        if stored.directory:
            return os.path.isdir(path)
        return Path(path).is_file() and digest_file(path)[0] == stored.digest
    except OSError:
        return False


class AsLeftOnDisk:
    """:func:`is_as_left`, but a file that did not change since is read once only."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], bool] = {}

    def __call__(self, path: str, stored: StoredFile | None) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return stored is None
        facts = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
        key = (path, stored and stored.digest, *facts)
        if key not in self._known:
            self._known[key] = is_as_left(path, stored)
        return self._known[key]
