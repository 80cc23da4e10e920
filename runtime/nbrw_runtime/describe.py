"""What is in an image, for people and programs: plain values from a recipe. Pure.

Used by `nbrw inspect IMAGE` on the host and by `inspect` inside the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Data, DataState, Software
from nbrw_runtime.describe_tasks import tasks_as_json, tasks_lines
from nbrw_runtime.outside import from_outside, outside_lines
from nbrw_runtime.recipe import Recipe, RecipeCell
from nbrw_runtime.records import to_json
from nbrw_runtime.units import human_size
from nbrw_runtime.verification import Verification

DESCRIPTION_VERSION = 1
_WORDS = {"different": "does not repeat", "failed": "does not repeat", "not run": "was not run"}


def describe(recipe: Recipe) -> dict[str, Any]:
    """A JSON value: title, environment, cells, dependencies and layers. Sizes are in bytes."""
    dependencies = recipe.dependencies
    outside = from_outside(recipe)
    tasks = {found.cell: tasks_as_json(found) for found in recipe.tasks}
    return {
        "format": "nbrw.description",
        "version": DESCRIPTION_VERSION,
        "title": recipe.title,
        "created_by": recipe.created_by,
        "parameters": recipe.parameters,
        "uses_dask": recipe.uses_dask,
        "environment": {
            "python": recipe.environment.python_version,
            "platform": recipe.environment.platform,
            "directory": recipe.environment.cwd,
            "variables": sorted(recipe.environment.variables),
        },
        "cells": [
            {
                **_cell(cell, recipe.checkpoint(cell.number)),
                "outside": list(outside.get(cell.number, ())),
                "tasks": tasks.get(cell.number, {}),
                "verified": _verified(recipe, cell),
            }
            for cell in recipe.cells
        ],
        "verification": _verification(recipe.verification),
        "software": [_software(item) for item in dependencies.software],
        "data": [_data(item) for item in dependencies.data],
        "left_out": [
            {"path": item.path, "reason": item.reason, "cells": list(item.cells)}
            for item in dependencies.left_out
        ],
        "network": list(dependencies.network),
        "notes": list(dependencies.notes),
        "layers": [
            {
                "name": layer.name,
                "diff_id": str(layer.diff_id),
                "size": layer.size,
                "cells": list(layer.cells),
            }
            for layer in recipe.layers
        ],
    }


def first_line(source: str) -> str:
    """The first line of a cell's source that says something, without its indentation."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("#")]
    return next(iter(telling or lines), "")


def describe_text(description: dict[str, Any]) -> str:
    """The description as plain text, lines ended by a newline."""
    lines = [
        description["title"] or "A notebook",
        f"Python {description['environment']['python'] or '?'}, "
        f"audited in {description['environment']['directory']}",
        "",
    ]
    rows: list[tuple[str, ...]] = [("cell", "state", "seconds", "stored", "size", "first line")]
    rows += [_row(cell) for cell in description["cells"]]
    lines += _aligned(rows)
    for cell in description["cells"]:
        lines += [
            f"  cell {cell['number']}: {item['name']} ({item['type']}) is not stored: "
            f"{item['reason']}"
            for item in cell["omitted"]
        ]
    lines += [f"  {line}" for line in codec_lines(description)]
    lines += [f"  {line}" for line in marks_lines(description)]
    lines += [f"  {line}" for line in tasks_lines(description)]
    lines += verification_lines(description)
    lines += ["", *_dependency_lines(description)]
    if description["layers"]:
        lines += ["", "layers, lowest first"]
        lines += _aligned(
            [(layer["name"], human_size(layer["size"])) for layer in description["layers"]], "  "
        )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cell(cell: RecipeCell, checkpoint: Checkpoint | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "number": cell.number,
        "id": cell.id,
        "digest": str(cell.digest),
        "first_line": first_line(cell.source),
        "tags": list(cell.tags),
        "status": checkpoint.status if checkpoint else "not stored",
        "seconds": checkpoint.seconds if checkpoint else None,
        "stored": [],
        "size": 0,
        "files": [],
        "deleted": [],
        "omitted": [],
        "notes": [],
    }
    if checkpoint is None:
        return value
    stored = [
        {
            "names": list(item.names),
            "types": list(item.types),
            "size": item.size,
            "codec": item.codec,
        }
        for item in checkpoint.objects
    ]
    value.update(
        stored=stored,
        size=sum(item.size for item in checkpoint.objects)
        + sum(item.size for item in checkpoint.files),
        files=[{"path": item.path, "size": item.size} for item in checkpoint.files],
        deleted=list(checkpoint.deleted),
        omitted=[
            {"name": item.name, "type": item.type, "reason": item.reason}
            for item in checkpoint.omitted
        ],
        notes=list(checkpoint.notes),
    )
    return value


