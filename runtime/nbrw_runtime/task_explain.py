"""Why tasks run that are new or edited: what they are made of, then and now. Pure.

In an audit a few tasks of each label are noted with their ingredients
(:mod:`nbrw_runtime.task_ingredients`), which go with the cell's records. In a repeat those of a few
tasks that are new or edited are compared with them. A label is what Dask calls a task's function.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.private_values import hidden, is_hidden, looks_private
from nbrw_runtime.task_reasons import (
    INPUTS,
    NEW,
    NO_AUDIT,
    NOT_RECORDED,
    UNKNOWN_LABEL,
    reason_class,
)
from nbrw_runtime.task_record import TaskRecord

#: Tasks of one label and cell whose ingredients are looked at.
MOST = 8
_COMPARED = 64  # tasks of the audit that one is compared with
_LABELS = 64  # of one cell that are counted by themselves
_INGREDIENTS = 100  # of one task
_LENGTH = 200  # characters of one ingredient
# Seconds of a cell: with the first tasks of its labels, and with more of them.
_SECONDS, _SECONDS_OF_MORE = 0.05, 0.01
OTHERS = "others"
_CODE = re.compile(r"[0-9a-f]{16}\Z")
_VALUE = re.compile(r"(.+) [0-9a-f]{16}\Z")

Ingredients = Mapping[str, str]


@dataclass
class LabelCounts:
    """What became of the tasks of one label in a cell; ``differences``: of those looked at."""

    loaded: int = 0
    run: int = 0
    needless: int = 0
    same: int = 0  # of those loaded: what they use ran, and came to what it was
    misses: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)


@dataclass
class Explained:
    """What became of a cell's tasks, by label."""

    labels: dict[str, LabelCounts] = field(default_factory=dict)
    seconds: float = 0.0  # that looking at ingredients took

    def of(self, label: str) -> LabelCounts:
        """The counts of a label; of all others together if there are too many."""
        found = self.labels.get(label)
        if found is None:
            if len(self.labels) >= _LABELS:
                label = OTHERS
            found = self.labels.setdefault(label, LabelCounts())
        return found

    def as_json(self) -> dict[str, Any]:
        """``labels`` and ``edits`` for the report."""
        labels = {
            label: {
                "loaded": c.loaded,
                "run": c.run,
                "needless": c.needless,
                "same": c.same,
                "misses": {why: n for why, n in c.misses.most_common() if n > 0},
            }
            for label, c in self.labels.items()
        }
        edits = [
            {
                "label": label,
                "number": c.misses[NEW],
                "difference": c.differences.most_common(1)[0][0],
                "differences": len(c.differences),
            }
            for label, c in self.labels.items()
            if c.differences and c.misses[NEW] > 0
        ]
        return {"labels": labels, "edits": edits}


