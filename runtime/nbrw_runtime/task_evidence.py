"""What workers did to files in a cell that none of its tasks was seen to do. Pure.

Python sees what a task opens through Python; Arrow, HDF5 and the like open files by themselves. The
trace of system calls sees them all, but not which task it was: so it counts for every task of the
cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.paths import is_system
from nbrw_runtime.task_record import TaskRecord

# Files that libraries open by themselves.
_BY_LIBRARIES = re.compile(
    r"\.(arrow|cdf|db|feather|grib2?|grb|h5|hdf5?|ipc|nc4?|netcdf|orc|parq(uet)?|pq|sqlite3?|tiff?)\Z",
    re.IGNORECASE,
)
_PACKAGES = re.compile(r"/(site|dist)-packages(/|\Z)")


class Explained:
    """The files that tasks were seen to read: `in` asks for a path. Of one that libraries open by
    themselves nobody knows whether another task did, unseen.
    """

    def __init__(self, records: Iterable[TaskRecord]) -> None:
        self._paths = {path.rstrip("/") for record in records for path in record.reads}

    def __contains__(self, path: str) -> bool:
        return path in self._paths and not _BY_LIBRARIES.search(path)


class Changed:
    """The files that tasks are known to have changed: `in` asks for a path."""

    def __init__(self, records: Iterable[TaskRecord]) -> None:
        self._text = " ".join(record.refused for record in records if record.unsafe)

    def __contains__(self, path: str) -> bool:
        return re.search(rf"(?<!\S){re.escape(path)}(?![^\s,])", self._text) is not None


def with_evidence(
    records: Sequence[TaskRecord], cell: int, data: Iterable[Data]
) -> list[TaskRecord]:
    """The tasks of a cell, with what the trace knows of its workers.

    Tasks that ran in the kernel, or beside it, may have done whatever the cell did.
    """
    data = list(data)
    workers = _evidence(records, cell, data, {"worker"})
    here: _Evidence = ("", {})
    if any(record.here for record in records):
        here = _evidence(records, cell, data, {"kernel", "child", "worker"})
    return [_with(record, *(here if record.here else workers)) for record in records]


_Evidence = tuple[str, dict[str, "str | None"]]


def _evidence(
    records: Sequence[TaskRecord], cell: int, data: Iterable[Data], roles: set[str]
) -> _Evidence:
    """Why nothing of the cell can be relied on, and the files that all of its tasks may read."""
    explained = Explained(records)
    changed = Changed(records)
    reads: dict[str, str | None] = {}
    doubt = ""
    for found in data:
        if cell not in found.cells or not roles & {*found.roles}:
            continue
        written = found.state is DataState.WRITTEN
        if not written and found.path in explained:
            continue
        looked = found.state in (DataState.LISTED, DataState.ABSENT)
        if _PACKAGES.search(found.path) or (looked and is_system(found.path)):
            continue  # software: the image has it, or fingerprints name its version
        if found.state is DataState.READ and found.digest is not None:
            reads[found.path] = found.digest.hex
        elif found.state is DataState.ABSENT:
            reads[found.path] = None
        elif found.path not in changed:
            what = "wrote" if written else "used"
            who = "a worker" if "worker" in found.roles else "a cell"
            doubt = doubt or f"{who} {what} {found.path}, and which task did is not known"
    return doubt, reads


def _with(record: TaskRecord, doubt: str, reads: dict[str, str | None]) -> TaskRecord:
    if doubt:
        return replace(record, refused=record.refused if record.unsafe else doubt, unsafe=True)
    return replace(record, reads={**reads, **record.reads})
