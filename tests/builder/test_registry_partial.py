"""Which layers of an image a repeat from a cell does without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbrw_builder.registry.descriptor import Blob
from nbrw_builder.registry.partial import left_behind
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import Environment, Recipe, RecipeLayer, recipe_cells

SOURCES = ["a = 1", "b = 2", "print(b)"]


def digest(text):
    return digest_bytes(text.encode())


def stored(name):
    return StoredObject((name,), digest(f"{name}'s"), digest(name), types=("builtins.int",))


def recipe(names, merged=False):
    """An image with a checkpoint layer for each of two cells (or one for both), and data."""
    notebook = {"cells": [{"cell_type": "code", "source": text, "outputs": []} for text in SOURCES]}
    cells = code_cells(notebook)
    checkpoints = [
        Checkpoint(1, cells[0].digest, objects=(stored("a"),)),
        Checkpoint(2, cells[1].digest, objects=(stored("b"),)),
        Checkpoint(3, cells[2].digest, reads=("b",)),
    ]
    groups = {"cells:1-2": (1, 2)} if merged else {"cell:1": (1,), "cell:2": (2,)}
    layers = [
        RecipeLayer(name, digest(f"tar of {name}"), 1, groups.get(name, ())) for name in names
    ]
    data = Data("/w/in.txt", DataState.READ, (1,), digest=digest("in"))
    return Recipe(
        notebook,
        recipe_cells(cells),
        tuple(checkpoints),
        Environment("/usr/bin/python3", "/w"),
        Dependencies(data=(data,)),
        tuple(layers),
    )


def blobs(names):
    return [Blob(digest(f"blob of {name}"), 1, "t", name) for name in (*names, "recipe")]


def left(found, layers, start):
    return sorted(blob.name for blob in left_behind(found, layers, start))


NAMES = ("system", "data", "cell:1", "cell:2")


@pytest.mark.parametrize(
    ("start", "names"),
    [
        (1, ["cell:1", "cell:2"]),
        (2, ["cell:1", "cell:2", "data"]),
        (3, ["cell:1", "data"]),
    ],
)
def test_checkpoints_and_data_that_no_cell_reads_stay_behind(start, names):
    """What cells make that run anyway is among it; software and recipe never are."""
    assert left(recipe(NAMES), blobs(NAMES), start) == names


def test_a_layer_of_several_cells_is_brought_for_one():
    """It travels whole."""
    names = ("system", "data", "cells:1-2")
    assert left(recipe(names, merged=True), blobs(names), 3) == ["data"]
    assert left(recipe(names, merged=True), blobs(names), 2) == ["cells:1-2", "data"]


def test_layers_that_are_not_the_recipes_are_all_brought():
    """Somebody else may have added some, or have put them in another order."""
    layers = blobs(NAMES)
    assert left(recipe(NAMES), [layers[1], layers[0], *layers[2:]], 3) == []
    assert left(replace(recipe(NAMES), layers=()), layers, 3) == []


def test_a_blob_that_is_two_layers_is_brought_for_one():
    """Equal layers are one blob."""
    layers = blobs(NAMES)
    same = [layers[0], layers[1], replace(layers[3], name="cell:1"), *layers[3:]]
    assert left(recipe(NAMES), same, 3) == ["data"]