class Explainer:
    """The explanations of one kernel. Nothing that goes wrong here is the task's affair.

    ``ingredients`` makes those of a node of a graph; ``records`` gives the audit's, when they are
    needed; ``clock`` is in seconds.
    """

    def __init__(
        self,
        ingredients: Callable[[Any, Mapping[Any, Any]], Ingredients],
        records: Callable[[], Iterable[TaskRecord]],
        clock: Callable[[], float],
    ) -> None:
        self._ingredients = ingredients
        self._records = records
        self._clock = clock
        self._noted: Counter[str] = Counter()
        self._cell = Explained()
        self._known: dict[str, list[Ingredients]] | None = None
        #: Of the tasks that were noted, by fingerprint: for their records.
        self.noted: dict[str, dict[str, str]] = {}

    def start_cell(self) -> Explained:
        """A cell begins; returns what will have its counts."""
        self._noted.clear()
        self._cell = Explained()
        return self._cell

    def note(self, label: str, fingerprint: str, node: Any, graph: Mapping[Any, Any]) -> None:
        """A task runs in an audit."""
        if self._noted[label] >= MOST or fingerprint in self.noted:
            return
        if self._noted[label] or len(self._noted) < _LABELS:
            found = self._made(node, graph, first=not self._noted[label])
            self._noted[label] += 1
            if found is not None:
                self.noted[fingerprint] = found

    def loaded(self, label: str) -> None:
        """A task's result is loaded."""
        self._cell.of(label).loaded += 1

    def needless(self, label: str) -> None:
        """A task neither runs nor is loaded: nothing that runs needs it."""
        self._cell.of(label).needless += 1

    def spared(self, label: str, reason: str) -> None:
        """A task that was to run for this reason was loaded: its inputs came to the same."""
        counts = self._cell.of(label)
        counts.run -= 1
        counts.loaded += 1
        counts.same += 1
        counts.misses[reason_class(reason)] -= 1

    def ran(
        self, label: str, reason: str, node: Any, graph: Mapping[Any, Any], fingerprint: str = ""
    ) -> None:
        """A task runs in a repeat, for this reason (empty: none is known).

        ``fingerprint``: under which its ingredients are noted, if it is new; empty: they are not.
        """
        counts = self._cell.of(label)
        counts.run += 1
        if not reason:
            return
        counts.misses[reason_class(reason)] += 1
        looked = counts.differences.total()
        if reason == NEW and looked < MOST:
            now = self._made(node, graph, first=not looked)
            if now is not None:
                counts.differences[self._difference(label, now)] += 1
                if fingerprint:
                    self.noted[fingerprint] = now

    def _difference(self, label: str, now: Ingredients) -> str:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(Exception):
                for record in self._records():
                    of_label = self._known.setdefault(record.label, [])
                    if record.ingredients and len(of_label) < _COMPARED:
                        of_label.append(record.ingredients)
        if label not in self._known:
            return UNKNOWN_LABEL if self._known else NO_AUDIT
        if not self._known[label]:
            return NOT_RECORDED
        then = min(self._known[label], key=lambda then: _distance(then, now))
        return first_difference(then, now) or INPUTS

    def _made(self, node: Any, graph: Mapping[Any, Any], first: bool) -> dict[str, str] | None:
        if self._cell.seconds >= (_SECONDS if first else _SECONDS_OF_MORE):
            return None
        began = self._clock()
        try:
            return presentable(self._ingredients(node, graph))
        except Exception:
            return None
        finally:
            # What is done once, such as to look for all distributions, is done by then.
            self._cell.seconds += min(self._clock() - began, _SECONDS_OF_MORE)


def presentable(ingredients: Ingredients) -> dict[str, str]:
    """Not too many, none too long, and none that looks private."""
    found = {}
    for name, text in list(ingredients.items())[:_INGREDIENTS]:
        is_digest = _VALUE.match(text) is not None
        if not is_digest and not _is_name(name) and looks_private(name, text):
            text = hidden(text)
        found[name[:_LENGTH]] = text if len(text) <= _LENGTH else text[:_LENGTH] + "..."
    return found


def _is_name(name: str) -> bool:
    """Whether an ingredient's text is a name or a version, and no value."""
    return name.startswith(("function ", "helper ", "class ", "library ", "module ", "python"))


def _distance(then: Ingredients, now: Ingredients) -> int:
    return sum(then.get(name) != now.get(name) for name in {**then, **now})


def first_difference(then: Ingredients, now: Ingredients) -> str:
    """The first ingredient that is another one: "global `THRESHOLD`: 10.0 -> 5.0"; empty: none."""
    for name in [*now, *(name for name in then if name not in now)]:
        before, after = then.get(name, ""), now.get(name, "")
        if before != after:
            return f"{_title(name)}: {_change(name.partition(' ')[0], before, after)}"
    return ""


def _title(name: str) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "argument" and rest.isdigit():
        return name
    place, _, number = rest.rpartition(" ")
    if place and number.isdigit():  # a fused task has several of that name
        return f"{kind} `{place}` ({number})"
    return f"{kind} `{rest}`" if rest else kind


def _change(kind: str, before: str, after: str) -> str:
    if not before:
        return "it is used now, and was not in the audit"
    if not after:
        return "it is not used any more"
    if is_hidden(before) or is_hidden(after):
        return "another value, not shown as it may be private"
    if kind in ("function", "helper") and _CODE.match(before) and _CODE.match(after):
        return "its code changed"
    if kind == "module":
        return "its files changed"
    if _shown(before) == _shown(after):
        return f"another {_shown(after)}"
    return f"{_shown(before)} -> {_shown(after)}"


def _shown(text: str) -> str:
    """Without a digest, which tells a person nothing."""
    value = _VALUE.match(text)
    return value[1] if value else text
