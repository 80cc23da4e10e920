"""A recipe of any size, made up: what an audit of such a notebook would have left."""

from __future__ import annotations

from typing import Any

from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import digest_json
from nbrw_runtime.names import names_of
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import Environment, Recipe, recipe_cells

HOME = "/home/author/work"


def sources(cells: int, names: int) -> list[str]:
    """Cells that make ``names`` names in all; each reads some of the cell before and of the first.

    Every tenth reads a file, every fiftieth sets a random state.
    """
    each = names // cells
    made = []
    for number in range(cells):
        lines = []
        for index in range(each):
            before = f"v{number - 1}_{index}" if number else "1"
            lines.append(f"v{number}_{index} = {before} + v0_{(index + number) % each} * 2")
        if number == 0:
            lines = [f"v0_{index} = {index}.5" for index in range(each)]
        if number % 10 == 3:
            lines.append(f"open('in{number}.csv').read()")
        if number % 50 == 7:
            lines.append("random.seed(7)")
        made.append("\n".join(lines))
    return made


def notebook(texts: list[str]) -> dict[str, Any]:
    """A notebook of code cells."""
    cells = [{"cell_type": "code", "source": text, "outputs": []} for text in texts]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def recipe(texts: list[str]) -> Recipe:
    """Every name that a cell binds was stored by it; every file that it names was read."""
    cells = code_cells(notebook(texts))
    checkpoints, data = [], []
    for cell in cells:
        found = names_of(cell.source)
        objects = [stored(cell.number, name) for name in sorted(found.bound)]
        if "random.seed" in cell.source:
            objects.append(stored(cell.number, "<nbrw:random>"))
        reads = tuple(sorted(found.used))
        checkpoints.append(
            Checkpoint(cell.number, cell.digest, objects=tuple(objects), reads=reads)
        )
        if "open(" in cell.source:
            path = f"{HOME}/in{cell.number - 1}.csv"
            data.append(Data(path, DataState.READ, (cell.number,), digest=digest_json(path)))
    return Recipe(
        notebook=notebook(texts),
        cells=recipe_cells(cells),
        checkpoints=tuple(checkpoints),
        environment=Environment("/usr/bin/python3", HOME),
        dependencies=Dependencies(data=tuple(data)),
    )


def stored(cell: int, name: str) -> StoredObject:
    """An object of this name, as the cell left it."""
    digest = digest_json([cell, name])
    return StoredObject((name,), digest, digest, size=100, types=("numpy.ndarray",))
