"""The ideal that repeats with changes are measured against, and the oracle of what must run."""

from __future__ import annotations

import sys

import pytest

from notebook_helper import ROOT

sys.path.insert(0, str(ROOT / "benchmarks/repeat"))
from ideal import Ran, cell_seconds, ideal_seconds, matched, must_run, span  # noqa: E402
from oracle import Task, reached  # noqa: E402


def task(label, *uses, above=()):
    """A task of a graph."""
    return Task(label, frozenset((label, *uses)), tuple(above))


def ran(key, label, start, stop, *texts, above=()):
    """One that was seen."""
    return Ran(key, label, texts, tuple(above), start, stop)


READ, JOIN = "read", "join"
TASKS = [task(READ, "d/a"), task(READ, "d/b"), task(READ, "d/c"), task(JOIN, above=(0, 1, 2))]
SEEN = [
    ran("z", JOIN, 15.0, 16.0, above=("x", "y", "w")),
    ran("x", READ, 10.0, 15.0, "d/c"),
    ran("y", READ, 10.0, 12.0, "d/a"),
    ran("w", READ, 12.0, 13.0, "d/b"),
]


def test_a_change_reaches_what_is_made_from_it_and_all_below():
    """Names and files alike; nothing if no task is made from it."""
    assert reached(TASKS, ["d/b"]) == {1, 3}
    assert reached(TASKS, [READ]) == {0, 1, 2, 3}
    assert reached(TASKS, [JOIN]) == {3}
    assert reached(TASKS, ["question"]) == set()


def test_tasks_that_ran_are_recognised_by_file_and_inputs():
    """In whatever order they ran; one that did not run is an error."""
    assert {place: found.key for place, found in matched(TASKS, SEEN).items()} == {
        0: "y", 1: "w", 2: "x", 3: "z",
    }  # fmt: skip
    with pytest.raises(ValueError, match="no task read"):
        matched([*TASKS, task(READ, "d/d")], SEEN)


def test_workers_start_a_task_when_one_is_free_and_its_inputs_are_there():
    """What is above a task and does not run is there from the start."""
    tasks = dict(enumerate(TASKS))
    seconds = {0: 2.0, 1: 1.0, 2: 5.0, 3: 1.0}
    assert span(tasks, seconds, 2) == 7.0  # 1 and 2 on one worker, then 3
    assert span(tasks, seconds, 3) == 6.0
    assert span({1: TASKS[1], 3: TASKS[3]}, seconds, 2) == 2.0


def test_the_ideal_has_the_cells_and_tasks_that_must_run_and_an_empty_kernel():
    """Of the cell with the tasks, the time of the others is taken away."""
    cells = {1: 2.0, 2: 9.0, 3: 7.0, 4: 0.5}
    must = {1, 3, 4}
    assert ideal_seconds(1.0, cells, must, TASKS, [], []) == 10.5
    # Cell 3 has 6 s of tasks and 1 s beside them; one book and what joins them take 2 s.
    assert ideal_seconds(1.0, cells, must, TASKS, [1, 3], SEEN) == 10.5 - 6 + 2


def test_cells_that_import_and_that_start_the_cluster_must_run_too():
    """The latter if there are tasks to run."""
    assert must_run("rag", [13, 14], False) == {1, 13, 14}
    assert must_run("rag", [6, 7], True) == {1, 5, 6, 7}
    assert must_run("mapreduce", [8], True) == {2, 8}


def test_how_long_cells_took_is_what_nbclient_noted():
    """Code cells count, and only these."""
    times = {
        "iopub.status.busy": "2026-01-01T10:00:00.000000Z",
        "shell.execute_reply": "2026-01-01T10:00:02.500000Z",
    }
    code = {"cell_type": "code", "metadata": {"execution": times}}
    assert cell_seconds({"cells": [{"cell_type": "markdown"}, code]}) == {1: 2.5}
