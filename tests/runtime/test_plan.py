"""The plan: which cells are restored, which run, and the reason for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredFile, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import UsageError
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.plan import Request, make_plan
from nbrw_runtime.recipe import Environment, Recipe, RecipeCell

SOURCES = ["x = 1", "y = x + 1", "print(y)", "z = 3"]


def notebook(sources):
    return {"cells": [{"cell_type": "code", "source": s} for s in sources], "nbformat": 4}


def cells_of(sources):
    return code_cells(notebook(sources))


def stored(*names, refers=()):
    digest = digest_bytes(repr(names).encode())
    return StoredObject(names, digest, digest, refers=tuple(refers))


def omitted(name, kind="sqlite3.Connection"):
    return Omitted(name, kind, "it cannot be pickled")


def recipe_of(sources, objects=None, omissions=None, data=(), missing=()):
    cells = cells_of(sources)
    objects, omissions = objects or {}, omissions or {}
    return Recipe(
        notebook=notebook(sources),
        cells=tuple(RecipeCell(c.number, c.id, c.digest, c.source, c.tags) for c in cells),
        checkpoints=tuple(
            Checkpoint(
                cell=c.number,
                code=c.digest,
                objects=tuple(objects.get(c.number, ())),
                omitted=tuple(omissions.get(c.number, ())),
            )
            for c in cells
            if c.number not in missing
        ),
        environment=Environment("/usr/bin/python3", "/home/ada"),
        dependencies=Dependencies(data=tuple(data)),
    )


def actions(plan):
    return "".join({"restore": "r", "run": "X", "skip": "-"}[s.action.value] for s in plan.steps)


def plan_for(recipe, sources=None, changed=None, **request):
    sources = [c.source for c in recipe.cells] if sources is None else sources
    return make_plan(recipe, cells_of(sources), Request(**request), changed or {})


def test_an_unchanged_notebook_is_restored_whole():
    """Nothing has to run when nothing changed and nothing was asked for."""
    assert actions(plan_for(recipe_of(SOURCES))) == "rrrr"


def test_from_restores_the_cells_before_and_runs_the_rest():
    """``--from 3`` restores 1 and 2 and runs 3 and 4, and says that it was asked to."""
    plan = plan_for(recipe_of(SOURCES), start=3)
    assert actions(plan) == "rrXX"
    assert plan.steps[2].reason == "--from 3"


def test_all_runs_every_cell():
    """``--all`` restores nothing."""
    assert actions(plan_for(recipe_of(SOURCES), everything=True)) == "XXXX"


@pytest.mark.parametrize("start", [0, -1, 5])
def test_a_start_out_of_range_is_refused_with_the_range(start):
    """The sentence names the cells there are."""
    with pytest.raises(UsageError, match="cells 1 to 4"):
        plan_for(recipe_of(SOURCES), start=start)


def test_an_edited_cell_runs_and_those_that_use_what_it_makes():
    """An edit of cell 2 runs 2, and 3, which prints what 2 makes; 4 has nothing to do with it."""
    plan = plan_for(recipe_of(SOURCES), ["x = 1", "y = x + 2", "print(y)", "z = 3"])
    assert actions(plan) == "rXXr"
    assert plan.steps[1].audited is None
    assert plan.steps[2].reason == "it uses `y`, which cell 2 changed"


def test_cells_that_are_asked_for_run_alone():
    """``--cells 1,3`` runs these; what they give is foreseen to be what they gave."""
    assert actions(plan_for(recipe_of(SOURCES), cells=(1, 3))) == "XrXr"


def test_an_edit_before_the_requested_start_wins():
    """``--from 4`` does not restore state that the edited cell 2 would have changed."""
    plan = plan_for(recipe_of(SOURCES), ["x = 1", "y = 9", "print(y)", "z = 3"], start=4)
    assert actions(plan) == "rXXX"


def test_comments_and_spacing_are_no_edit():
    """Only what a cell does counts."""
    plan = plan_for(recipe_of(SOURCES), ["x=1  # one", "y = x+1", "\nprint( y )", "z = 3"])
    assert actions(plan) == "rrrr"


def test_a_changed_tag_is_an_edit():
    """Tags decide how a cell runs, so a cell with other tags is not the same."""
    recipe = recipe_of(SOURCES)
    raw = notebook(SOURCES)
    raw["cells"][2]["metadata"] = {"tags": ["raises-exception"]}
    assert actions(make_plan(recipe, code_cells(raw), Request())) == "rrXr"


def test_a_changed_input_file_runs_its_readers_and_who_uses_what_they_make():
    """The reason names the file and how it differs."""
    data = Data("/home/ada/d.csv", DataState.READ, cells=(2, 4))
    plan = plan_for(recipe_of(SOURCES, data=[data]), changed={"/home/ada/d.csv": "differs"})
    assert actions(plan) == "rXXX"
    assert "/home/ada/d.csv, which differs" in plan.steps[1].reason


def test_a_cell_without_a_checkpoint_runs_with_all_after_it():
    """An audit that was cut off leaves cells that only running can bring back."""
    assert actions(plan_for(recipe_of(SOURCES, missing=[3]))) == "rrXX"


def test_an_unstored_object_that_nobody_needs_leaves_its_cell_restored():
    """Only what is used must be there."""
    sources = ["conn = connect()", "y = 2", "print(y)"]
    recipe = recipe_of(sources, omissions={1: [omitted("conn")]})
    plan = plan_for(recipe, start=3)
    assert actions(plan) == "rrX"


def test_an_unstored_object_that_is_needed_is_made_again():
    """Cell 1 runs since cell 3 uses the connection that it made; cell 2 is restored."""
    sources = ["conn = connect()", "y = 2", "conn.execute(q)"]
    recipe = recipe_of(sources, omissions={1: [omitted("conn")]})
    plan = plan_for(recipe, start=3)
    assert actions(plan) == "XrX"
    assert "`conn` (sqlite3.Connection)" in plan.steps[0].reason


def test_a_cell_between_that_used_an_object_made_again_runs_too():
    """What cell 2 took from the author's connection may differ from what the new one gives."""
    sources = ["conn = connect()", "y = conn.read()", "conn.execute(y)"]
    recipe = recipe_of(sources, {2: [stored("y")]}, {1: [omitted("conn")]})
    assert actions(plan_for(recipe, start=3)) == "XXX"


