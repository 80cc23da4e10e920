"""Small images for tests."""

from nbrw_builder.build_image import write_image
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.image import ENTRYPOINT, RUNSCRIPT, ImageConfig
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.recipe import RECIPE_PATH, Environment, Recipe, RecipeLayer, write_recipe

CONFIG = ImageConfig(
    title="a title",
    name="nbrw-test:v1",
    variables={"PATH": "/bin"},
    labels={"io.github.nbrw.cells": "2"},
    cell_digests={1: digest_bytes(b"one")},
    deffile="Bootstrap: scratch\n",
)


def cell(number, data):
    """A checkpoint layer with one blob."""
    digest = digest_bytes(data)
    top = f"/nbrw.{digest.hex[:12]}"
    entry = Entry(f"{top}/sha256/{digest.hex}", 0o400, data=data, digest=digest)
    return LayerPlan(f"cell:{number}", (entry,), (number,), top)


def system(*more):
    """The lowest layer: a runscript and a directory to work in."""
    data = b'#!/bin/sh\necho "args: $*"\n'
    scripts = [Entry(path, 0o755, data=data) for path in (RUNSCRIPT, ENTRYPOINT)]
    return LayerPlan("system", (*scripts, Entry("/nbrw/work"), Entry("/tmp", 0o1777), *more))


def finish(layers):
    """The recipe layer."""
    recipe = Recipe(
        notebook={"cells": []},
        cells=(),
        checkpoints=(),
        environment=Environment("/usr/bin/python3", "/"),
        layers=tuple(
            RecipeLayer(layer.name, layer.diff_id, layer.size, layer.cells, layer.directory)
            for layer in layers
        ),
    )
    entry = Entry(RECIPE_PATH, data=write_recipe(recipe))
    return LayerPlan("recipe", (entry,), directory="/nbrw.recipe")


def write(out, cache, cells=(b"one" * 1000, b"two" * 1000), below=None, **options):
    """Write an image of a system layer and these checkpoints."""
    plans = [below or system(), *(cell(n, data) for n, data in enumerate(cells, 1))]
    return write_image(plans, out, config=CONFIG, finish=finish, cache=cache, **options)
