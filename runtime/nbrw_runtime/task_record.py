"""What is known of one task that ran: `nbrw.tasks`, version 1. `docs/format/task.md`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.digest import Digest, canonical_json
from nbrw_runtime.recipe import load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.task_worker import content_of

TASKS_FORMAT = "nbrw.tasks"
TASKS_VERSION = 1


@dataclass(frozen=True)
class TaskRecord:
    """A task, by its fingerprint, and its result if that was stored.

    The result's pickle is ``length`` bytes at ``offset`` of ``segment``, with ``digest``; its large
    ``buffers`` are blobs of their own. ``reads`` maps files that it read to their digest (None: not
    there; a path with a slash at its end is a directory, of which the names count). ``refused``
    says why there is no result; ``unsafe``: because it must not be used again, nor anything that
    depends on it. Sizes in bytes, ``seconds`` of the task alone. ``local`` is the fingerprint
    without inputs, ``inputs`` those of the inputs in order; ``=`` before one that is plain data.
    ``classes``: of the notebook, of which there are objects in the result, with their ids.
    ``ingredients``, of some tasks: what their fingerprint is made of, by name.
    ``here``: it ran in the kernel, or in a process that a scheduler of Dask's own started there.
    ``opaque``: the result names code of the notebook's own modules: equal ones may do different
    things once that is edited.
    ``value``: the blob of the same, as it was stored for a future that the notebook holds.
    """

    fingerprint: str
    label: str = ""
    seconds: float = 0.0
    segment: Digest | None = None
    offset: int = 0
    length: int = 0
    digest: str = ""
    buffers: tuple[Digest, ...] = ()
    size: int = 0
    reads: dict[str, str | None] = field(default_factory=dict)
    refused: str = ""
    unsafe: bool = False
    local: str = ""
    inputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    ingredients: dict[str, str] = field(default_factory=dict)
    here: bool = False
    value: Digest | None = None
    opaque: bool = False

    @property
    def content(self) -> str:
        """Equal for equal results; empty if there is none."""
        return content_of(self.digest, [blob.hex for blob in self.buffers]) if self.digest else ""

    @property
    def is_stored(self) -> bool:
        """Whether there is a result."""
        return self.segment is not None


def either(first: TaskRecord, second: TaskRecord) -> TaskRecord:
    """What is known of a task that ran twice. If its results differ, nothing can be relied on."""
    if first.unsafe or second.unsafe:
        return first if first.unsafe else second
    if first.digest and second.digest and first.content != second.content:
        reason = "it gave another result when it ran again"
        return TaskRecord(first.fingerprint, first.label, refused=reason, unsafe=True)
    return first if first.digest else second


def read_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The records that workers wrote; what is cut off or no record is left out."""
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("fingerprint"), str):
            yield value


def write_tasks(records: Iterable[TaskRecord]) -> bytes:
    """A cell's tasks as a document; equal records give equal bytes."""
    ordered = sorted(records, key=lambda record: (record.fingerprint, record.digest))
    value = [to_json(record) for record in ordered]
    return canonical_json({"format": TASKS_FORMAT, "version": TASKS_VERSION, "tasks": value})


def read_tasks(data: bytes, where: str) -> list[TaskRecord]:
    """The inverse. Raises FormatError."""
    value = load_document(data, TASKS_FORMAT, TASKS_VERSION, where)
    return [from_json(TaskRecord, found, where) for found in value.get("tasks", ())]
