"""Trace files are read: JSON lines in zstd frames. `docs/format/trace.md`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import zstandard

from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import load_document
from nbrw_runtime.records import from_json
from nbrw_runtime.trace import (
    TRACE_FORMAT,
    TRACE_VERSION,
    Event,
    Gap,
    Header,
    Trace,
    event_from_json,
)


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
    if not complete and header.role != "worker":
        gaps.append(Gap("the trace ends early: its writer was cut off"))
    return Trace(header, tuple(events), tuple(gaps), complete)


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
