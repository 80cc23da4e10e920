"""What of an image a repeat from a cell needs: blobs of checkpoints, and whether data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes
from nbrw_runtime.notebook import Cell, code_cells
from nbrw_runtime.plan import Action, Request, make_plan
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.walk import Audit, Walk


@dataclass(frozen=True)
class Needs:
    """Of a repeat of the author's notebook from a cell. ``cells`` are those it runs."""

    cells: tuple[int, ...]
    blobs: frozenset[Digest]
    data: bool


def needs_of(recipe: Recipe, start: int) -> Needs:
    """What ``repeat --from start`` reads. Raises UsageError for a cell that is not there.

    Of restored cells: what lives on and is used by cells that run, and the files that they wrote.
    Of all cells: what they showed, where the recipe does not have it as well, and what is known
    of their tasks, for a task is believed only if nothing is known against it.
    """
    cells = code_cells(recipe.notebook)
    forced = make_plan(recipe, cells, Request(start=start)).forced
    walk = Walk(Audit(recipe), cells)
    restored: list[int] = []
    runs: list[int] = []
    blobs: set[Digest] = set()
    for cell in cells:
        step = walk.decide(cell, forced.get(cell.number, ""))
        if step.action is Action.RESTORE:
            walk.restored(cell)
            restored.append(cell.number)
        elif step.action is Action.RUN:
            blobs |= _names(walk, cells, cell, restored)
            runs.append(cell.number)
            walk.will_run(cell)
    for number in restored:
        checkpoint = recipe.checkpoint(number)
        blobs |= {stored.digest for stored in checkpoint.files} if checkpoint else set()
    shown = outputs_in(recipe)
    for checkpoint in recipe.checkpoints:
        if checkpoint.outputs and checkpoint.outputs not in shown:
            blobs.add(checkpoint.outputs)
        if checkpoint.tasks:
            blobs.add(checkpoint.tasks)
            blobs.update(checkpoint.task_blobs if checkpoint.cell in runs else ())
    data = any(not found.cells or set(found.cells) & set(runs) for found in inputs(recipe))
    return Needs(tuple(runs), frozenset(blobs), data)


def inputs(recipe: Recipe) -> list[Data]:
    """What cells found among the author's files; what they looked for in vain is nowhere."""
    states = (DataState.READ, DataState.LISTED)
    data = recipe.dependencies.data
    # Imports list the working directory, and no layer has it.
    return [d for d in data if d.state in states and d.path != recipe.environment.cwd]


def _names(walk: Walk, cells: tuple[Cell, ...], first: Cell, restored: list[int]) -> set[Digest]:
    """The blobs of names which a cell that runs, or one after it, may use as they were restored."""
    found: set[Digest] = set()
    for cell in cells:
        if cell.number >= first.number and cell.runs:
            for name in walk.needed(cell):
                if walk.now.makers.get(name) in restored:
                    found.update(walk.now.sources[name][1].blobs)
    return found


def outputs_in(recipe: Recipe) -> dict[Digest, bytes]:
    """Blobs of outputs that the notebook in the recipe holds as well."""
    found: dict[Digest, bytes] = {}
    for raw in recipe.notebook.get("cells", ()):
        if raw.get("cell_type") == "code":
            data = canonical_json(_outputs(raw))
            found[digest_bytes(data)] = data
    return found


def _outputs(raw: Mapping[str, Any]) -> Any:
    return raw.get("outputs", [])
