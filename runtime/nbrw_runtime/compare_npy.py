"""Arrays in NumPy's file format compared by their elements, without NumPy. Pure.

Source: `numpy.lib.format`, versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from nbrw_runtime.tolerance import Tolerance

_MAGIC = b"\x93NUMPY"
_FLOATS = {"f2": "e", "f4": "f", "f8": "d", "c8": "f", "c16": "d"}
_CHUNK = 1 << 16


class NotRead(Exception):
    """It is no array that can be compared by elements; ``str()`` says why."""


@dataclass(frozen=True)
class _Array:
    dtype: str
    shape: tuple[int, ...]
    fortran: bool
    data: bytes


def npy_difference(old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    """How ``new`` differs from the author's array, as a phrase; None if its elements are equal.

    Floating and complex elements are equal within the tolerance. Raises NotRead.
    """
    before, after = _read(old), _read(new)
    if before.shape != after.shape:
        return f"its shape is {after.shape} instead of {before.shape}"
    if before.dtype != after.dtype:
        return f"its type is {after.dtype} instead of {before.dtype}"
    if before == after:
        return None
    if before.fortran != after.fortran or before.dtype[1:] not in _FLOATS:
        raise NotRead(f"elements of type {before.dtype} differ, or lie in another order")
    return _elements_differ(before, after, tolerance)


def _read(data: bytes) -> _Array:
    if data[:6] != _MAGIC or len(data) < 12:
        raise NotRead("it is no array of NumPy")
    kind, start = ("<H", 10) if data[6] == 1 else ("<I", 12)
    (length,) = struct.unpack_from(kind, data, 8)
    try:
        header = ast.literal_eval(data[start : start + length].decode("utf-8"))
        found = _Array(
            header["descr"], header["shape"], header["fortran_order"], data[start + length :]
        )
        if not isinstance(found.dtype, str):
            raise NotRead("its elements have fields")
        return found
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise NotRead("its header is malformed") from error


def _elements_differ(before: _Array, after: _Array, tolerance: Tolerance) -> str | None:
    parts = 2 if before.dtype[1] == "c" else 1
    size = prod(before.shape) * parts * struct.calcsize(_FLOATS[before.dtype[1:]])
    if not len(before.data) == len(after.data) == size:
        raise NotRead("its data is longer or shorter than its shape")
    differing, first, example, largest = 0, -1, (0.0, 0.0), 0.0
    pairs = zip(_values(before), _values(after), strict=True)
    last = -1
    for index, (a, b) in enumerate(pairs):
        if a == b or tolerance.close(a, b):
            continue
        if first < 0:
            first, example = index // parts, (a, b)
        differing += index // parts != last
        last = index // parts
        largest = max(largest, abs(a - b))
    if not differing:
        return None
    total = prod(before.shape)
    place = _place(first, before)
    return (
        f"{differing} of {total} elements differ, by at most {largest:g}; "
        f"the first at {place}: {example[1]!r} instead of {example[0]!r}"
    )


def _values(array: _Array) -> Iterator[float]:
    order = array.dtype[0] if array.dtype[0] in "<>" else "="
    code = _FLOATS[array.dtype[1:]]
    size = struct.calcsize(order + code)
    view = memoryview(array.data)
    for start in range(0, len(view), _CHUNK * size):
        part = view[start : start + _CHUNK * size]
        yield from struct.unpack(f"{order}{len(part) // size}{code}", part)


def _place(index: int, array: _Array) -> list[int]:
    """The indices of an element by its place in the file."""
    shape = array.shape if array.fortran else array.shape[::-1]
    found = []
    for length in shape:
        found.append(index % length)
        index //= length
    return found if array.fortran else found[::-1]
