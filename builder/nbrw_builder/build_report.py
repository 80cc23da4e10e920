"""What `nbrw-build` says at its end."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from nbrw_builder.audit_execution import CellDone
from nbrw_builder.build import Built
from nbrw_builder.docker_client import KIND
from nbrw_runtime.describe import describe, marks_lines, verification_lines
from nbrw_runtime.outside import from_outside
from nbrw_runtime.records import to_json
from nbrw_runtime.units import human_size
from nbrw_runtime.versions import FILE_PREFIX

_NOTES_SHOWN = 12


def as_json_object(built: Built) -> dict[str, Any]:
    """The result for scripts: format ``nbrw.build``, version 1; bytes and seconds."""
    image = built.image
    found = built.recipe.verification
    done = {cell.number: cell for cell in built.cells}
    outside = from_outside(built.recipe)
    return {
        "format": "nbrw.build",
        "version": 1,
        "image": {
            "path": str(image.path),
            "kind": image.kind,
            "digest": str(image.digest),
            "layers": [
                {"name": layer.name, "diff_id": str(layer.diff_id), "size": layer.size}
                for layer in image.layers
            ],
        },
        "cells": [
            {
                "number": found.cell,
                "status": found.status,
                **_what(done.get(found.cell)),
                "seconds": found.seconds,
                "overhead": found.overhead,
                "omitted": [
                    {"name": o.name, "type": o.type, "reason": o.reason} for o in found.omitted
                ],
                "outside": list(outside.get(found.cell, ())),
            }
            for found in built.recipe.checkpoints
        ],
        "left_out": [
            {"path": left.path, "reason": left.reason}
            for left in built.recipe.dependencies.left_out
        ],
        "verification": found and {**to_json(found), "holds": found.holds},
        "notes": list(built.notes),
        "seconds": dict(built.seconds),
    }


def _what(cell: CellDone | None) -> dict[str, str]:
    """What the audit did with a cell, and why."""
    return {"action": cell.action, "reason": cell.reason} if cell is not None else {}


def print_built(built: Built, console: Console, where: str = "") -> None:
    """A few lines for a person; ``where`` the image is, if not at its path."""

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    recipe = built.recipe
    description = describe(recipe)
    restored = [cell for cell in built.cells if cell.action == "restored"]
    for cell in built.cells if restored else ():
        if cell.action == "run":
            line(f"cell {cell.number} ran: {cell.reason}")
    if restored:
        line(f"{len(restored)} of {len(built.cells)} cells are as a former build left them")
    for found in recipe.checkpoints:
        for omitted in found.omitted:
            name = omitted.name.removeprefix(FILE_PREFIX)
            line(f"cell {found.cell}: {name} ({omitted.type}) is not stored: {omitted.reason}")
    for text in marks_lines(description):
        line(text)
    for note in built.notes[:_NOTES_SHOWN]:
        line(f"note: {note}")
    if len(built.notes) > _NOTES_SHOWN:
        line(f"note: {len(built.notes) - _NOTES_SHOWN} more; see `nbrw inspect`")
    dependencies = recipe.dependencies
    line(
        f"{len(recipe.cells)} cells, {len(dependencies.software)} pieces of software, "
        f"{len(dependencies.data)} data paths, {len(dependencies.left_out)} left out"
    )
    path = built.image.path
    size = path.stat().st_size if path.is_file() else _size_below(path)
    if built.image.kind == KIND:
        size = sum(layer.size for layer in built.image.layers)
    for text in verification_lines(description):
        line(text)
    line(f"wrote {where or path}: {built.image.kind}, {human_size(size)}, {built.image.digest}")


def _size_below(path: Any) -> int:
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
