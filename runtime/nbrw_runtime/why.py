"""Why a cell and its Dask tasks ran, were restored or left out: from a repeat's report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbrw_runtime.errors import UsageError
from nbrw_runtime.report import CellReport, Report
from nbrw_runtime.report_tasks import difference, numbers
from nbrw_runtime.task_reasons import in_words, with_number

WHY_FORMAT = "nbrw.why"
WHY_VERSION = 1
_SHOWN = 20
_DONE = {"run": "ran", "restored": "was restored", "skipped": "was skipped", "failed": "failed"}
_PLANNED = {"run": "would run", "restored": "would be restored", "skipped": "would be skipped"}


def why(report: Report, number: int, task: str = "") -> dict[str, Any]:
    """A JSON value: what became of a cell and why; of its tasks by label those that ran first.

    ``task``: only those of this label, or of the label that this key has. Raises UsageError if the
    repeat had no such cell, or the cell no such task.
    """
    cell = next((found for found in report.cells if found.cell == number), None)
    if cell is None:
        has = f"has cells 1 to {len(report.cells)}" if report.cells else "has no code cells"
        raise UsageError(f"explain cell {number}: the notebook that was repeated {has}; name one")
    labels = _labels(cell)
    if task:
        labels = [_of_task(cell, labels, task)]
    return {
        "format": WHY_FORMAT,
        "version": WHY_VERSION,
        "image": report.image,
        "dry_run": report.dry_run,
        "cell": cell.cell,
        "action": cell.action,
        "reason": cell.reason,
        "seconds": cell.seconds,
        "audit_seconds": cell.audit_seconds,
        "outputs": cell.outputs,
        "error": cell.error,
        "task": task,
        "tasks": {**{k: v for k, v in cell.tasks.items() if k != "edits"}, "labels": labels}
        if cell.tasks
        else {},
    }


def _labels(cell: CellReport) -> list[dict[str, Any]]:
    edits = {edit["label"]: edit for edit in cell.tasks.get("edits", ())}
    found = [
        {"label": label, **counts, "difference": _difference(edits.get(label))}
        for label, counts in cell.tasks.get("labels", {}).items()
    ]
    # What was edited explains the rest.
    return sorted(found, key=lambda of: (not of["difference"], -of["run"], -of["loaded"]))


def _difference(edit: Mapping[str, Any] | None) -> str:
    return difference(edit) if edit is not None else ""


def _of_task(cell: CellReport, labels: list[dict[str, Any]], task: str) -> dict[str, Any]:
    """The label that is meant, by itself or by a task's key, such as ``('add-1a2b', 0)``."""
    text = task.lstrip("('\"")
    fits = [of for of in labels if f"{text}-".startswith(f"{of['label']}-")]
    if fits:
        return max(fits, key=lambda of: len(of["label"]))
    names = ", ".join(of["label"] for of in labels[:_SHOWN])
    if len(labels) > _SHOWN:
        names += f" and {len(labels) - _SHOWN} more"
    if names:
        raise UsageError(
            f"explain task {task} of cell {cell.cell}: it has no such task; name one of {names}"
        )
    what = _DONE.get(cell.action, cell.action)
    raise UsageError(
        f"explain task {task} of cell {cell.cell}: the cell {what} and started no Dask tasks; "
        "leave the task out to be told why"
    )


def why_text(value: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    words = _PLANNED if value["dry_run"] else _DONE
    what = words.get(value["action"], value["action"])
    lines = [f"cell {value['cell']} {what}: {value['reason']}"]
    tasks = value["tasks"]
    if value["task"]:
        return "\n".join([*lines, *(f"  {line}" for line in map(_label_line, tasks["labels"]))])
    if value["action"] in ("run", "failed") and not value["dry_run"]:
        lines.append(f"  {_took(value)}")
    if value["error"]:
        lines.append(f"  {value['error']}")
    if tasks:
        why = in_words(tasks.get("misses", {}))
        lines.append(f"  of its tasks {numbers(tasks)}" + (f": {why}" if why else ""))
        used = [of for of in tasks["labels"] if of["run"] or of["loaded"]]
        lines += [f"  {_label_line(of)}" for of in used[:_SHOWN]]
        if len(used) > _SHOWN:
            lines.append(f"  {len(used) - _SHOWN} more kinds of tasks; name one")
        others = [f"{of['label']} ({of['needless']})" for of in tasks["labels"] if of not in used]
        if others:
            more = f" and {len(others) - _SHOWN} more kinds" if len(others) > _SHOWN else ""
            lines.append(f"  not needed by any that ran: {', '.join(others[:_SHOWN])}{more}")
    return "\n".join(lines)


def _took(value: Mapping[str, Any]) -> str:
    text = f"it took {value['seconds']:.1f} s"
    if value["audit_seconds"] is not None:
        text += f", {value['audit_seconds']:.1f} s in the audit"
    if value["outputs"] in ("equal", "different"):
        verb = "equal" if value["outputs"] == "equal" else "DIFFER from"
        text += f"; its outputs {verb} the author's"
    return text


def _label_line(of: Mapping[str, Any]) -> str:
    parts = []
    if of["run"]:
        parts.append(with_number(of["run"], "ran", of["misses"]))
    same = of.get("same", 0)
    if of["loaded"] > same:
        parts.append(f"{of['loaded'] - same} loaded, as nothing that led to them changed")
    if same:
        parts.append(f"{same} loaded, as what they use ran and came to the same")
    if of["needless"]:
        parts.append(f"{of['needless']} not needed by any that ran")
    text = f"task {of['label']}: {'; '.join(parts)}"
    return text + (f": {of['difference']}" if of["difference"] else "")
