"""What a person sees while a build runs: a line per cell and per stage, on a terminal only."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """Shows nothing: for when nobody watches, and the contract of those that show."""

    def stage(self, text: str) -> None:
        """Another part of the work begins."""

    def cell_started(self, number: int, total: int, first_line: str) -> None:
        """A cell begins to run."""

    def cell_ended(self, number: int, state: str, seconds: float, reason: str = "") -> None:
        """A cell ended: ``run``, ``restored``, ``failed`` or ``empty``, and why."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class TerminalProgress(Progress):
    """Lines on a terminal, the last one alive."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("", console=console)
        self._began = time.monotonic()
        self._stage = ""

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()
        if error is None:
            self._end_stage()

    def stage(self, text: str) -> None:
        self._end_stage()
        self._stage = text
        self._began = time.monotonic()
        self._status.update(text)

    def cell_started(self, number: int, total: int, first_line: str) -> None:
        self._end_stage()
        self._status.update(f"cell {number}/{total}  {first_line[:60]}")

    def cell_ended(self, number: int, state: str, seconds: float, reason: str = "") -> None:
        took = f"{seconds:8.1f} s" if state in ("run", "failed") else ""
        why = f"  {reason}" if reason and state in ("run", "failed") else ""
        self._print(f"cell {number:<4} {state:9}{took}{why}")

    def note(self, text: str) -> None:
        self._print(f"note: {text}")

    def _end_stage(self) -> None:
        if self._stage:
            self._print(f"{self._stage:60} {time.monotonic() - self._began:6.1f} s")
        self._stage = ""

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)
