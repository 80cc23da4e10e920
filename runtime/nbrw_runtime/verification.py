"""Which cells of an image have proved repeatable: what `nbrw-build --verify` records. Pure.

`docs/format/recipe.md`, section "Verification".
"""

from __future__ import annotations

from dataclasses import dataclass

from nbrw_runtime.report import CellReport, Report
from nbrw_runtime.tolerance import DEFAULT, Tolerance

_DOUBTFUL = ("different", "failed", "not run")


@dataclass(frozen=True)
class VerifiedCell:
    """One cell that was run again.

    ``outcome`` is ``equal``, ``different``, ``failed``, ``not run`` (a cell before it failed) or
    ``not compared`` (it asks for that); ``differences`` are sentences, as in a report.
    """

    cell: int
    outcome: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """A repeat of all cells in a clean container, against the author's outputs and files.

    It holds no time and nothing of the host: equal results give equal bytes.
    """

    tolerance: Tolerance
    cells: tuple[VerifiedCell, ...]

    @property
    def holds(self) -> bool:
        """Whether no cell has proved to be not repeatable."""
        return not self.doubtful

    @property
    def doubtful(self) -> tuple[VerifiedCell, ...]:
        """The cells that did not repeat."""
        return tuple(cell for cell in self.cells if cell.outcome in _DOUBTFUL)

    def cell(self, number: int) -> VerifiedCell | None:
        """What is known of a cell; None if there was nothing to run."""
        return next((found for found in self.cells if found.cell == number), None)

    def __str__(self) -> str:
        equal = sum(cell.outcome == "equal" for cell in self.cells)
        return (
            f"verified: {equal} of {len(self.cells)} cells repeat, numbers within {self.tolerance}"
        )


def verification_of(report: Report) -> Verification:
    """What a report of `repeat --all --verify` says of each cell."""
    cells = (_verified(cell, report) for cell in report.cells)
    return Verification(report.tolerance or DEFAULT, tuple(cell for cell in cells if cell))


def _verified(cell: CellReport, report: Report) -> VerifiedCell | None:
    if cell.action == "failed":
        return VerifiedCell(cell.cell, "failed", (cell.error, *cell.differences))
    if cell.action == "skipped":
        failed = [other.cell for other in report.cells if other.action == "failed"]
        after_failure = bool(failed) and cell.cell > failed[0]
        return VerifiedCell(cell.cell, "not run", (cell.reason,)) if after_failure else None
    return VerifiedCell(cell.cell, cell.outputs, cell.differences)