def test_a_need_through_a_function_of_an_earlier_cell_is_seen():
    """Cell 3 calls f, whose body refers to the connection."""
    sources = ["conn = connect()", "def f(): return conn", "f()"]
    recipe = recipe_of(sources, {2: [stored("f", refers=["conn"])]}, {1: [omitted("conn")]})
    assert actions(plan_for(recipe, start=3)) == "XXX"


def test_making_an_object_again_makes_what_it_needs():
    """cur needs conn: both cells run."""
    sources = ["conn = connect()", "cur = conn.cursor()", "y = 5", "cur.fetch()"]
    recipe = recipe_of(sources, {3: [stored("y")]}, {1: [omitted("conn")], 2: [omitted("cur")]})
    assert actions(plan_for(recipe, start=4)) == "XXrX"


def test_a_name_bound_anew_to_something_stored_is_not_missing():
    """Only the last value before the start counts."""
    sources = ["c = connect()", "c = 5", "print(c)"]
    recipe = recipe_of(sources, {2: [stored("c")]}, {1: [omitted("c")]})
    assert actions(plan_for(recipe, start=3)) == "rrX"


@pytest.mark.parametrize("source", ["exec(code)", "%run other.py", "globals()['conn']"])
def test_code_that_may_use_any_name_uses_every_unstored_one(source):
    """In doubt, run again."""
    recipe = recipe_of(["conn = connect()", "y = 1", source], omissions={1: [omitted("conn")]})
    assert actions(plan_for(recipe, start=3)) == "XrX"


def test_a_file_that_is_not_stored_is_written_again():
    """A file cannot be seen in the source, so its cell always runs."""
    recipe = recipe_of(SOURCES, omissions={1: [omitted("file:/home/ada/big.bin", "file")]})
    assert actions(plan_for(recipe, start=4)) == "XrrX"


def test_an_empty_cell_is_skipped():
    """There is nothing to restore and nothing to run."""
    recipe = recipe_of(["x = 1", "", "print(x)"], missing=[2])
    assert actions(plan_for(recipe)) == "r-r"


def test_cells_appended_at_the_end_run_alone():
    """What was audited is restored."""
    plan = plan_for(recipe_of(SOURCES), [*SOURCES, "print(z)"])
    assert actions(plan) == "rrrrX"


def test_a_cell_that_wrote_outside_the_working_directory_runs_again():
    """Its file would have to be placed among the caller's; on the author's machine it is there."""
    recipe = recipe_of(SOURCES)
    first, *rest = recipe.checkpoints
    digest = digest_bytes(b"x")
    files = (StoredFile("/data/out.csv", digest, 1), StoredFile("/home/ada/in.csv", digest, 1))
    recipe = replace(recipe, checkpoints=(replace(first, files=files), *rest))
    plan = plan_for(recipe, start=3)
    assert actions(plan) == "XrXX"
    assert "/data/out.csv, outside the working directory" in plan.steps[0].reason
    assert actions(plan_for(recipe)) == "rrrr"
    at_home = make_plan(recipe, cells_of(SOURCES), Request(start=3), elsewhere=False)
    assert actions(at_home) == "rrXX"
