"""Whether two texts are equal for a reader, and where they first differ. Pure.

Equal are texts but for memory addresses, colours, what a carriage return overwrote, and numbers
with a decimal point or exponent that lie within the tolerance. Whole numbers must be equal to the
letter; so must digits that are part of a word, of a version or of an address. Where a number has
come out longer or shorter, the columns beside it may have moved: there runs of blanks are equal.
"""

from __future__ import annotations

import math
import re

from nbrw_runtime.outputs import carriage
from nbrw_runtime.tolerance import Tolerance

# As Python shows an object; any other hexadecimal number may be a result.
_ADDRESS = re.compile(r"(\bat\s+)0x[0-9a-fA-F]{6,}")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BLANKS = re.compile(r"[ \t]+")
_PADDING = re.compile(r"(?<=[\[(]) | (?=[\])])")
# With a decimal point a unit may follow (`3.5s`, `2.0j`); without one, letters make it a word.
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:"
    r"(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\d|\.\d|[eE][-+]?\d)"
    r"|\d+(?:[eE][-+]?\d+)?(?!\w|\.\w)"
    r")"
)
# What is often another with every run: named in a difference, and different all the same.
_PASSING = (
    (
        "a time",
        re.compile(
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[-+]\d\d:?\d\d)?)?"
            r"|\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\b"
            r"|\d+(?:\.\d+)? ?(?:ns|[uµμ]s|ms|s|sec|seconds?|min|minutes?|h|hours?|it/s)\b"
        ),
    ),
    (
        "an identifier",
        re.compile(
            r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
            r"|\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,}\b"
        ),
    ),
    ("a port", re.compile(r"(?<=:)\d{4,5}\b")),
)
_SHOWN = 60


def text_difference(old: str, new: str, tolerance: Tolerance) -> str | None:
    """Where ``new`` first differs from the author's ``old``, as a phrase; None if nowhere."""
    if old == new:
        return None
    old, new = plain(old), plain(new)
    if _equal(old, new, tolerance):
        return None
    before, after = (text.removesuffix("\n").split("\n") for text in (old, new))
    common = min(len(before), len(after))
    differing = [n for n in range(common) if not _equal(before[n], after[n], tolerance, loose=True)]
    count = ""
    if len(before) != len(after):
        count = f"{_lines(after)} instead of {_lines(before)}"
    if differing:
        first = differing[0]
        where = f"line {first + 1}: " if common > 1 else ""
        more = len(differing) - 1
        tail = "" if count or not more else f", and {more} more line{'s' * (more > 1)}"
        text = where + instead(before[first], after[first]) + tail
        return f"{count}; {text}" if count else text
    if count:
        longer, what = (before, "is missing") if len(before) > len(after) else (after, "is new")
        rest = [n for n in range(common, len(longer)) if longer[n].strip()]
        if not rest:
            return f"{count}: empty ones at the end"
        return f"{count}; line {rest[0] + 1} {what}: {quoted(longer[rest[0]])}"
    return "only blanks or ends of lines differ"


def same_text(old: str, new: str, tolerance: Tolerance) -> bool:
    """Whether two texts are equal for a reader."""
    return old == new or _equal(plain(old), plain(new), tolerance)


def plain(text: str) -> str:
    """Text without colours, what was overwritten, and memory addresses."""
    return _ADDRESS.sub(r"\g<1>0x", carriage(_ANSI.sub("", text)))


def quoted(text: str) -> str:
    """An excerpt for a sentence, in backticks."""
    text = plain(text).strip().replace("\n", " ")
    return f"`{text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}`"


def instead(old: str, new: str) -> str:
    """``new`` instead of ``old``: the part of two lines that differs, with what is around it."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    if max(len(old), len(new)) > _SHOWN:
        # From the word before on, so that a number is not cut.
        begin = max(old.rfind(" ", 0, start) + 1, start - _SHOWN // 2)
        cut = "..." if begin else ""
        shown = [quoted(cut + text[begin:]) for text in (new, old)]
    else:
        shown = [quoted(new), quoted(old)]
    return f"{shown[0]} instead of {shown[1]}{_passing(old, new) or _distance(old, new)}"


def _lines(lines: list[str]) -> str:
    return f"{len(lines)} line{'s' * (len(lines) != 1)}"


def _equal(old: str, new: str, tolerance: Tolerance, loose: bool = False) -> bool:
    if old == new:
        return True
    numbers = _NUMBER.findall(old), _NUMBER.findall(new)
    if len(numbers[0]) != len(numbers[1]):
        return False
    changed = [(a, b) for a, b in zip(*numbers, strict=True) if a != b]
    if not all(_same_number(a, b, tolerance) for a, b in changed):
        return False
    rests = _NUMBER.split(old), _NUMBER.split(new)
    if rests[0] == rests[1]:
        return True
    moved = loose or any(len(a) != len(b) for a, b in changed)
    return moved and _narrow(rests[0]) == _narrow(rests[1])


def _narrow(parts: list[str]) -> list[str]:
    """The lines between numbers, of which a mark is left, with blanks as few as can be."""
    text = _PADDING.sub("", _BLANKS.sub(" ", "\0".join(parts)))
    return [line.strip() for line in text.split("\n")]


def _same_number(old: str, new: str, tolerance: Tolerance) -> bool:
    if not any(mark in old + new for mark in ".eE"):
        return False
    first, second = float(old), float(new)
    # A number that is too large for a float cannot be told from another.
    return math.isfinite(first) and math.isfinite(second) and tolerance.close(first, second)


def _distance(old: str, new: str) -> str:
    """How far apart the first numbers are that differ, where a tolerance could make them equal."""
    if _NUMBER.split(old) != _NUMBER.split(new):
        return ""
    for first, second in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True):
        a, b = float(first), float(second)
        if a != b and any(m in first + second for m in ".eE") and math.isfinite(a - b):
            return f" (relative difference {abs(a - b) / max(abs(a), abs(b)):.1e})"
    return ""


def _passing(old: str, new: str) -> str:
    names = []
    for name, pattern in _PASSING:
        masked = pattern.sub("?", old), pattern.sub("?", new)
        if masked != (old, new) and pattern.findall(old) != pattern.findall(new):
            names.append(name)
        old, new = masked
    if names and _BLANKS.sub(" ", old) == _BLANKS.sub(" ", new):
        return f" (only {' and '.join(names)})"
    return ""
