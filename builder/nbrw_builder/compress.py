"""Layer tars to compressed blobs: gzip on all processors, or zstd. Same input, same bytes."""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import zstandard

from nbrw_builder.errors import BuildError
from nbrw_builder.layer import Sink

GZIP_LEVEL = 4  # measured in docs/format/image.md, "Compression"
ZSTD_LEVEL = 3
_PIECE = 1 << 22


class Compressor(Protocol):
    """Takes uncompressed bytes; ``finish`` writes the trailer."""

    def write(self, data: bytes, /) -> int: ...

    def finish(self) -> None: ...


def compressor(kind: str, stream: Sink, level: int | None = None) -> Compressor:
    """A writer that compresses to ``stream``; ``kind`` is ``gzip``, ``zstd`` or ``none``."""
    if kind == "gzip":
        return GzipWriter(stream, GZIP_LEVEL if level is None else level)
    if kind == "zstd":
        return ZstdWriter(stream, ZSTD_LEVEL if level is None else level)
    if kind == "none":
        return PlainWriter(stream)
    raise BuildError(f"compress a layer: {kind!r} is none of gzip, zstd, none")


class GzipWriter:
    """One gzip member (RFC 1952) without time and name.

    Pieces of fixed length are deflated by threads (zlib lets go of Python's lock) and end on byte
    boundaries, so the bytes do not depend on how many threads there are.
    """

    def __init__(self, stream: Sink, level: int) -> None:
        self._stream = stream
        self._level = level
        workers = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(workers)
        self._room = 2 * workers
        self._queue: deque[Future[bytes]] = deque()
        self._buffer = bytearray()
        self._crc = 0
        self._size = 0
        stream.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")

    def write(self, data: bytes, /) -> int:
        """Take uncompressed bytes."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) >= _PIECE:
            self._submit(bytes(self._buffer[:_PIECE]))
            del self._buffer[:_PIECE]
        return len(data)

    def finish(self) -> None:
        """Write what is left and the trailer."""
        self._submit(bytes(self._buffer))
        while self._queue:
            self._stream.write(self._queue.popleft().result())
        # An empty last block ends the member.
        self._stream.write(b"\x03\0" + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        self._pool.shutdown()

    def _submit(self, piece: bytes) -> None:
        self._queue.append(self._pool.submit(_deflate, piece, self._level))
        while len(self._queue) > self._room:
            self._stream.write(self._queue.popleft().result())


def _deflate(piece: bytes, level: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(piece) + deflater.flush(zlib.Z_SYNC_FLUSH)


class ZstdWriter:
    """One zstd frame (RFC 8878), compressed by two threads whatever the host, for equal bytes."""

    def __init__(self, stream: Sink, level: int) -> None:
        engine = zstandard.ZstdCompressor(level=level, threads=2)
        self._stream = stream
        self._engine = engine.compressobj()

    def write(self, data: bytes, /) -> int:
        """Take uncompressed bytes."""
        self._stream.write(self._engine.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write what is left."""
        self._stream.write(self._engine.flush())


class PlainWriter:
    """No compression."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> int:
        """Pass bytes on."""
        self._stream.write(data)
        return len(data)

    def finish(self) -> None:
        """Do nothing: all is written."""
