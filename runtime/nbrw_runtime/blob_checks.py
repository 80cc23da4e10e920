"""Checks of large blobs that go on while their bytes are in use already.

A pickle is checked before it is loaded, as it is code. Large buffers are mapped at once and checked
by a thread: what is computed with them counts only after :meth:`BlobChecks.failures`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import NbrwError

#: Bytes; smaller blobs are checked on the spot.
LARGE = 1 << 20


class BlobChecks:
    """The checks that are under way. Not shared between threads."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failed: list[dict[str, Any]] = []

    def begin(self, cell: int, names: Sequence[str], store: Any, blobs: Sequence[Digest]) -> None:
        """Check these blobs, which these names of a cell's checkpoint are made of."""

        def check() -> None:
            for digest in blobs:
                try:
                    store.path(digest)
                except (NbrwError, OSError) as error:
                    failed = {"cell": cell, "names": list(names), "reason": str(error)}
                    self._failed.append({**failed, "integrity": True})
                    return

        thread = threading.Thread(target=check, name="nbrw-verify", daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def pending(self) -> bool:
        """Whether somebody has yet to ask for the outcome of a check."""
        return bool(self._threads)

    def failures(self) -> list[dict[str, Any]]:
        """Wait for all checks; returns what failed: cell, names and reason."""
        for thread in self._threads:
            thread.join()
        self._threads = []
        failed, self._failed = self._failed, []
        return failed
