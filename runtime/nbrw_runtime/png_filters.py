"""The filters of PNG's lines, undone. Pure.

Source: PNG specification (third edition), section 9. Where a notebook is repeated nothing but
Python is at hand: whole lines are added as one large number each, and what a drawing leaves empty
is skipped.
"""

from __future__ import annotations

import functools
import re

_NOT_ZERO = re.compile(rb"[^\0]", re.DOTALL)


def unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    """The bytes of a line: its filter's number and bytes, the line above, bytes of a pixel.

    Raises ValueError for a number that is no filter's.
    """
    if kind == 0:
        return line
    if kind == 1:
        return _from_left(line, step)
    if kind == 2:
        return _added(line, above)
    if kind not in (3, 4):
        raise ValueError(f"filter {kind}")
    made = bytearray(len(line))
    for n in range(step):
        values, ups = line[n::step], above[n::step]
        made[n::step] = _averaged(values, ups) if kind == 3 else _paeth(values, ups)
    return bytes(made)


@functools.lru_cache(maxsize=8)
def _low_bits(size: int) -> int:
    return int.from_bytes(b"\x7f" * size, "little")


def _sum(first: int, second: int, low: int) -> int:
    """Byte for byte, without a carry from one to the next."""
    return ((first & low) + (second & low)) ^ ((first ^ second) & ~low)


def _added(line: bytes, above: bytes) -> bytes:
    size = len(line)
    first, second = int.from_bytes(line, "little"), int.from_bytes(above, "little")
    return _sum(first, second, _low_bits(size)).to_bytes(size, "little")


def _from_left(line: bytes, step: int) -> bytes:
    """Each byte with all that are some pixels to its left."""
    size, shift = len(line), 8 * step
    low, whole = _low_bits(size), (1 << 8 * size) - 1
    found = int.from_bytes(line, "little")
    while shift < 8 * size:  # sums of one pixel, of two, of four
        found = _sum(found, found << shift & whole, low)
        shift *= 2
    return found.to_bytes(size, "little")


def _averaged(values: bytes, ups: bytes) -> bytes:
    left, made = 0, []
    for value, up in zip(values, ups, strict=True):
        left = (value + (left + up) // 2) & 255
        made.append(left)
    return bytes(made)


def _paeth(values: bytes, ups: bytes) -> bytes:
    if 2 * values.count(0) < len(values):
        return _paeth_of_all(values, ups)
    made, size = bytearray(ups), len(values)
    left, corner, at = 0, 0, 0
    while at < size:
        if left == corner:
            # From here on zeros leave what is above.
            found = _NOT_ZERO.search(values, at)
            end = found.start() if found else size
            if end > at:
                left = corner = ups[end - 1]
                at = end
                continue
        up = ups[at]
        near = left if left == up else _nearest(left, up, corner)
        made[at] = left = (values[at] + near) & 255
        corner = up
        at += 1
    return bytes(made)


def _paeth_of_all(values: bytes, ups: bytes) -> bytes:
    left, corner, made = 0, 0, []
    for value, up in zip(values, ups, strict=True):
        near = left if left == up else _nearest(left, up, corner)
        left, corner = (value + near) & 255, up
        made.append(left)
    return bytes(made)


def _nearest(left: int, up: int, corner: int) -> int:
    a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if a <= b and a <= c:
        return left
    return up if b <= c else corner
