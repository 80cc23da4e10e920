"""Texts and numbers: what is equal for a reader, and the sentence where it is not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.compare_text import same_text, text_difference
from nbrw_runtime.errors import UsageError
from nbrw_runtime.tolerance import DEFAULT, Tolerance, parse_tolerance


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("<f at 0x7f0011223344>", "<f at 0x7fffffffff00>", True),
        ("<f at\n0x7f0011223344>", "<f at\n0x7fffffffff00>", True),
        # Not an address, but what was computed.
        ("0x1a2b3c4d", "0xdeadbeef", False),
        ("crc=0x1a2b3c4d", "crc=0xdeadbeef", False),
        ("x = 0.1", "x = 0.10000000000000001", True),
        ("x = 0.1", "x = 0.2", False),
        ("n = 10", "n = 11", False),
        ("1 2 3", "1 2", False),
        ("\x1b[31mred\x1b[0m", "red", True),
        ("1e-3", "0.001", True),
        ("a -0.0 b", "a 0.0 b", True),
        ("3.5s", "3.50s", True),
        ("1.0000000000001+2.0j", "1.0+2.0j", True),
        ("the end is 0.5.", "the end is 0.50.", True),
        # Digits of something that is no number.
        ("version 1.2.3", "version 1.2.30", False),
        ("10.0.0.1", "10.0.0.10", False),
        ("a1e5b", "a10e4b", False),
        ("commit 12e3", "commit 12e3a", False),
        ("x0.5", "x0.50", False),
        ("007", "7", False),
        # Too large for a float: not to be told from another.
        ("1e400", "1e401", False),
        ("nan", "nan", True),
        ("nan", "0.5", False),
        # What a carriage return overwrote is not seen.
        ("10 %\r90 %", "50 %\r90 %", True),
        # Columns move where a number is longer, and nowhere else.
        ("[0.1 0.2]", "[0.1        0.2000000000001]", True),
        ("[ 0.1 0.2]", "[0.10000000000001 0.2 ]", True),
        ("   a\n0.1", "              a\n0.10000000000001", True),
        ("1  2", "1 2", False),
        ("0.1  b", "0.1 b", False),
        ("0.1 0.2", "0.10.2", False),
    ],
)
def test_texts_are_equal_but_for_addresses_and_last_digits(old, new, same):
    """Whole numbers must be equal to the letter, and so must digits in words."""
    assert same_text(old, new, DEFAULT) is same
    assert (text_difference(old, new, DEFAULT) is None) is same


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        ("0.52", "0.51", "`0.51` instead of `0.52` (relative difference 1.9e-02)"),
        ("a\nb\nm 0.52\n", "a\nb\nm 0.51\n", "line 3: `m 0.51` instead of `m 0.52`"),
        ("a\nb\nc", "a\nx\ny", "line 2: `x` instead of `b`, and 1 more line"),
        ("a\nb", "a", "1 line instead of 2 lines; line 2 is missing: `b`"),
        ("a\n", "a\nb\n", "2 lines instead of 1 line; line 2 is new: `b`"),
        ("a\nb", "x", "1 line instead of 2 lines; `x` instead of `a`"),
        ("a", "a\n", "only blanks or ends of lines differ"),
        ("a", "a\n\n", "2 lines instead of 1 line: empty ones at the end"),
        ("a  b", "a b", "only blanks or ends of lines differ"),
        ("Wall time: 3.1 ms", "Wall time: 4 ms", "(only a time)"),
        ("at 12:01:59", "at 12:02:07", "(only a time)"),
        ("2024-01-02T03:04:05Z", "2025-01-02T03:04:05Z", "(only a time)"),
        ("tcp://127.0.0.1:36789", "tcp://127.0.0.1:40001", "(only a port)"),
        ("add-1f0c2b3a4d5e", "add-9f0c2b3a4d5e", "(only an identifier)"),
        ("0f2d9d4e-1b8f-4c11-8f2a-5a1c7d9e0b12 in 3 s",
         "1f2d9d4e-1b8f-4c11-8f2a-5a1c7d9e0b12 in 4 s", "(only a time and an identifier)"),
    ],
)  # fmt: skip
def test_the_first_difference_is_shown(old, new, phrase):
    """With its line, and with what is probably another each time: different all the same."""
    assert phrase in text_difference(old, new, DEFAULT)


def test_long_lines_are_shown_around_the_difference():
    """The number that differs is whole."""
    old = "word " * 40 + "0.123456 " + "more " * 40
    found = text_difference(old, old.replace("0.123456", "0.123457"), DEFAULT)
    assert "`...0.123457 more" in found and len(found) < 240


def test_a_time_that_is_not_all_that_differs_is_no_excuse():
    """The hint is there only if nothing else differs."""
    assert "only" not in text_difference("a in 3 ms", "b in 4 ms", DEFAULT)


lines = st.text(alphabet="ab 01.e-\n\t", max_size=30)
tolerances = st.builds(Tolerance, st.floats(0, 1), st.floats(0, 10))
numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(lines, lines, tolerances)
def test_equality_is_symmetric_and_reflexive(old, new, tolerance):
    """Whose text is the author's does not matter."""
    assert same_text(old, old, tolerance)
    assert same_text(old, new, tolerance) == same_text(new, old, tolerance)


@given(lines, lines, tolerances, tolerances)
def test_a_wider_tolerance_never_makes_equal_texts_different(old, new, one, other):
    """And a sentence is given exactly if they are not equal."""
    wider = Tolerance(max(one.relative, other.relative), max(one.absolute, other.absolute))
    if same_text(old, new, one):
        assert same_text(old, new, wider)
    assert (text_difference(old, new, one) is None) == same_text(old, new, one)


@given(numbers, numbers, tolerances)
def test_numbers_are_close_as_the_standard_library_has_it(first, second, tolerance):
    """NaN alone is equal to itself here, and infinity to nothing but itself."""
    want = math.isclose(first, second, rel_tol=tolerance.relative, abs_tol=tolerance.absolute)
    if math.isnan(first) and math.isnan(second):
        want = True
    assert tolerance.close(first, second) is want


@given(st.floats(0.001, 1e6), st.floats(-1, 1))
def test_numbers_in_texts_follow_the_tolerance(value, factor):
    """A number that is moved by less than the tolerance is equal, one moved by more is not."""
    near, far = f"m={value * (1 + factor * 9e-7)!r}", f"m={value * (1 + 2e-6)!r}"
    assert same_text(f"m={value!r}", near, Tolerance(1e-6))
    assert not same_text(f"m={value!r}", far, Tolerance(1e-6))


@pytest.mark.parametrize("text", ["", "a", "-1", "nan", "inf", "1,2,3", "1,", "1;2", "1e-6,-1"])
def test_what_is_no_tolerance_is_refused(text):
    """With what it should be."""
    with pytest.raises(UsageError, match="RELATIVE,ABSOLUTE"):
        parse_tolerance(text)


def test_a_tolerance_is_relative_or_both():
    """As in --tolerance 1e-6 and --tolerance 1e-6,1e-9."""
    assert parse_tolerance("1e-6") == Tolerance(1e-6, 0)
    assert parse_tolerance("0,0.5") == Tolerance(0, 0.5)
    assert str(parse_tolerance("1e-6,0.5")) == "1e-06 of the larger, or 0.5"
