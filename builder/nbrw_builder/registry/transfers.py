"""What a person sees of a push or pull: one line that grows, on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID


class Transfers:
    """Shows nothing: for when nobody watches, and the contract of what shows."""

    def begin(self, text: str, total: int) -> None:
        """A transfer of ``total`` bytes begins."""

    def advance(self, size: int) -> None:
        """So many bytes more are where they should be. Called by several threads."""

    def __enter__(self) -> Transfers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class TerminalTransfers(Transfers):
    """A bar with bytes, speed and the time that is left."""

    def __init__(self) -> None:
        # Takes as long as a small push; only who watches waits for it.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None

    def begin(self, text: str, total: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=total)

    def advance(self, size: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, size)

    def __enter__(self) -> Transfers:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def shown(quiet: bool = False) -> Transfers:
    """On a terminal a bar, elsewhere nothing."""
    if quiet or not sys.stderr.isatty():
        return Transfers()
    return TerminalTransfers()