def _verified(recipe: Recipe, cell: RecipeCell) -> dict[str, Any] | None:
    found = recipe.verification and recipe.verification.cell(cell.number)
    if not found:
        return None
    return {"outcome": found.outcome, "differences": list(found.differences)}


def _verification(found: Verification | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"holds": found.holds, "tolerance": to_json(found.tolerance), "summary": str(found)}


def verification_lines(description: dict[str, Any]) -> list[str]:
    """What a verification found: a line for each difference, and a summary."""
    if not description["verification"]:
        return []
    found = [(cell["number"], cell["verified"]) for cell in description["cells"]]
    return [
        f"cell {number} {_WORDS[verified['outcome']]}: {text}"
        for number, verified in found
        if verified and verified["outcome"] in _WORDS
        for text in verified["differences"]
    ] + [description["verification"]["summary"]]


def _software(item: Software) -> dict[str, Any]:
    return {
        "kind": item.kind.value,
        "name": item.name,
        "version": item.version,
        "cells": list(item.cells),
        "roles": list(item.roles),
        "touched": item.touched,
        "required_by": list(item.requires),
    }


def _data(item: Data) -> dict[str, Any]:
    return {
        "path": item.path,
        "state": item.state.value,
        "cells": list(item.cells),
        "roles": list(item.roles),
        "digest": str(item.digest) if item.digest else None,
        "size": item.size,
        "changed": item.changed,
    }


def stored_names(cell: dict[str, Any]) -> list[str]:
    """The user's names that a described cell stored; nbrw's own (``<nbrw:...>``) are left out."""
    names = {name for item in cell["stored"] for name in item["names"]}
    return sorted(name for name in names if not name.startswith("<"))


def marks_lines(description: dict[str, Any]) -> list[str]:
    """A line for each cell that is not repeatable by itself."""
    return outside_lines({cell["number"]: cell["outside"] for cell in description["cells"]})


def codec_lines(description: dict[str, Any]) -> list[str]:
    """A line for each cell of which something was not stored by the usual pickler."""
    lines = []
    for cell in description["cells"]:
        for codec in sorted({item["codec"] for item in cell["stored"]} - {"pickle"}):
            names = [n for item in cell["stored"] if item["codec"] == codec for n in item["names"]]
            lines.append(f"cell {cell['number']}: {', '.join(sorted(names))} stored by {codec}")
    return lines


def _row(cell: dict[str, Any]) -> tuple[str, ...]:
    seconds = "" if cell["seconds"] is None else f"{cell['seconds']:.1f}"
    names = stored_names(cell)
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    size = human_size(cell["size"]) if cell["size"] else ""
    number = str(cell["number"])
    return number, cell["status"], seconds, shown, size, cell["first_line"][:60]


def _dependency_lines(description: dict[str, Any]) -> list[str]:
    software = description["software"]
    kinds = sorted({item["kind"] for item in software})
    counts = [f"{sum(item['kind'] == kind for item in software)} {kind}" for kind in kinds]
    lines = [f"software: {', '.join(counts) or 'none recorded'}"]
    data = description["data"]
    for state in DataState:
        found = [item for item in data if item["state"] == state.value]
        if found:
            size = sum(item["size"] or 0 for item in found)
            what = "directories" if state is DataState.LISTED else "files"
            total = f", {human_size(size)}" if size else ""
            lines.append(f"data {state.value}: {len(found)} {what}{total}")
    lines += [f"left out: {item['path']}: {item['reason']}" for item in description["left_out"]]
    if description["network"]:
        lines.append("network: " + ", ".join(description["network"]))
    lines += [f"note: {note}" for note in description["notes"]]
    return lines


def _aligned(rows: Iterable[tuple[str, ...]], indent: str = "") -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]
