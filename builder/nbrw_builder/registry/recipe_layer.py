"""The recipe from a layer that was fetched."""

from __future__ import annotations

import tarfile
from pathlib import Path

from nbrw_builder.extract import find_member
from nbrw_builder.oci_read import LayerRef, decompressed
from nbrw_builder.registry.descriptor import Blob
from nbrw_runtime.errors import UsageError
from nbrw_runtime.recipe import RECIPE_PATH, Recipe, read_recipe


def layer_ref(layer: Blob) -> LayerRef:
    """The layer as readers of layouts name it."""
    return LayerRef(layer.digest, layer.size, layer.media_type, layer.name)


def recipe_of_layer(path: Path, layer: Blob) -> Recipe:
    """The recipe in an image's last layer. Raises UsageError if it has none, FormatError."""
    with (
        open(path, "rb") as stream,
        decompressed(stream, layer_ref(layer)) as raw,
        tarfile.open(fileobj=raw, mode="r|") as tar,
    ):
        data = find_member(tar, RECIPE_PATH)
    if data is None:
        raise UsageError(
            "pull --from: the image's last layer holds no recipe; nbrw did not make it, so pull "
            "all of it, without --from"
        )
    return read_recipe(data, str(path))
