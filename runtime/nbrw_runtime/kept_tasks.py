"""Dask tasks that ran in a repeat, kept for later repeats: as the audit's tasks, by fingerprint.

Python sees what a task opens through Python; the watch sees all files that the cell used, by the
kernel or its workers, but not which task it was: so what it saw counts for every task of the cell,
as in `task_evidence.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from nbrw_runtime.accesses import Stamp, Used
from nbrw_runtime.digest import digest_json
from nbrw_runtime.task_evidence import Changed, Explained
from nbrw_runtime.task_record import TaskRecord

#: The key of documents of tasks among the results of cells.
TASKS_KEY = digest_json("tasks").hex
_SCRATCH = ("/dask-scratch-space/", "/__pycache__/")
_Content = Callable[[str, Stamp], "str | None"]


def why_not(seen: Used, records: Sequence[TaskRecord], kernel: AbstractSet[int]) -> str:
    """Why the tasks of a cell cannot be kept; empty: they can.

    ``kernel`` are the threads of the kernel: what these do no task does, if none ran there.
    """
    kernel = _without_tasks(records, kernel)
    if seen.unseen:
        return f"they may have used what nobody saw: {seen.unseen[0]}"
    if seen.remote:
        return f"the cell connected to {seen.remote[0]}"
    said = Changed(records)
    for path in sorted(seen.written | seen.removed | seen.temporary):
        if _is_by_others(path, seen, kernel) and path not in said:
            return f"a worker may have written {path}, and which task did is not known"
    return ""


def with_uses(
    records: Sequence[TaskRecord], seen: Used, kernel: AbstractSet[int], content: _Content
) -> list[TaskRecord] | None:
    """The tasks of a cell, with the files that workers used; None: one has changed since.

    ``content`` gives the digest of a file that was like this when it was used (of a directory: of
    its names); None if it is not like that any more.
    """
    kernel = _without_tasks(records, kernel)
    explained = Explained(records)
    reads: dict[str, str | None] = {}
    found: Mapping[str, Stamp | None] = {**seen.read, **seen.executed}
    for path, stamp in (*found.items(), *seen.listed.items()):
        if path in explained or not _is_by_others(path, seen, kernel):
            continue
        if stamp is None:
            reads[path] = None
            continue
        if stamp.is_directory and path not in seen.listed:
            continue  # it is there, no more
        name = f"{path}/" if stamp.is_directory else path
        reads[name] = content(name, stamp)
        if reads[name] is None:
            return None
    return [replace(record, reads={**reads, **record.reads}) for record in records]


def _without_tasks(records: Sequence[TaskRecord], kernel: AbstractSet[int]) -> AbstractSet[int]:
    return frozenset() if any(record.here for record in records) else kernel


def _is_by_others(path: str, seen: Used, kernel: AbstractSet[int]) -> bool:
    """Whether others than the kernel used a file, and not as scratch space."""
    scratch = any(part in f"{path}/" for part in _SCRATCH)
    return not scratch and not seen.users.get(path, set()) <= kernel
