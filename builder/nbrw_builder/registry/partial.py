"""Which layers a repeat from a cell does without. Pure.

In doubt a layer is brought.
"""

from __future__ import annotations

from collections.abc import Sequence

from nbrw_builder.registry.descriptor import Blob
from nbrw_runtime.needs import needs_of
from nbrw_runtime.recipe import Recipe

_DATA = "data"


def left_behind(recipe: Recipe, layers: Sequence[Blob], start: int) -> frozenset[Blob]:
    """The layers of an image (lowest first) that a repeat from cell ``start`` does without.

    Raises UsageError for a cell that is not there.
    """
    needs = needs_of(recipe, start)
    known = recipe.layers
    if [layer.name for layer in known] != [layer.name for layer in layers[: len(known)]]:
        return frozenset()  # whoever wrote these layers, they are not the recipe's
    first: dict[str, int] = {}
    for checkpoint in sorted(recipe.checkpoints, key=lambda found: found.cell):
        for digest in checkpoint.blobs:
            first.setdefault(str(digest), checkpoint.cell)
    cells = {first[str(digest)] for digest in needs.blobs if str(digest) in first}
    found: set[Blob] = set()
    wanted: set[Blob] = set()
    for said, layer in zip(known, layers, strict=False):
        left = (said.name == _DATA and not needs.data) or (
            bool(said.cells) and cells.isdisjoint(said.cells)
        )
        (found if left else wanted).add(layer)
    digests = {layer.digest for layer in (*wanted, *layers[len(known) :])}
    return frozenset(layer for layer in found if layer.digest not in digests)
