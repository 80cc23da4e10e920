"""Files of another machine, by way of a Dask worker there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_runtime import worker_plugin
from nbrw_runtime.file_facts import facts_of

_PART = 32 << 20  # bytes that are sent at once
_SECONDS = 600.0


class Lost(OSError):
    """It cannot be had from there; says why."""


@dataclass(frozen=True)
class WorkerFiles:
    """Those that a worker sees. ``client`` is None if the worker has ended."""

    client: Any
    address: str

    def seen_here(self, path: str, facts: Mapping[str, int] | None) -> dict[str, int] | None:
        """The same file's facts on this machine; None if there is none, or another one."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        if facts and (status.st_size, status.st_mtime_ns) != (facts["size"], facts["mtime_ns"]):
            return None
        return facts_of(status)

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file's content. Raises Lost; OSError, if it cannot be written here."""
        with open(target, "wb") as stream:
            while part := self._ask("read", path, stream.tell(), _PART):
                stream.write(part)

    def look(self, path: str) -> tuple[int, str]:
        """A file's mode, and what a link names. Raises Lost."""
        mode, target = self._ask("look", path)
        return mode, target

    def kept(self, name: str) -> str:
        """Where a tracer there keeps a former content. Raises Lost."""
        return str(self._ask("kept", name))

    def names(self, path: str) -> list[str]:
        """The entries of a directory. Raises Lost."""
        return list(self._ask("names", path))

    def _ask(self, *call: Any) -> Any:
        if self.client is None:
            raise Lost("the worker has ended")
        try:
            answers = worker_plugin.ask(self.client, [self.address], _SECONDS, *call)
        except Exception as error:
            raise Lost(f"{type(error).__name__}: {error}") from error
        answer = answers.get(self.address)
        if isinstance(answer, Exception) or self.address not in answers:
            raise Lost(str(answer or "the worker has ended"))
        return answer
