"""OCI directories with layers left behind: what is not there, and what is known of it all the same.

The index says where the image came from (`registry/layout_out.py`); a layer is left behind if its
blob is not there.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbrw_builder.image import OWN, blob_path
from nbrw_builder.oci_read import LayerRef, image_entry
from nbrw_runtime.errors import FormatError
from nbrw_runtime.left_behind import LEFT_BEHIND_PATH, LeftBehind, write_left_behind

#: Annotations of the image's entry in the index.
PARTIAL_SOURCE = OWN + "partial.source"
PARTIAL_FROM = OWN + "partial.from"
PARTIAL_PLAIN = OWN + "partial.plain-http"


_KNOWS = "/nbrw/runtime/nbrw_runtime/left_behind.py"


@dataclass(frozen=True)
class PartialImage:
    """A directory ``root`` that was pulled from ``source`` with ``--from start``."""

    root: Path
    source: str
    start: int
    plain_http: bool = False

    @property
    def command(self) -> str:
        """What brings the rest."""
        words = ["nbrw", "pull", *(("--plain-http",) if self.plain_http else ())]
        return shlex.join([*words, self.source, os.path.abspath(self.root)])

    def is_left(self, layer: LayerRef) -> bool:
        """Whether the layer is not there."""
        return not (self.root / blob_path(layer.digest)).exists()


def read_partial(root: Path) -> PartialImage | None:
    """What an OCI directory says of itself; None if it is whole, or says nothing."""
    try:
        entry = image_entry(json.loads((root / "index.json").read_bytes()))
        notes = entry.get("annotations") or {}
        plain = notes.get(PARTIAL_PLAIN) == "true"
        return PartialImage(root, str(notes[PARTIAL_SOURCE]), int(notes[PARTIAL_FROM]), plain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def complete_tree(
    partial: PartialImage, layers: Sequence[LayerRef], recipe_bytes: bytes, root: Path
) -> None:
    """Say in an unpacked tree what it lacks, and add what is known without the layers.

    What cells showed is in the recipe, too. Raises FormatError if the image's own runtime does not
    know of partial images, OSError.
    """
    # Not needed for other images, and all that plans is behind it.
    from nbrw_runtime.needs import inputs, outputs_in
    from nbrw_runtime.recipe import read_recipe

    if not (root / _KNOWS.lstrip("/")).is_file():
        raise FormatError(
            f"unpack {partial.root}: its nbrw is of before partial images; `{partial.command}` "
            "makes it whole"
        )
    recipe = read_recipe(recipe_bytes, str(partial.root))
    missing = {layer.name for layer in layers if partial.is_left(layer)}
    left = [layer for layer in recipe.layers if layer.name in missing]
    shown = outputs_in(recipe)
    for layer in left:
        if layer.directory:
            place = root / layer.directory.lstrip("/") / "sha256"
            place.mkdir(parents=True, exist_ok=True)
            for number in layer.cells:
                checkpoint = recipe.checkpoint(number)
                data = shown.get(checkpoint.outputs) if checkpoint and checkpoint.outputs else None
                if checkpoint and checkpoint.outputs and data is not None:
                    (place / checkpoint.outputs.hex).write_bytes(data)
    note = LeftBehind(
        start=partial.start,
        command=partial.command,
        cells=tuple(sorted({cell for layer in left for cell in layer.cells})),
        data="data" in missing,
        readers=tuple(sorted({n for found in inputs(recipe) for n in found.cells})),
    )
    (root / LEFT_BEHIND_PATH.lstrip("/")).write_bytes(write_left_behind(note))
