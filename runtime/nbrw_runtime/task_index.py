"""Results of tasks that are known, by fingerprint; whether files that they read are unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nbrw_runtime.dependency import Data
from nbrw_runtime.digest import Digest
from nbrw_runtime.store import StackedStore
from nbrw_runtime.task_evidence import with_evidence
from nbrw_runtime.task_record import TaskRecord, either, read_tasks
from nbrw_runtime.task_worker import digest_of


class TaskIndex:
    """The tasks of cells, by number a document each; read when the first task is looked for.

    ``data`` is what the audit's workers used.
    """

    def __init__(
        self, store: StackedStore, documents: Mapping[int, Digest], data: Iterable[Data] = ()
    ) -> None:
        self._store = store
        self._documents = dict(documents)
        self._data = list(data)
        self._records: dict[str, TaskRecord] | None = None

    def find(self, fingerprint: str) -> TaskRecord | None:
        """What is known of a task. Raises IntegrityError, NotFoundError, FormatError."""
        return self._all().get(fingerprint)

    def records(self) -> Iterable[TaskRecord]:
        """All that is known. Raises what :meth:`find` raises."""
        return self._all().values()

    def _all(self) -> dict[str, TaskRecord]:
        if self._records is None:
            self._records = {}
            for cell, digest in sorted(self._documents.items()):
                records = read_tasks(self._store.get(digest), f"the tasks of cell {cell}")
                for record in with_evidence(records, cell, self._data):
                    known = self._records.get(record.fingerprint)
                    if known is not None:
                        record = either(known, record)
                    self._records[record.fingerprint] = record
        return self._records

    def place(self, record: TaskRecord) -> dict[str, Any]:
        """What a worker needs to load the result: see ``load`` of `task_worker.py`."""
        assert record.segment is not None
        return {
            "path": str(self._store.path(record.segment)),
            "offset": record.offset,
            "length": record.length,
            "digest": record.digest,
            "buffers": [(str(self._store.path(blob)), blob.hex) for blob in record.buffers],
        }


def has_changed(path: str, digest: str | None) -> bool:
    """Whether a file, or a directory's names, are not what a task read."""
    try:
        return digest_of(path) != digest
    except FileNotFoundError:
        return digest is not None
    except OSError:
        return True
