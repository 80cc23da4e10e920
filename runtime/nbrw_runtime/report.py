"""What a repeat did, cell by cell: `nbrw.report`, version 1. `docs/format/report.md`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nbrw_runtime.digest import Digest
from nbrw_runtime.records import to_json
from nbrw_runtime.report_tasks import tasks_lines
from nbrw_runtime.tolerance import Tolerance

REPORT_FORMAT = "nbrw.report"
REPORT_VERSION = 1
#: By which `nbrw run` tells what it knows of the image's signature: one line.
SIGNATURE_VARIABLE = "NBRW_SIGNATURE"
NOT_CHECKED = "not checked: only `nbrw run` on the host sees the image's file"


@dataclass(frozen=True)
class CellReport:
    """One cell. ``action`` is ``restored``, ``run``, ``skipped`` or ``failed``.

    ``outputs`` is ``equal``, ``different``, ``restored`` or ``not compared``; times in seconds.
    ``differences`` are sentences on outputs and files, ``files`` the names of those that differ,
    ``remarks`` what else there is to say of the comparison. ``tasks``: what became of Dask's tasks,
    see :mod:`nbrw_runtime.report_tasks`; empty if there were none.
    """

    cell: int
    action: str
    reason: str
    seconds: float = 0.0
    audit_seconds: float | None = None
    outputs: str = "not compared"
    differences: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    error: str = ""
    remarks: tuple[str, ...] = ()
    tasks: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A whole repeat. ``image`` is the title, ``created_by`` the nbrw that built it.

    ``tolerance`` is the one asked for, or that of ``--verify``; None: the usual one. ``signature``
    says what was known of the image's, ``recipe`` which image it was.
    """

    image: str
    created_by: str
    cells: tuple[CellReport, ...]
    notebook: str = ""
    work_dir: str = ""
    view: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    verify: bool = False
    tolerance: Tolerance | None = None
    format: str = REPORT_FORMAT
    version: int = REPORT_VERSION
    signature: str = ""
    recipe: Digest | None = None

    @property
    def equal(self) -> bool:
        """Whether no cell that was compared differs and none failed."""
        return not any(c.outputs == "different" or c.action == "failed" for c in self.cells)

    def numbers(self, outputs: str) -> tuple[int, ...]:
        """The cells that were run, and compared with this outcome."""
        ran = ("run", "failed")
        return tuple(c.cell for c in self.cells if c.action in ran and c.outputs == outputs)


def with_tasks(
    cells: Sequence[CellReport], counts: Mapping[str, dict[str, Any]]
) -> list[CellReport]:
    """The same with what the kernel says of tasks, by the number of the cell."""
    return [replace(cell, tasks=counts.get(str(cell.cell), {})) for cell in cells]


def report_to_json(report: Report) -> dict[str, Any]:
    """The JSON object, with every field."""
    value = to_json(report)
    value.update(format=report.format, version=report.version, equal=report.equal)
    if report.verify:
        for outputs in ("equal", "different", "not compared"):
            value[outputs.replace(" ", "_") + "_cells"] = list(report.numbers(outputs))
    return value


def report_text(report: Report) -> str:
    """The report for a terminal."""
    rows = [("cell", "what", "seconds", "audit", "outputs", "why")]
    for cell in report.cells:
        seconds = f"{cell.seconds:.1f}" if cell.action in ("run", "failed") else ""
        audit = f"{cell.audit_seconds:.1f}" if cell.audit_seconds is not None else ""
        outputs = "" if cell.outputs in ("not compared", "restored") else cell.outputs
        what = _planned(cell.action) if report.dry_run else cell.action
        rows.append((str(cell.cell), what, seconds, audit, outputs, cell.reason))
    widths = [max(len(row[index]) for row in rows) for index in range(5)]
    lines = []
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
        right = [text.rjust(width) for text, width in zip(row[2:4], widths[2:4], strict=True)]
        lines.append("  ".join([*left, *right, row[4].ljust(widths[4]), row[5]]).rstrip())
    for cell in report.cells:
        lines += [f"cell {cell.cell} differs in: {text}" for text in cell.differences]
        said = [name for name in cell.files if f"file {name}: " in "\n".join(cell.differences)]
        others = [name for name in cell.files if name not in said]
        if others:
            lines.append(f"cell {cell.cell} wrote files that differ: {', '.join(others)}")
        lines += [f"cell {cell.cell}: {text}" for text in (*cell.remarks, *tasks_lines(cell.tasks))]
    lines += [f"note: {note}" for note in report.notes]
    if report.signature:
        lines.append(f"signature: {report.signature}")
    lines.append(_summary(report))
    return "\n".join(lines)


def _planned(action: str) -> str:
    return {"restored": "restore", "skipped": "skip"}.get(action, action)


def _summary(report: Report) -> str:
    count = dict.fromkeys(("restored", "run", "skipped", "failed"), 0)
    for cell in report.cells:
        count[cell.action] += 1
    saved = sum(c.audit_seconds or 0.0 for c in report.cells if c.action == "restored")
    parts = [f"{number} {kind}" for kind, number in count.items() if number]
    text = ", ".join(parts) or "no cells"
    if report.dry_run:
        return f"planned: {text}; nothing was run; {saved:.1f} s of the author's run are saved"
    if report.verify:
        return f"{text} in {report.seconds:.1f} s; {_verdict(report)}"
    compared = [c for c in report.cells if c.outputs in ("equal", "different")]
    if not compared:
        return f"{text} in {report.seconds:.1f} s"
    verdict = "outputs equal the author's" if report.equal else "outputs DIFFER from the author's"
    return f"{text} in {report.seconds:.1f} s; {verdict}"


def _verdict(report: Report) -> str:
    equal, different, other = map(report.numbers, ("equal", "different", "not compared"))
    parts = [f"{_cells(equal)} equal to the author's"]
    if different:
        parts.append(f"{_cells(different)} DIFFERENT ({', '.join(map(str, different))})")
    if other:
        parts.append(f"{_cells(other)} not compared ({', '.join(map(str, other))})")
    return f"verified: {', '.join(parts)}; numbers within {report.tolerance}"


def cells_phrase(numbers: Sequence[int]) -> str:
    """``cell 2`` or ``cells 2, 5``."""
    return f"cell{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"


def _cells(numbers: tuple[int, ...]) -> str:
    return f"{len(numbers)} cell{'s' * (len(numbers) != 1)}"
