"""Results of tasks that are known, by fingerprint; whether files that they read are unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nbrw_runtime.dependency import Data
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import NbrwError, NotFoundError
from nbrw_runtime.store import StackedStore
from nbrw_runtime.task_evidence import with_evidence
from nbrw_runtime.task_record import TaskRecord, either, read_tasks


class TaskIndex:
    """The tasks of cells, by number a document each; read when the first task is looked for.

    ``data`` is what the audit's workers used; ``kept`` are documents of earlier repeats.
    """

    def __init__(
        self,
        store: StackedStore,
        documents: Mapping[int, Digest],
        data: Iterable[Data] = (),
        kept: Sequence[Digest] = (),
    ) -> None:
        self._store = store
        self._documents = dict(documents)
        self._data = list(data)
        self._kept = tuple(kept)
        self._records: dict[str, TaskRecord] | None = None
        self._local: dict[str, list[TaskRecord]] = {}
        self._places: dict[Digest, str] = {}
        self._lost: dict[Digest, str] = {}
        self.notes: list[str] = []
        self._from: dict[str, Digest] = {}  # fingerprints that only a kept document has
        self.used: set[Digest] = set()  # kept documents that served
        #: Says why objects of classes are none of the notebook's (`NotebookClasses.why_not`).
        self.foreign: Callable[[tuple[str, ...]], str] = lambda classes: ""

    def find(self, fingerprint: str) -> TaskRecord | None:
        """What is known of a task."""
        return self._all().get(fingerprint)

    def records(self) -> Iterable[TaskRecord]:
        """All that is known."""
        return self._all().values()

    def like(self, local: str) -> list[TaskRecord]:
        """What is known of tasks with the same code, whatever their inputs were."""
        self._all()
        return self._local.get(local, [])

    def content(self, fingerprint: str) -> str:
        """The content of a result; empty if it is not known, or not all that it is."""
        record = self.find(fingerprint)
        if record is None or record.unsafe or record.opaque:
            return ""
        return record.content

    def lost(self, record: TaskRecord) -> str:
        """Why a stored result cannot be read; empty: it can."""
        assert record.segment is not None
        if record.classes:
            foreign = self.foreign(record.classes)
            if foreign:
                return foreign
        for blob in (record.segment, *record.buffers):
            if blob not in self._places and blob not in self._lost:
                try:
                    self._places[blob] = str(self._store.path(blob))
                except (NbrwError, OSError) as error:
                    self._lost[blob] = f"its result is lost: {error}"
            if blob in self._lost:
                return self._lost[blob]
        return ""

    def is_kept(self, record: TaskRecord) -> bool:
        """Whether it is of an earlier repeat, so that its result is in the caller's store."""
        return record.fingerprint in self._from

    def place(self, record: TaskRecord) -> dict[str, Any]:
        """What ``load`` of `task_worker.py` needs. Raises NotFoundError if the result is lost."""
        why_not = self.lost(record)
        if record.segment is None or why_not:
            raise NotFoundError(why_not)
        document = self._from.get(record.fingerprint)
        if document is not None:
            self.used.add(document)
        return {
            "path": self._places[record.segment],
            "offset": record.offset,
            "length": record.length,
            "digest": record.digest,
            "buffers": [(self._places[blob], blob.hex) for blob in record.buffers],
        }

    def _all(self) -> dict[str, TaskRecord]:
        if self._records is None:
            self._records = {}
            try:
                for cell, digest in sorted(self._documents.items()):
                    self._read(digest, f"the tasks of cell {cell}", cell)
                for digest in self._kept:
                    before = set(self._records)
                    self._read(digest, "tasks of an earlier repeat", None)
                    self._from.update(dict.fromkeys(self._records.keys() - before, digest))
            except (NbrwError, OSError) as error:
                # It may have said that a task must not be used again which others know, too.
                self._records = {}
                self.notes.append(f"no tasks are loaded: {error}")
            for record in self._records.values():
                if record.local:
                    self._local.setdefault(record.local, []).append(record)
        return self._records

    def _read(self, digest: Digest, what: str, cell: int | None) -> None:
        assert self._records is not None
        records = read_tasks(self._store.get(digest), what)
        for record in records if cell is None else with_evidence(records, cell, self._data):
            known = self._records.get(record.fingerprint)
            self._records[record.fingerprint] = record if known is None else either(known, record)
