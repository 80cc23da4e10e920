"""Undoing the filters of PNG's lines: as the specification says it, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.png_filters import unfiltered


def as_specified(kind, line, above, step):
    """Section 9.2 of the specification, one byte after the other."""
    made = bytearray()
    for at, value in enumerate(line):
        a = made[at - step] if at >= step else 0
        b = above[at]
        c = above[at - step] if at >= step else 0
        p = a + b - c
        nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        made.append((value + (0, a, b, (a + b) // 2, nearest)[kind]) & 255)
    return bytes(made)


# Most of a drawing is empty: long runs of zeros, and of one colour above.
BYTES = st.one_of(st.just(0), st.integers(0, 255))
RUNS = st.lists(st.tuples(BYTES, st.integers(1, 30)), min_size=1, max_size=12)


@given(
    kind=st.integers(0, 4),
    step=st.sampled_from([1, 2, 3, 4, 6, 8]),
    filtered=RUNS,
    above=RUNS,
    pixels=st.integers(1, 60),
)
def test_every_filter_is_undone(kind, step, filtered, above, pixels):
    """Short lines and long ones, empty ones and full ones."""
    size = pixels * step

    def line(runs):
        data = b"".join(bytes([value]) * count for value, count in runs)
        return (data * (size // len(data) + 1))[:size]

    line, above = line(filtered), line(above)
    assert unfiltered(kind, line, above, step) == as_specified(kind, line, above, step)


def test_an_unknown_filter_is_refused():
    """There are five."""
    with pytest.raises(ValueError, match="filter 5"):
        unfiltered(5, b"\0", b"\0", 1)
