"""Early cut-off: a task whose inputs ran again and came to the same need not run. Pure.

Whether they did is known on the worker, when they have run. So such a task goes there with what
its inputs would have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbrw_runtime.task_plan import Key
from nbrw_runtime.task_record import TaskRecord

#: Before the fingerprint of an input that is plain data: it is its content.
DATA = "="


@dataclass(frozen=True)
class Facts:
    """What only the kernel knows of a task: see ``local`` and ``inputs`` of a `TaskRecord`."""

    local: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A result that is the task's if these inputs have these contents."""

    record: TaskRecord
    expected: Mapping[Key, str]


def candidates(
    records: Iterable[TaskRecord],
    inputs: Sequence[tuple[Key, str]],
    content: Callable[[str], str],
) -> Iterator[Candidate]:
    """Of results of the same code, those whose inputs may be these.

    ``inputs``: keys in order with their content, empty if it is yet to be seen. ``content`` gives
    that of a result by its fingerprint, empty if it is not known.
    """
    for record in records:
        if not record.is_stored or record.unsafe or len(record.inputs) != len(inputs):
            continue
        expected: dict[Key, str] = {}
        for (key, found), then in zip(inputs, record.inputs, strict=True):
            wanted = then if then.startswith(DATA) else content(then)
            if not wanted or found not in ("", wanted):
                break
            if not found:
                expected[key] = wanted
        else:
            yield Candidate(record, expected)
