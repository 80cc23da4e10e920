"""The state that a repeat restores is the author's: by content and by sharing, after each cell, in
another process, another directory, as another user, with another hash seed. Kind by kind of object
(`state_rows.py`): each is stored, or recorded as what cannot be.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from state_rows import ROWS

pytestmark = pytest.mark.integration
PROGRAM = Path(__file__).resolve().parents[1] / "state_process.py"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
          "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")  # fmt: skip


def run(words, seed, home, prefix=()):
    """What the program says, in a process with this hash seed."""
    environment = {
        **os.environ, "PYTHONHASHSEED": str(seed), "HOME": str(home), "MPLCONFIGDIR": str(home),
        "IPYTHONDIR": str(home / "ipython"), "PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg",
    }  # fmt: skip
    done = subprocess.run(
        [*prefix, sys.executable, str(PROGRAM), *map(str, words)],
        env=environment, cwd=home, capture_output=True, text=True, timeout=540,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place():
    """A directory that every user may enter."""
    made = Path(tempfile.mkdtemp(prefix="nbrw-state-"))
    made.chmod(0o755)
    for name in ("audit", "again", "home"):
        (made / name).mkdir()
    (made / "repeat").mkdir()
    (made / "repeat").chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def audited(place):
    """What the cells of each row left, and how that was stored."""
    found = run(["author", place / "audit"], 1, place / "home")
    (place / "audit/author.json").write_text(json.dumps(found))
    for path in (place / "audit").rglob("*"):
        path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))
    return found


@pytest.fixture(scope="module")
def restored(place, audited):
    """What a repeat made of it, elsewhere, as another user if this one may become one."""
    other = os.geteuid() == 0 and shutil.which("setpriv") is not None
    words = ["restore", place / "audit", place / "repeat/work"]
    found = run(words, 2, place / "repeat", NOBODY if other else ())
    if other:
        owners = {path.stat().st_uid for path in (place / "repeat/work").rglob("*")}
        assert owners == {65534}
    return found


@pytest.fixture(scope="module")
def again(place):
    """The audit once more, with another hash seed."""
    return run(["identities", place / "again"], 3, place / "home")


def of(found, row):
    """A row's part of what a process said."""
    if row.needs and importlib.util.find_spec(row.needs) is None:
        pytest.skip(f"{row.needs} is not installed")
    value = found[row.kind]
    assert isinstance(value, list), value["failed"]
    return value


each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.replace(" ", "-"))


@each
def test_each_kind_is_stored_or_recorded_as_the_table_says(row, audited):
    """By the C pickler, by dill, or not, with the reason; nothing is lost without a word."""
    cells = of(audited, row)
    omitted = cells[-1]["omitted"]
    assert set(omitted) == set(row.omitted), omitted
    for name, word in row.omitted.items():
        assert word in omitted[name]
    by_dill = {name for name, codec in cells[-1]["codecs"].items() if codec == "dill"}
    assert by_dill == set(row.dill)
    assert set(cells[-1]["names"]) <= {n for cell in cells for n in cell["codecs"]}


def differing(mine, theirs):
    """The lines in which two graphs differ."""
    if mine == theirs:
        return []
    if isinstance(mine, dict) or isinstance(theirs, dict):
        return [mine, theirs]
    lines = difflib.unified_diff(mine.splitlines(), theirs.splitlines(), "author", "repeat", n=0)
    return list(lines)


@each
def test_the_state_after_each_cell_is_the_authors(row, audited, restored):
    """The graphs of all names are equal: content, and which places hold one object."""
    for mine, theirs in zip(of(audited, row), of(restored, row), strict=True):
        assert differing(mine["graph"], theirs["graph"]) == []


@each
def test_names_that_are_brought_alone_are_the_authors(row, audited, restored):
    """What one cell left together, brought into a kernel that has nothing else."""
    for mine, theirs in zip(of(audited, row), of(restored, row), strict=True):
        for group, graph in mine["groups"].items():
            assert differing(graph, theirs["groups"][group]) == []


@each
def test_what_a_cell_does_not_touch_is_not_stored_again(row, audited):
    """To look at an object does not change it, nor what is said of it."""
    assert of(audited, row)[-1]["stored again"] == []


@each
def test_the_same_content_has_the_same_identity_in_another_process(row, audited, again):
    """Else cells would run again although nothing changed."""
    if row.placed:
        pytest.skip("its content names the place that it was made in")
    for mine, theirs in zip(of(audited, row), of(again, row), strict=True):
        assert mine["identities"] == theirs["identities"]
