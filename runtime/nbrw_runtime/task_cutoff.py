"""Early cut-off: a task whose inputs ran again and came to the same need not run. Pure.

Whether they did is known on the worker, when they have run. So such a task goes there with what
its inputs would have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbrw_runtime.task_plan import Key
from nbrw_runtime.task_record import TaskRecord
from nbrw_runtime.task_worker import row_name

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
        if not _is_result(record) or len(record.inputs) != len(inputs):
            continue
        expected: dict[Key, str] = {}
        for (key, found), then in zip(inputs, record.inputs, strict=True):
            wanted = _content(then, content)
            if not wanted or found not in ("", wanted):
                break
            if not found:
                expected[key] = wanted
        else:
            yield Candidate(record, expected)


def rows(
    records: Iterable[TaskRecord], content: Callable[[str], str]
) -> Iterator[tuple[str, TaskRecord]]:
    """Results of the same code, each with the name that the contents of its inputs give."""
    for record in records:
        if not _is_result(record):
            continue
        contents = [_content(then, content) for then in record.inputs]
        if all(contents):
            yield row_name(contents), record


def _is_result(record: TaskRecord) -> bool:
    return record.is_stored and not record.unsafe


def _content(then: str, content: Callable[[str], str]) -> str:
    return then if then.startswith(DATA) else content(then)
