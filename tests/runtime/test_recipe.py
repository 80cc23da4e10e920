"""The recipe's bytes, and the refusal of what this nbrw does not read."""

from __future__ import annotations

import json

import pytest

from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import EXIT_INTEGRITY, FormatError
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.recipe import (
    RECIPE_FORMAT,
    Environment,
    Recipe,
    RecipeCell,
    RecipeLayer,
    load_document,
    read_recipe,
    write_recipe,
)

BLOB = digest_bytes(b"x")
RECIPE = Recipe(
    notebook={"cells": [{"cell_type": "code", "source": "x = 'ü'", "outputs": []}], "nbformat": 4},
    cells=(RecipeCell(1, "a", cell_digest("x = 1"), "x = 1", ("tag",)),),
    checkpoints=(Checkpoint(1, cell_digest("x = 1"), objects=(StoredObject(("x",), BLOB, BLOB),)),),
    environment=Environment("/usr/bin/python3", "/home/ada", variables={"TZ": "UTC"}),
    layers=(RecipeLayer("system", BLOB, 7),),
    parameters={"n": 3},
)


def test_a_recipe_comes_back():
    """Written, read, equal; and the bytes are canonical."""
    data = write_recipe(RECIPE)
    assert read_recipe(data) == RECIPE
    assert write_recipe(read_recipe(data)) == data
    assert data.endswith(b"}\n")


def test_the_checkpoint_of_a_cell_is_found():
    """None for a cell without one."""
    assert RECIPE.checkpoint(1) is RECIPE.checkpoints[0]
    assert RECIPE.checkpoint(2) is None


def test_a_newer_version_is_refused_by_its_number():
    """The message names both versions and what to do."""
    value = json.loads(write_recipe(RECIPE))
    with pytest.raises(FormatError, match=r"version 2, this nbrw reads version 1; use a newer"):
        read_recipe(json.dumps({**value, "version": 2}).encode(), "image.sif")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{",
        b'{"format": "other"}',
        b'{"cells": []}',
        b'{"notebook": 5}',
    ],
)
def test_what_is_no_recipe_is_a_format_error_that_names_the_file(data):
    """With the exit code that the documentation promises."""
    with pytest.raises(FormatError, match="image.sif") as error:
        read_recipe(data, "image.sif")
    assert error.value.exit_code == EXIT_INTEGRITY


def test_another_format_is_not_taken_for_a_recipe():
    """Documents name their format."""
    with pytest.raises(FormatError, match=RECIPE_FORMAT):
        load_document(b'{"format": "nbrw.trace"}', RECIPE_FORMAT, 1, "there")
