"""What checkpoints leave together, for tests and benchmarks that restore whole states."""

from __future__ import annotations

from collections.abc import Iterable

from nbrw_runtime.checkpoint import Checkpoint


def latest(checkpoints: Iterable[Checkpoint]) -> dict[int, list[str]]:
    """The names that exist after these cells, by the cell that their last versions are from."""
    cells: dict[str, int] = {}
    for checkpoint in checkpoints:
        for stored in checkpoint.objects:
            cells.update(dict.fromkeys(stored.names, checkpoint.cell))
        for name in (*checkpoint.deleted, *(omitted.name for omitted in checkpoint.omitted)):
            cells.pop(name, None)
    found: dict[int, list[str]] = {}
    for name, cell in cells.items():
        found.setdefault(cell, []).append(name)
    return found
