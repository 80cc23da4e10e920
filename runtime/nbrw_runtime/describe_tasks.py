"""What `inspect` says of Dask tasks. Pure."""

from __future__ import annotations

from typing import Any

from nbrw_runtime.task_reasons import in_words
from nbrw_runtime.task_summary import CellTasks, LabelTasks
from nbrw_runtime.units import human_size


def tasks_as_json(found: CellTasks) -> dict[str, Any]:
    """A cell's ``tasks`` in a description: with every field, sizes in bytes."""
    return {
        **_totals(found),
        "not_stored": dict(found.refused),
        "unsafe": dict(found.unsafe),
        "labels": [{"label": label.label, **_totals(label)} for label in found.labels],
    }


def _totals(found: CellTasks | LabelTasks) -> dict[str, Any]:
    return {
        "number": found.number,
        "stored": found.stored,
        "size": found.size,
        "seconds": found.seconds,
    }


def tasks_lines(description: dict[str, Any]) -> list[str]:
    """A line for each cell that had Dask tasks, and one if some of them must run again."""
    lines = []
    for cell in description["cells"]:
        found = cell.get("tasks")
        if not found:
            continue
        start = f"cell {cell['number']}: "
        stored = f"{found['stored']} stored ({human_size(found['size'])})"
        text = f"{start}{found['number']} Dask tasks of {found['seconds']:.1f} s, {stored}"
        if found["not_stored"]:
            text += f"; not stored: {in_words(found['not_stored'])}"
        lines.append(text)
        if found["unsafe"]:
            why = in_words(found["unsafe"])
            lines.append(f"{start}tasks that run in every repeat, with what uses them: {why}")
    return lines
