"""Trace files are written: JSON lines in zstd frames. `docs/format/trace.md`.

Apart from the reader, as every audited kernel waits while the tracer imports this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zstandard

from nbrw_runtime.records import to_json
from nbrw_runtime.trace import Header

_BLOCK_LINES = 2000
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


class TraceWriter:
    """Writes one trace. What has been flushed is readable even if the writer is killed.

    ``plain``: not compressed, for a reader without zstd.
    """

    def __init__(self, path: Path, header: Header, plain: bool = False) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  (closed by close)
        # Level 1 is an eighth of level 3's time here, and traces are small either way.
        compressor = zstandard.ZstdCompressor(level=1)
        self._stream = None if plain else compressor.stream_writer(self._file)
        self._lines: list[str] = [_encode(to_json(header))]

    def add(self, record: dict[str, Any]) -> None:
        """Append one event or gap, as the JSON object it becomes."""
        self._lines.append(_encode(record))
        if len(self._lines) >= _BLOCK_LINES:
            self.flush()

    def flush(self) -> None:
        """Let a reader see all that was added."""
        if self._lines:
            (self._stream or self._file).write(("\n".join(self._lines) + "\n").encode("ascii"))
            self._lines = []
        if self._stream is not None:
            self._stream.flush(zstandard.FLUSH_BLOCK)

    def close(self) -> None:
        """End the trace; a reader then calls it complete."""
        self.add({"kind": "end"})
        self.flush()
        if self._stream is not None:
            self._stream.flush(zstandard.FLUSH_FRAME)
        self._file.close()
