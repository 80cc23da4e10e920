"""Outputs are compared beside what else is done; the reports have what was found at the end."""

from __future__ import annotations

import threading

import pytest

from nbrw_runtime import comparing
from nbrw_runtime.comparing import Comparing
from nbrw_runtime.report import CellReport
from nbrw_runtime.tolerance import DEFAULT


def _text(text):
    return [{"output_type": "stream", "name": "stdout", "text": text}]


def _report(cell, **more):
    return CellReport(cell, "run", "it was edited", **{"outputs": "equal", **more})


def test_each_cell_gets_its_own_differences_and_equal_ones_stay_as_they_are():
    found = Comparing(DEFAULT)
    found.begin(1, _text("a"), _text("a"))
    found.begin(2, _text("a"), _text("b"))
    first, second, third = found.end([_report(1), _report(2), _report(3)])
    assert (first, third) == (_report(1), _report(3))
    assert second.outputs == "different"
    assert len(second.differences) == 1


def test_differences_of_outputs_come_before_those_of_files():
    found = Comparing(DEFAULT)
    found.begin(1, _text("a"), _text("b"))
    (report,) = found.end([_report(1, outputs="different", differences=("file x: differs",))])
    assert report.differences[1:] == ("file x: differs",)
    assert len(report.differences) == 2


def test_what_a_cell_takes_from_outside_is_asked_for_only_where_it_differs():
    asked = []
    found = Comparing(DEFAULT, lambda cell: asked.append(cell) or ("the clock (time.time)",))
    found.begin(1, _text("a"), _text("a"))
    found.begin(2, _text("a"), _text("b"))
    equal, different, by_files = found.end(
        [_report(1), _report(2), _report(3, outputs="different")]
    )
    assert asked == [2, 3]
    assert equal.remarks == ()
    assert different.remarks == by_files.remarks == (
        "it takes the clock (time.time) from outside",
    )  # fmt: skip


def test_whoever_begins_does_not_wait(monkeypatch):
    """And the end does."""
    go = threading.Event()
    monkeypatch.setattr(comparing, "differences", lambda *outputs: go.wait(60) and ["slowly"])
    found = Comparing(DEFAULT)
    found.begin(1, [], [])
    found.begin(2, [], [])
    go.set()
    assert [r.differences for r in found.end([_report(1), _report(2)])] == [("slowly",)] * 2


def test_what_goes_wrong_is_raised_at_the_end():
    found = Comparing(DEFAULT)
    found.begin(1, [{"output_type": "nonsense"}], [{}])
    with pytest.raises(KeyError):
        found.end([_report(1)])


def test_without_anything_to_compare_there_is_no_thread():
    before = threading.active_count()
    assert Comparing(DEFAULT).end([_report(1)]) == [_report(1)]
    assert threading.active_count() == before
