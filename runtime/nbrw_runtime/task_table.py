"""Tables of what tasks of one code came to, by the contents of their inputs.

A mapped function has as many results as it has tasks. Which of them is that of a task whose inputs
ran again is known on the worker, and only there, and all of them are too many to travel with each
task. So they are written to the spool once, where workers look.
"""

from __future__ import annotations

import json
from pathlib import Path

from nbrw_runtime.session_file import write_atomically
from nbrw_runtime.task_cutoff import rows
from nbrw_runtime.task_index import TaskIndex


class TaskTables:
    """Files in a kernel's spool, one for each code."""

    def __init__(self, index: TaskIndex, spool: str) -> None:
        self._index = index
        self._spool = Path(spool)
        self._paths: dict[tuple[str, tuple[str, ...]], str] = {}
        self._classes: dict[str, list[tuple[str, ...]]] = {}  # of the results of one code

    def path(self, local: str) -> str:
        """Where the table of this code is; empty: nothing is known, or it cannot be written.

        Whether files are as they were, and blobs still there, is for the worker to see.
        """
        if local not in self._classes:
            found = {record.classes for record in self._index.like(local)}
            self._classes[local] = sorted(filter(None, found))
        # Which classes are the notebook's may be otherwise for the next cell.
        key = (local, tuple(map(self._index.foreign, self._classes[local])))
        if key not in self._paths:
            self._paths[key] = self._write(f"{len(self._paths)}-{local[:32]}.table", local)
        return self._paths[key]

    def _write(self, name: str, local: str) -> str:
        index, lines = self._index, {}
        for row, record in rows(index.like(local), index.content):
            if not index.lost(record):
                value = {
                    "where": index.place(record),
                    "fingerprint": record.fingerprint,
                    "reads": record.reads,
                }
                lines[row] = f"{row} {json.dumps(value)}\n"
        if not lines:
            return ""
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            write_atomically(
                self._spool / name, "".join(lines[row] for row in sorted(lines)).encode()
            )
        except OSError:
            return ""
        return str(self._spool / name)
