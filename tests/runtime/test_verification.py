"""What a build records of a repeat of its image."""

from __future__ import annotations

import pytest

from nbrw_runtime.report import CellReport, Report
from nbrw_runtime.tolerance import DEFAULT, Tolerance
from nbrw_runtime.verification import verification_of


def report(*cells, tolerance=DEFAULT):
    return Report("t", "nbrw", cells, verify=True, seconds=3.5, tolerance=tolerance)


def ran(number, outputs, *differences):
    return CellReport(number, "run", "--verify", 1.5, 2.5, outputs, differences)


def test_each_cell_that_ran_has_an_outcome():
    """A cell with nothing to run has none."""
    found = verification_of(
        report(
            ran(1, "equal"),
            CellReport(2, "skipped", "nothing to run"),
            ran(3, "different", "stdout, `2` instead of `1`"),
            ran(4, "not compared"),
            tolerance=Tolerance(1e-3),
        )
    )
    assert [(c.cell, c.outcome) for c in found.cells] == [
        (1, "equal"), (3, "different"), (4, "not compared"),
    ]  # fmt: skip
    assert found.cell(2) is None and found.cell(3).differences == ("stdout, `2` instead of `1`",)
    assert [cell.cell for cell in found.doubtful] == [3] and not found.holds
    assert str(found) == "verified: 1 of 3 cells repeat, numbers within 0.001 of the larger"


def test_cells_after_one_that_failed_were_not_run():
    """None of them has proved anything."""
    failed = CellReport(2, "failed", "", error="cell 2 failed: E", differences=("error, E",))
    skipped = CellReport(3, "skipped", "cell 2 failed")
    found = verification_of(report(ran(1, "equal"), failed, skipped))
    assert [c.outcome for c in found.cells] == ["equal", "failed", "not run"]
    assert found.cell(2).differences == ("cell 2 failed: E", "error, E")
    assert found.cell(3).differences == ("cell 2 failed",)
    assert [cell.cell for cell in found.doubtful] == [2, 3]


@pytest.mark.parametrize("outputs", ["equal", "not compared"])
def test_it_holds_if_nothing_differs(outputs):
    """A cell that asks not to be compared is no objection."""
    assert verification_of(report(ran(1, outputs))).holds


def test_it_holds_no_time_and_nothing_of_the_host():
    """So that two builds of one audit give the same bytes."""
    first = report(ran(1, "equal"))
    second = Report(
        "t", "nbrw", (CellReport(1, "run", "--all", 9.0, 1.0, "equal"),), "/n", "/w", "links",
        7.0, ("a note",), verify=True, tolerance=DEFAULT,
    )  # fmt: skip
    assert verification_of(first) == verification_of(second)
