"""What a repeat from a cell needs: with nothing else it does as with everything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import NotFoundError, UsageError
from nbrw_runtime.left_behind import (
    LeftBehind,
    check_run,
    read_left_behind,
    write_left_behind,
)
from nbrw_runtime.needs import needs_of, outputs_in
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.plan import Request, make_plan
from repeat_harness import Repeat, audit

NOTEBOOKS = {
    "dead": [
        "a = list(range(1000))",
        "b = len(a)\ndead = a[:10]",
        "print(b)",
        "c = b + 1",
        "print(c)",
    ],
    "shared": ["x = [1]\ny = [x, 2]", "z = 'unused'", "y.append(3)", "print(x, y)"],
    "files": [
        "text = open('in.txt').read()",
        "open('out.txt', 'w').write(text * 2)\nspare = text * 100",
        "print(open('out.txt').read())",
    ],
    "functions": [
        "import math\nk = 2\ndef f(n):\n    return math.sqrt(n) * k",
        "class A:\n    def g(self):\n        return f(4)\na = A()\nunused = [0] * 100",
        "print(a.g())",
        "k = 3\nprint(f(9))",
    ],
    "anything": ["a = 1\nb = [2]", "c = 3", "print(sorted(n for n in globals() if len(n) == 1))"],
    "random": ["import random\nrandom.seed(1)", "a = random.random()", "print(random.random())"],
    "deleted": ["a = 1\nb = 2", "del a\nb = b + 1", "print(b)", "print(b + 1)"],
}  # fmt: skip
FILES = {"in.txt": "some text"}


@pytest.mark.parametrize(
    ("name", "start"),
    [(name, start) for name in NOTEBOOKS for start in range(1, len(NOTEBOOKS[name]) + 1)],
)
def test_with_what_it_needs_a_repeat_does_what_it_does_with_all(tmp_path, name, start):
    """The same cells run for the same reasons, and show the same; nothing is asked for twice."""
    sources = NOTEBOOKS[name]
    recipe, store = audit(tmp_path / "audit", sources, FILES)
    request = Request(start=start)
    whole = Repeat(tmp_path / "whole", recipe, store, sources, request, FILES)
    needs = needs_of(recipe, start)
    for digest in list(store):
        if digest not in needs.blobs and digest not in outputs_in(recipe):
            store._path(digest).chmod(0o644)
            store._path(digest).unlink()
    part = Repeat(tmp_path / "part", recipe, store, sources, request, FILES)
    assert part.actions == whole.actions
    assert [cell.reason for cell in part.report] == [cell.reason for cell in whole.report]
    assert part.outputs == whole.outputs
    assert part.notes == whole.notes == []
    assert needs.cells == tuple(range(start, len(sources) + 1))


def blobs_of(recipe, cell, name):
    stored = next(s for s in recipe.checkpoint(cell).objects if name in s.names)
    return set(stored.blobs)


def test_a_dead_variable_is_not_needed(tmp_path):
    """Neither one that nobody uses nor one that only cells used which are restored."""
    recipe, _ = audit(tmp_path, NOTEBOOKS["dead"], FILES)
    needs = needs_of(recipe, 3)
    assert blobs_of(recipe, 2, "b") <= needs.blobs
    assert not blobs_of(recipe, 1, "a") & needs.blobs
    assert not blobs_of(recipe, 2, "dead") & needs.blobs
    assert not blobs_of(recipe, 4, "c") & needs.blobs


def test_files_that_restored_cells_wrote_are_needed(tmp_path):
    """They are placed in the work directory, whoever reads them."""
    recipe, _ = audit(tmp_path, NOTEBOOKS["files"], FILES)
    assert recipe.checkpoint(2).files[0].digest in needs_of(recipe, 3).blobs


def test_data_are_needed_by_cells_that_read_them(tmp_path):
    """And by none after these; what is not known to be a cell's is needed by all."""
    recipe, _ = audit(tmp_path, NOTEBOOKS["files"], FILES)
    assert needs_of(recipe, 1).data
    assert not needs_of(recipe, 2).data
    dependencies = recipe.dependencies
    nobodys = tuple(replace(found, cells=()) for found in dependencies.data)
    recipe = replace(recipe, dependencies=replace(dependencies, data=nobodys))
    assert needs_of(recipe, 2).data


def test_outputs_that_the_recipe_has_are_not_needed(tmp_path):
    """They are given out as the very blobs that they are."""
    recipe, _ = audit(tmp_path, NOTEBOOKS["dead"], FILES)
    outputs = [{"output_type": "stream", "name": "stdout", "text": "1000\n"}]
    shown = recipe.checkpoint(3).outputs
    notebook = {**recipe.notebook, "cells": [dict(c) for c in recipe.notebook["cells"]]}
    notebook["cells"][2]["outputs"] = outputs
    assert shown in needs_of(recipe, 4).blobs
    recipe = replace(recipe, notebook=notebook)
    assert digest_bytes(outputs_in(recipe)[shown]) == shown
    assert shown not in needs_of(recipe, 4).blobs


def test_a_cell_that_is_not_there_is_refused(tmp_path):
    """As a repeat refuses it."""
    recipe, _ = audit(tmp_path, ["1"])
    with pytest.raises(UsageError, match="has cells 1 to 1"):
        needs_of(recipe, 2)


LEFT = LeftBehind(3, "nbrw pull docker://r/a@sha256:1 a", (1, 2), True, (1,))


@pytest.mark.parametrize("audited", [None, 1])
def test_a_cell_that_may_look_for_data_is_not_run_without_them(audited):
    """One that read some in the audit, and one that nobody knows: it is said what brings them."""
    with pytest.raises(NotFoundError, match=r"run cell 4 \(edited\): .*`nbrw pull docker:.* a`"):
        check_run(LEFT, 4, "edited", audited)


def test_other_cells_of_a_partial_image_run():
    """Known ones that never read any, and all where the data are there."""
    assert check_run(LEFT, 4, "--from 4", 4) == "--from 4"
    assert check_run(replace(LEFT, data=False), 4, "edited", None) == "edited"


def test_why_a_cell_runs_whose_checkpoint_was_left_behind_is_said():
    """With the command that brings it."""
    left = replace(LEFT, data=False)
    reason = "a blob of cell 2 is lost: read blob sha256:1: it is not in /x"
    assert check_run(left, 2, reason, 2) == f"{reason}; {left.remedy}"
    assert check_run(left, 3, reason, 3) == reason


def test_what_was_left_behind_is_written_and_read():
    """It is a versioned document."""
    assert read_left_behind(write_left_behind(LEFT)) == LEFT


def test_a_plan_of_a_partial_image_says_what_it_lacks(tmp_path):
    """Before anything runs."""
    sources = NOTEBOOKS["files"]
    recipe, _ = audit(tmp_path, sources, FILES)
    recipe = replace(recipe, left_behind=LEFT)
    cells = code_cells(recipe.notebook)
    make_plan(recipe, cells, Request(start=3))
    with pytest.raises(NotFoundError, match="brings it"):
        make_plan(recipe, cells, Request(start=1))
