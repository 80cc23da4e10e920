"""What `inspect` says of an image."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredFile, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies, LeftOut, Software, SoftwareKind
from nbrw_runtime.describe import describe, describe_text, first_line
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.recipe import Environment, Recipe, RecipeCell, RecipeLayer
from nbrw_runtime.task_summary import CellTasks, LabelTasks
from nbrw_runtime.tolerance import Tolerance
from nbrw_runtime.units import human_size
from nbrw_runtime.verification import Verification, VerifiedCell

BLOB = digest_bytes(b"x")
SOURCES = ["# load\nimport pandas as pd\n", "conn = connect()", "print(1)"]
RECIPE = Recipe(
    notebook={"cells": []},
    cells=tuple(RecipeCell(n, f"id{n}", cell_digest(s), s) for n, s in enumerate(SOURCES, 1)),
    checkpoints=(
        Checkpoint(
            1,
            cell_digest(SOURCES[0]),
            objects=(
                StoredObject(("df", "view"), BLOB, BLOB, size=2_500_000, types=("a.B", "c.D")),
                StoredObject(("wrapper",), BLOB, BLOB, codec="dill"),
            ),
            files=(StoredFile("/home/ada/out.csv", BLOB, 500_000),),
            seconds=3.25,
        ),
        Checkpoint(
            2,
            cell_digest(SOURCES[1]),
            objects=(StoredObject(("<nbrw:random>",), BLOB, BLOB, size=10),),
            omitted=(Omitted("conn", "sqlite3.Connection", "it is bound to this process"),),
        ),
    ),
    environment=Environment("/usr/bin/python3", "/home/ada", python_version="3.11.2"),
    dependencies=Dependencies(
        software=(Software(SoftwareKind.DISTRIBUTION, "pandas", "2.2.0", cells=(1,)),),
        data=(
            Data("/home/ada/in.csv", DataState.READ, (1,), digest=BLOB, size=1000),
            Data("/home/ada/no.csv", DataState.ABSENT, (1,)),
        ),
        left_out=(LeftOut("/home/ada/.netrc", "it may hold credentials"),),
        network=("192.0.2.1:443",),
        notes=("a child was not traced",),
    ),
    layers=(RecipeLayer("system", BLOB, 81_000_000),),
    title="climate",
)


def test_a_verification_is_described():
    """Cell by cell, and as lines for people; an image that was not verified says nothing."""
    assert describe(RECIPE)["verification"] is None
    assert "verified" not in describe_text(describe(RECIPE))
    cells = (
        VerifiedCell(1, "equal"), VerifiedCell(2, "different", ("stdout, `b` instead of `a`",)),
        VerifiedCell(3, "not compared"),
    )  # fmt: skip
    value = describe(replace(RECIPE, verification=Verification(Tolerance(1e-6), cells)))
    value = json.loads(json.dumps(value))
    assert value["verification"]["holds"] is False
    assert value["verification"]["tolerance"] == {"relative": 1e-6}
    assert value["cells"][1]["verified"] == {
        "outcome": "different", "differences": ["stdout, `b` instead of `a`"],
    }  # fmt: skip
    assert (
        "cell 2 does not repeat: stdout, `b` instead of `a`\n"
        "verified: 1 of 3 cells repeat, numbers within 1e-06 of the larger\n"
    ) in describe_text(value)


def test_a_description_is_json_and_tells_what_each_cell_stored():
    """Names, sizes and what is missing, with the reason; a cell without checkpoint says so."""
    value = json.loads(json.dumps(describe(RECIPE)))
    first, second, third = value["cells"]
    assert first["stored"][0]["names"] == ["df", "view"]
    assert [item["codec"] for item in first["stored"]] == ["pickle", "dill"]
    assert first["size"] == 3_000_000
    assert first["files"] == [{"path": "/home/ada/out.csv", "size": 500_000}]
    assert second["omitted"][0]["name"] == "conn"
    assert (third["status"], third["seconds"]) == ("not stored", None)
    assert value["data"][1]["state"] == "absent"
    assert value["layers"][0]["size"] == 81_000_000


def test_the_text_names_everything_a_reader_needs():
    """Cells, gaps, data, what was left out, peers, notes and layers."""
    text = describe_text(describe(RECIPE))
    for part in (
        "climate\nPython 3.11.2, audited in /home/ada",
        "df, view",
        "3 MB",
        "import pandas as pd",
        "cell 2: conn (sqlite3.Connection) is not stored: it is bound to this process",
        "cell 1: wrapper stored by dill",
        "software: 1 distribution",
        "data read: 1 files, 1 kB",
        "data absent: 1 files",
        "left out: /home/ada/.netrc: it may hold credentials",
        "network: 192.0.2.1:443",
        "note: a child was not traced",
        "81 MB",
    ):
        assert part in text
    assert "<nbrw:" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_dask_tasks_are_counted():
    """How many, how many of them are stored, why others are not, and which run every time."""
    assert "Dask tasks" not in describe_text(describe(RECIPE))
    found = CellTasks(
        2, 27, 20, 1_230_000, 12.25,
        {"it takes longer to store and load than to compute": 5},
        {"it changes something outside": 2},
        (LabelTasks("risk_score", 27, 20, 1_230_000, 12.25),),
    )  # fmt: skip
    value = json.loads(json.dumps(describe(replace(RECIPE, tasks=(found,)))))
    assert value["cells"][0]["tasks"] == {}
    assert value["cells"][1]["tasks"] == {
        "number": 27, "stored": 20, "size": 1_230_000, "seconds": 12.25,
        "not_stored": {"it takes longer to store and load than to compute": 5},
        "unsafe": {"it changes something outside": 2},
        "labels": [{"label": "risk_score", "number": 27, "stored": 20, "size": 1_230_000,
                    "seconds": 12.25}],
    }  # fmt: skip
    assert (
        "  cell 2: 27 Dask tasks of 12.2 s, 20 stored (1.23 MB); not stored: quicker to compute "
        "than to load (5)\n"
        "  cell 2: tasks that run in every repeat, with what uses them: it changes something "
        "outside (2)\n"
    ) in describe_text(value)


def test_an_empty_notebook_is_described():
    """A notebook without code cells has an image too."""
    recipe = Recipe({"cells": []}, (), (), Environment("/usr/bin/python3", "/"))
    assert "software: none recorded" in describe_text(describe(recipe))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("", ""),
        ("\n\n  x = 1\ny", "x = 1"),
        ("# only\n# words", "# only"),
        ("# why\n%matplotlib inline", "%matplotlib inline"),
    ],
)
def test_the_first_line_is_the_first_that_does_something(source, line):
    """Comments only count if there is nothing else."""
    assert first_line(source) == line


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (1_234_567, "1.23 MB"),
     (12_345_678_901, "12.3 GB"), (5_000_000_000_000_000, "5e+03 TB")],
)  # fmt: skip
def test_sizes_have_three_digits(size, text):
    """Decimal units, as disks and networks are sold."""
    assert human_size(size) == text
