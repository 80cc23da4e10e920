"""Bills of materials in an image: beside its recipe, in the layer that is last."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbrw_builder import __version__
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.image import Image
from nbrw_builder.image_members import of_entries
from nbrw_builder.sbom import FORMATS, SbomFormat, subject_of
from nbrw_runtime.recipe import RECIPE_PATH, Recipe, write_recipe

_DIRECTORY = posixpath.dirname(RECIPE_PATH)


@dataclass(frozen=True)
class ImageSbom:
    """A bill of materials in an image: its format, the name of its file, its bytes."""

    format: SbomFormat
    name: str
    data: bytes


def recipe_layer(recipe: Recipe, kinds: Sequence[str], below: Iterable[LayerPlan]) -> LayerPlan:
    """The last layer: the recipe, and bills of materials of these kinds.

    They are made of what is in the layers ``below``, and so are those that `nbrw export` makes of
    the image: the bytes are the same. Raises OSError.
    """
    data = write_recipe(recipe)
    entries = [Entry(RECIPE_PATH, data=data)]
    if kinds:
        # Whoever only reads images does without what finds out about software.
        from nbrw_builder.components import components, wanted

        files = of_entries((entry for layer in below for entry in layer.entries), wanted(recipe))
        found = components(recipe, files)
        subject = subject_of(recipe.title, data, __version__)
        for kind in dict.fromkeys(kinds):
            document = FORMATS[kind].document(subject, found)
            entries.append(Entry(f"{_DIRECTORY}/{_name(FORMATS[kind])}", data=document))
    return LayerPlan("recipe", tuple(entries), directory=_DIRECTORY)


def sboms_of(image: Image) -> tuple[ImageSbom, ...]:
    """The bills of materials in an image that is to be written."""
    paths = {f"{_DIRECTORY}/{_name(known)}": known for known in FORMATS.values()}
    return tuple(
        ImageSbom(paths[entry.path], posixpath.basename(entry.path), entry.data)
        for layer in image.layers
        for entry in layer.entries
        if entry.path in paths and entry.data is not None
    )


def _name(known: SbomFormat) -> str:
    return f"sbom{known.suffix}"
