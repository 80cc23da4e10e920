"""An image to share: an environment, data, and a checkpoint for each of some cells."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbrw_builder.build_image import write_image
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.image import RUNSCRIPT, ImageConfig
from nbrw_builder.layer import Layer
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import (
    RECIPE_PATH,
    Environment,
    Recipe,
    RecipeLayer,
    recipe_cells,
    write_recipe,
)


@dataclass(frozen=True)
class Sizes:
    """Bytes of the environment (in four layers), of the data, and of each cell's variable."""

    environment: int
    data: int
    cell: int
    cells: int = 10


def make(out: Path, store: Path, cache: Path, sizes: Sizes, version: int = 0) -> None:
    """Write the OCI directory; of another ``version`` the last cell is another, and small.

    Cell k makes a variable out of that of cell k - 1, so that a repeat from cell N needs one.
    """
    store.mkdir(exist_ok=True)
    quarter = sizes.environment // 4
    plans = [LayerPlan("system", (Entry(RUNSCRIPT, 0o755, data=b"#!/bin/sh\n"),))]
    plans += [
        LayerPlan(f"distribution:{n}", (_file(store, f"/opt/{n}", f"environment {n}", quarter),))
        for n in range(4)
    ]
    plans.append(LayerPlan("data", (_file(store, "/nbrw/root/in", "data", sizes.data),)))
    blobs = []
    for number in range(1, sizes.cells + 1):
        last = number == sizes.cells
        name = f"cell {number} {version if last else 0}"
        entry = _file(store, "/x", name, sizes.cell // 10 if last else sizes.cell)
        assert entry.source is not None
        digest = digest_bytes(entry.source.read_bytes())
        blobs.append(digest)
        top = f"/nbrw.{digest.hex[:12]}"
        inside = Entry(f"{top}/sha256/{digest.hex}", 0o444, source=entry.source, digest=digest)
        plans.append(LayerPlan(f"cell:{number}", (inside,), (number,), top))
    sources = [f"v{n} = v{n - 1} + {n}" if n > 1 else "v1 = 1" for n in range(1, sizes.cells)]
    sources.append(f"v{sizes.cells} = v{sizes.cells - 1} + {version}")

    def finish(layers: Sequence[Layer]) -> LayerPlan:
        data = write_recipe(_recipe(sources, blobs, layers))
        return LayerPlan("recipe", (Entry(RECIPE_PATH, data=data),), directory="/nbrw.recipe")

    write_image(plans, out, config=ImageConfig(), finish=finish, cache=cache, compression="none")


def _file(store: Path, inside: str, name: str, size: int) -> Entry:
    """A file of noise, for nothing is gained by compressing what travels."""
    path = store / name.replace(" ", "-")
    if not path.exists():
        path.write_bytes(random.Random(name).randbytes(size))
    return Entry(inside, source=path)


def _recipe(sources: Sequence[str], blobs: Sequence[Digest], layers: Sequence[Layer]) -> Recipe:
    notebook = {"cells": [{"cell_type": "code", "source": text, "outputs": []} for text in sources]}
    cells = code_cells(notebook)
    checkpoints = tuple(
        Checkpoint(
            cell.number,
            cell.digest,
            objects=(StoredObject((f"v{cell.number}",), digest_bytes(blob.hex.encode()), blob),),
        )
        for cell, blob in zip(cells, blobs, strict=True)
    )
    data = Data("/w/in", DataState.READ, (1,), digest=digest_bytes(b"in"))
    return Recipe(
        notebook,
        recipe_cells(cells),
        checkpoints,
        Environment("/usr/bin/python3", "/w"),
        Dependencies(data=(data,)),
        tuple(
            RecipeLayer(layer.name, layer.diff_id, layer.size, layer.cells, layer.directory)
            for layer in layers
        ),
    )


def main() -> None:
    """``made_image.py DIRECTORY BYTES``: the image and its edited version, in a directory."""
    work, size = Path(sys.argv[1]), int(sys.argv[2])
    sizes = Sizes(size * 6 // 10, size // 10, size * 3 // 91)
    for name, version in (("image", 0), ("edited", 1)):
        make(work / name, work / "store", work / "cache", sizes, version)


if __name__ == "__main__":
    main()
