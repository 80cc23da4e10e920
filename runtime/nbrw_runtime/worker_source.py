"""What a tracer, or a worker's own hook, saw of workers elsewhere: a trace file."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_runtime.paths import is_software
from nbrw_runtime.result_paths import is_scratch
from nbrw_runtime.worker_files import Lost, WorkerFiles


@dataclass(frozen=True)
class Batch:
    """Lines of a source from this ``offset`` on."""

    offset: int
    lines: bytes

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Batch:
        """From what a witness sends."""
        return cls(value["offset"], zlib.decompress(value["lines"]))


@dataclass
class WorkerSource:
    """Writes the trace file; ``cluster`` has the ends (``host:port``) at which Dask's own processes
    listen, for all sources.
    """

    path: Path
    host: str
    cluster: set[str] = field(default_factory=set)
    _next: int = 0
    _started: set[int] = field(default_factory=set)
    _written: set[str] = field(default_factory=set)
    _brought: dict[tuple[str, int, int], str] = field(default_factory=dict)
    _stream: Any = None
    _cwd: str = ""  # of the worker
    _near: str = ""  # a file below that

    def why_doubtful(self) -> str:
        """Why nobody knows what its tasks would read elsewhere, of all since the last call; empty:
        one does. A relative path leads to another file where the notebook's directory is another.
        """
        near, self._near = self._near, ""
        if not near or self._cwd == os.getcwd():
            return ""
        return f"it read {near}, perhaps by a relative path, and does not run in {os.getcwd()}"

    def add(self, batch: Batch, cell: int, files: WorkerFiles) -> None:
        """Write down what was seen in a cell, as far as it is new; 0: before the first."""
        if batch.offset > self._next:
            self.gap(f"a part of what workers on {self.host} did was lost", cell)
        known = max(0, self._next - batch.offset)
        self._next = max(self._next, batch.offset + len(batch.lines))
        for line in batch.lines[known:].splitlines():
            record = json.loads(line)
            if "kind" not in record:
                self._open(record)
            elif record["kind"] not in ("end", "cell"):
                self._put(self._placed(record, cell, files))
            elif "begin" in record.get("flags", ()):
                self._started.add(record["pid"])
        if self._stream is not None:
            self._stream.flush()

    def gap(self, reason: str, cell: int) -> None:
        """Something was not seen."""
        self._put({"kind": "gap", "reason": reason, "cell": cell})
        self._stream.flush()

    def close(self) -> None:
        """The trace is whole."""
        if self._stream is not None:
            self._put({"kind": "end"})
            self._stream.close()
            self._stream = None

    def _open(self, header: dict[str, Any]) -> None:
        self._cwd = header["cwd"]
        if self._stream is None:
            # What comes after the end would be all that is left.
            self._stream = open(self.path, "x", encoding="ascii")  # noqa: SIM115  (see close)
            self._put({**header, "role": "worker", "host": self.host})

    def _put(self, record: dict[str, Any]) -> None:
        if self._stream is None:
            self._open({"format": "nbrw.trace", "version": 1, "backend": "none",
                        "kernel_pid": 0, "cwd": "/"})  # fmt: skip
        self._stream.write(json.dumps(record, separators=(",", ":")) + "\n")

    def _placed(self, record: dict[str, Any], cell: int, files: WorkerFiles) -> dict[str, Any]:
        """An event as this cell's, or as none's, if its process was still starting."""
        kind, pid = record["kind"], record.get("pid", 0)
        if kind == "process" and record.get("detail", {}).get("parent") in self._started:
            self._started.add(pid)
        number = cell if kind == "gap" or pid in self._started else 0
        record.update(cell=number, origin=number)
        if kind == "gap":
            del record["origin"]
        elif kind == "connect":
            self._note_cluster(record["detail"])
        else:
            if number and kind == "read" and self._is_near(record.get("path", "")):
                self._near = self._near or record["path"]
            if record.get("result", 0) >= 0:
                detail = record.get("detail", {})
                self._bring(record, detail, number, files)
                if detail:
                    record["detail"] = detail
        return record

    def _note_cluster(self, detail: dict[str, Any]) -> None:
        if f"{detail.get('address')}:{detail.get('port')}" in self.cluster:
            detail["cluster"] = True

    def _bring(
        self, record: dict[str, Any], detail: dict[str, Any], number: int, files: WorkerFiles
    ) -> None:
        """Have here what only the worker can read: its input, or what it wrote over."""
        kind, path, facts = record["kind"], record.get("path", ""), record.get("facts")
        if kind in ("write", "rename", "link", "mkdir"):
            self._written.add(record.get("target") or path)
        try:
            if "preserved" in detail:
                detail["preserved"] = self._fetched(files, files.kept(detail["preserved"]), facts)
            elif facts and kind in ("read", "exec", "list"):
                seen = files.seen_here(path, facts)
                if seen is not None:
                    record["facts"] = seen
                elif kind == "list" and number and self._is_input(path):
                    detail["names"] = files.names(path)
                elif kind == "read" and number and self._is_input(path):
                    detail["preserved"] = self._fetched(files, path, facts)
        except Lost as error:
            detail.pop("preserved", None)
            self.gap(f"{path}, which a worker on {self.host} used, is not here: {error}", number)

    def _is_near(self, path: str) -> bool:
        return path.startswith(f"{self._cwd.rstrip('/')}/") and self._is_input(path)

    def _is_input(self, path: str) -> bool:
        return not (path in self._written or is_software(path) or is_scratch(path))

    def _fetched(self, files: WorkerFiles, path: str, facts: Mapping[str, int] | None) -> str:
        """The name, among what is preserved, of a copy of a worker's file. Raises Lost."""
        found = facts or {}
        key = (path, found.get("size", 0), found.get("mtime_ns", 0))
        if key not in self._brought:
            place = self.path.parent / "preserved"
            name = f"{self.path.stem}-{len(self._brought) + 1}"
            with contextlib.suppress(FileExistsError):
                place.mkdir()
            files.fetch(path, place / name)
            self._brought[key] = name
        return self._brought[key]
