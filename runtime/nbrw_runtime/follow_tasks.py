"""One kernel's Dask tasks, as far as earlier and later repeats are concerned."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.accesses import Used
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import NbrwError
from nbrw_runtime.execute import RepeatKernel
from nbrw_runtime.kept_results import KeptResults, NotKept
from nbrw_runtime.notebook import Cell
from nbrw_runtime.result_files import Kept


class TaskKeeper:
    """Keeps what tasks came to; ``kept`` is None where nothing is kept."""

    def __init__(self, kept: KeptResults | None) -> None:
        self._kept = kept if kept is not None and not kept.store.why_not else None
        self._found: dict[Digest, Kept] = self._kept.task_documents() if self._kept else {}

    @property
    def documents(self) -> list[Digest] | None:
        """Of the tasks that ran in earlier repeats; None: nothing is kept."""
        return sorted(self._found) if self._kept is not None else None

    def keep(self, kernel: RepeatKernel, cell: Cell, seen: Used) -> None:
        """Keep the tasks of the cell that has just run, if nothing speaks against it."""
        if self._kept is None:
            return
        with contextlib.suppress(NotKept, NbrwError, OSError):
            document = kernel.ask("tasks_json")["document"]
            if document:
                self._kept.keep_tasks(cell, Digest(document), seen, kernel.threads())

    def ended(self, answer: Mapping[str, Any]) -> None:
        """The kernel says which documents it used: those used longest ago are removed first."""
        for digest in answer["documents"]:
            if self._kept is not None and Digest(digest) in self._found:
                self._kept.store.used(self._found[Digest(digest)])
