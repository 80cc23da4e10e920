"""Trace files: JSON lines in zstd frames. `docs/format/trace.md`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.trace import (
    TRACE_FORMAT,
    TRACE_VERSION,
    Event,
    Gap,
    Header,
    Trace,
    event_from_json,
)

_BLOCK_LINES = 2000
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


class TraceWriter:
    """Writes one trace. What has been flushed is readable even if the writer is killed."""

    def __init__(self, path: Path, header: Header) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  (closed by close)
        # Level 1 is an eighth of level 3's time here, and traces are small either way.
        self._stream = zstandard.ZstdCompressor(level=1).stream_writer(self._file)
        self._lines: list[str] = [_encode(to_json(header))]

    def add(self, record: dict[str, Any]) -> None:
        """Append one event or gap, as the JSON object it becomes."""
        self._lines.append(_encode(record))
        if len(self._lines) >= _BLOCK_LINES:
            self.flush()

    def flush(self) -> None:
        """Let a reader see all that was added."""
        if self._lines:
            self._stream.write(("\n".join(self._lines) + "\n").encode("ascii"))
            self._lines = []
        self._stream.flush(zstandard.FLUSH_BLOCK)

    def close(self) -> None:
        """End the trace; a reader then calls it complete."""
        self.add({"kind": "end"})
        self.flush()
        self._stream.flush(zstandard.FLUSH_FRAME)
        self._file.close()


def read_trace(path: str | Path) -> Trace:
    """Read a trace, compressed or not; ``complete`` is False if its writer was cut off.

    Raises FormatError (not a trace, a newer version) or OSError.
    """
    lines = _lines(Path(path))
    try:
        first = next(lines)
    except StopIteration:
        raise FormatError(f"read {path}: not a trace: it is empty") from None
    value = load_document(first, TRACE_FORMAT, TRACE_VERSION, str(path))
    header = from_json(Header, value, str(path))
    events: list[Event] = []
    gaps: list[Gap] = []
    complete = False
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record.get("kind") == "end":
            complete = True
            break
        found = event_from_json(record, str(path))
        if isinstance(found, Gap):
            gaps.append(found)
        else:
            events.append(found)
    if not complete:
        gaps.append(Gap("the trace ends early: its writer was cut off"))
    return Trace(header, tuple(events), tuple(gaps), complete)


def read_traces(directory: str | Path) -> list[Trace]:
    """All traces of a directory, in the order they were taken. Raises FormatError or OSError."""
    return [read_trace(path) for path in sorted(Path(directory).glob("[0-9]*.jsonl*"))]


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as raw:
        if path.suffix != ".zst":
            yield from raw
            return
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        rest = b""
        while True:
            try:
                chunk = reader.read(1 << 20)
            except (zstandard.ZstdError, io.UnsupportedOperation) as error:
                if not rest:
                    raise FormatError(f"read {path}: not a trace: {error}") from error
                break
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest
