"""PNG files with chosen filters, depths and colour types: an encoder for tests."""

from __future__ import annotations

import struct
import zlib

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind, data):
    """One chunk with its checksum."""
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def packed(samples, depth):
    """A line's samples as bytes."""
    if depth == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


def filtered(line, above, kind, step):
    """A line with its filter's number, as a file has it."""
    out = bytearray([kind])
    for n, value in enumerate(line):
        left = line[n - step] if n >= step else 0
        up = above[n]
        corner = above[n - step] if n >= step else 0
        near = left + up - corner
        paeth = min(
            (abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner)
        )
        out.append((value - [0, left, up, (left + up) // 2, paeth[2]][kind]) & 255)
    return bytes(out)


def png(lines, *, depth=8, colour=0, filters=(0,), level=6, before=(), interlaced=0):
    """A PNG of lines of samples; ``filters`` in turn, ``before`` are further chunks."""
    channels = CHANNELS[colour]
    step = max(1, depth * channels // 8)
    body, above = b"", bytes(len(packed(lines[0], depth)))
    for number, samples in enumerate(lines):
        line = packed(samples, depth)
        body += filtered(line, above, filters[number % len(filters)], step)
        above = line
    head = struct.pack(
        ">IIBBBBB", len(lines[0]) // channels, len(lines), depth, colour, 0, 0, interlaced
    )
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            *(chunk(kind, data) for kind, data in before),
            chunk(b"IDAT", zlib.compress(body, level)),
            chunk(b"IEND", b""),
        ]
    )
