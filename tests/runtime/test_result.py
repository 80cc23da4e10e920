"""What a result says, and which environment it holds in."""

from dataclasses import replace

import pytest

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import Environment, Recipe, RecipeLayer
from nbrw_runtime.result import (
    Result,
    environment_digest,
    lasting_variables,
    read_result,
    write_result,
)

CODE = digest_bytes(b"code")
RESULT = Result(
    CODE, "ab" * 32, Checkpoint(1, CODE), {"a": "1", "b": None}, files={"/x": None, "/y": "d"}
)


def layer(name, content, **more):
    return RecipeLayer(name, digest_bytes(content), len(content), **more)


RECIPE = Recipe(
    notebook={}, cells=(), checkpoints=(),
    environment=Environment("/nbrw/root/venv/bin/python", "/home/ada", variables={"TZ": "UTC"}),
    layers=(layer("system", b"1"), layer("runtime", b"2")),
)  # fmt: skip


def test_a_result_is_read_as_it_was_written():
    """None is kept apart from absent."""
    assert read_result(write_result(RESULT), "x") == RESULT
    assert read_result(write_result(replace(RESULT, inputs=None)), "x").inputs is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"key": 1}', b'{"version": 2}'])
def test_what_is_no_result_is_refused(data):
    """By its place."""
    with pytest.raises(FormatError, match="read somewhere"):
        read_result(data, "somewhere")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"key": "cd" * 32}, False), ({"environment": digest_bytes(b"")}, False),
        ({"inputs": {"a": "1"}}, False), ({"inputs": None}, False),
        ({"conditions": {"a": "1"}}, False), ({"files": {"/y": "d"}}, False),
        ({"listings": {"/": ""}}, False), ({"hidden": "x"}, True), ({"title": "x"}, True),
        ({"checkpoint": Checkpoint(2, CODE)}, True),
    ],
)  # fmt: skip
def test_identity_is_what_the_cell_depended_on(change, same):
    """What it did then is what two results with one identity may differ in."""
    assert (replace(RESULT, **change).identity == RESULT.identity) is same


def test_cells_and_recipe_do_not_count_for_the_environment():
    """An image of the edited notebook shares the results."""
    more = (
        layer("cell 1", b"3", cells=(1,), directory="/nbrw.abc"),
        layer("cells", b"5", directory="/nbrw.def"),
        layer("recipe", b"4", directory="/nbrw.recipe"),
    )
    edited = replace(RECIPE, layers=RECIPE.layers + more, title="other", notebook={"cells": []})
    assert environment_digest(edited) == environment_digest(RECIPE)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": (layer("system", b"1"), layer("runtime", b"new"))},
        {"layers": (layer("system", b"1"), layer("runtime", b"2"), layer("data", b"5"))},
        {"layers": tuple(reversed(RECIPE.layers))},
        {"environment": replace(RECIPE.environment, variables={"TZ": "CET"})},
        {"environment": replace(RECIPE.environment, python="/usr/bin/python3")},
    ],
)
def test_other_software_is_another_environment(change):
    """And so is another interpreter, and other variables of the author's."""
    assert environment_digest(replace(RECIPE, **change)) != environment_digest(RECIPE)


def test_the_callers_variables_and_directory_count():
    """But not what changes from one login to the next, or lies in this repeat's own directory."""
    one = environment_digest(RECIPE, {"OMP_NUM_THREADS": "1"})
    assert one != environment_digest(RECIPE, {"OMP_NUM_THREADS": "2"})
    assert one != environment_digest(RECIPE)
    noisy = {
        "OMP_NUM_THREADS": "1", "SSH_TTY": "/dev/pts/7", "HOSTNAME": "5d2f", "_": "/usr/bin/env",
        "HOME": "/tmp/nbrw-repeat-x/home", "APPTAINER_NAME": "a.sif",
    }  # fmt: skip
    assert one == environment_digest(RECIPE, noisy, scratch="/tmp/nbrw-repeat-x")
    assert one != environment_digest(RECIPE, {"OMP_NUM_THREADS": "1"}, cwd="/work")


def test_lasting_variables():
    """What a notebook may compute with."""
    found = {"LANG": "C", "TERM": "xterm", "XDG_SESSION_ID": "4", "MY_SETTING": "x"}
    assert lasting_variables(found) == {"LANG": "C", "MY_SETTING": "x"}
