"""Outputs compared with the author's beside what else is done: the pixels of a picture take longer
than the cell that drew it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nbrw_runtime.compare import differences
from nbrw_runtime.report import CellReport
from nbrw_runtime.tolerance import Tolerance

Outputs = Sequence[Mapping[str, Any]]


class Comparing:
    """Compares in a thread of its own, one cell after the other.

    ``outside(cell)`` says what a cell takes from outside; asked for only where it differs.
    """

    def __init__(
        self, tolerance: Tolerance, outside: Callable[[int], Sequence[str]] = lambda cell: ()
    ) -> None:
        self._tolerance = tolerance
        self._outside = outside
        self._todo: queue.SimpleQueue[tuple[int, Outputs, Outputs] | None] = queue.SimpleQueue()
        self._found: dict[int, list[str]] = {}
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def begin(self, cell: int, author: Outputs, now: Outputs) -> None:
        """Compare the outputs of a cell, which are left as they are from now on."""
        if self._thread is None:
            # A daemon: who interrupts a repeat does not wait for it.
            self._thread = threading.Thread(target=self._work, name="nbrw-compare", daemon=True)
            self._thread.start()
        self._todo.put((cell, author, now))

    def end(self, reports: Iterable[CellReport]) -> list[CellReport]:
        """The cells' reports, with what was found. Raises what comparing raised."""
        if self._thread is not None:
            self._todo.put(None)
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure
        return [self._told(report) for report in reports]

    def _told(self, report: CellReport) -> CellReport:
        found = self._found.get(report.cell, [])
        if found:
            report = replace(report, outputs="different", differences=(*found, *report.differences))
        outside = self._outside(report.cell) if report.outputs == "different" else ()
        if not outside:
            return report
        more = f"it takes {', '.join(outside)} from outside"
        return replace(report, remarks=(*report.remarks, more))

    def _work(self) -> None:
        try:
            while (item := self._todo.get()) is not None:
                cell, author, now = item
                self._found[cell] = differences(author, now, self._tolerance)
        except Exception as error:
            self._failure = error
