"""Reasons why tasks ran or were not stored, as classes that can be counted, and in words. Pure."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping

#: The reason of a task of which nothing is known.
NEW = "it is new or edited"
#: In what such a task differs from the audit's, if no ingredient tells it.
NO_AUDIT = "no results of the audit are looked at"
UNKNOWN_LABEL = "no task of this name ran in the audit"
NOT_RECORDED = "what it was made of in the audit is not recorded"
INPUTS = "its inputs, or large values, are not those of the audit"
#: Figures, keys and paths that are another one for each task; what takes their place.
_CLASSES = (
    (
        re.compile(r"\d+ bytes take longer to store and load than [\d.e-]+ s to compute"),
        "it takes longer to store and load than to compute",
    ),
    (
        re.compile(r"it depends on `.*?`, which has no fingerprint: "),
        "a task above it has no fingerprint: ",
    ),
    (re.compile(r"it depends on `.*`, which is not known"), "a task above it is not known"),
    (re.compile(r"it changes something outside: .*"), "it changes something outside"),
    (re.compile(r"(its result is lost): .*"), r"\1"),
    (re.compile(r"(its result is an iterator) \(.*\)"), r"\1"),
    (re.compile(r"(it could not be stored: \w+|its result cannot be pickled: \w+): .*"), r"\1"),
)
#: Of classes, as one says of several tasks.
_WORDS = {
    NEW: "new or edited",
    "a task above it runs": "after a task that ran",
    "a future that it uses is not what it was, or is not known": (
        "after a result that is not the author's"
    ),
    "it takes longer to store and load than to compute": "quicker to compute than to load",
    "its result was not stored: it takes longer to store and load than to compute": (
        "quicker to compute than to load"
    ),
}
_SHOWN = 6


@functools.lru_cache(maxsize=1024)
def reason_class(reason: str) -> str:
    """The reason without what differs from task to task."""
    for pattern, words in _CLASSES:
        reason = pattern.sub(words, reason, count=1)
    return reason


def classes(reasons: Mapping[str, int]) -> dict[str, int]:
    """Numbers of tasks by class: what was edited, which explains others, then the commonest."""
    found: Counter[str] = Counter()
    for reason, number in reasons.items():
        found[reason_class(reason)] += number
    return dict(sorted(found.items(), key=lambda item: (item[0] != NEW, -item[1], item[0])))


def in_words(reasons: Mapping[str, int]) -> str:
    """For people: "new or edited (12), after a task that ran (3)"."""
    shown = list(classes(reasons).items())
    parts = [f"{_said(reason)} ({number})" for reason, number in shown[:_SHOWN]]
    rest = sum(number for _, number in shown[_SHOWN:])
    if rest:
        parts.append(f"other reasons ({rest})")
    return ", ".join(parts)


def with_number(number: int, what: str, reasons: Mapping[str, int]) -> str:
    """``12 run, new or edited``: without the number again, if it is that of all."""
    if list(reasons.values()) == [number]:
        return f"{number} {what}, {_said(*reasons)}"
    return f"{number} {what}" + (f", {in_words(reasons)}" if reasons else "")


def _said(reason: str) -> str:
    return _WORDS.get(reason, reason)
