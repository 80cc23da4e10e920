"""What a task does with files, as a worker sees it through Python."""

from __future__ import annotations

import os
import sys

import pytest

from nbrw_runtime import task_worker


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory that Python imports from, and keeps compiled modules in."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    task_worker._watch_files()
    yield tmp_path
    for name in ("made_up_one", "made_up_two"):
        sys.modules.pop(name, None)


def uses(function):
    """What it reads, and the first thing that it changes."""
    task_worker._uses.begin()
    try:
        function()
    finally:
        reads, changed = task_worker._uses.end()
    return set(reads), changed


def test_an_import_reads_the_source_and_changes_nothing(place):
    """Though Python lists its path and writes what it compiled; next time it reads only that."""
    source = place / "made_up_one.py"
    source.write_text("import os\nnames = os.listdir(os.path.dirname(__file__))\n")
    listing = f"{place}/"
    assert uses(lambda: __import__("made_up_one")) == ({str(source), listing}, "")
    assert (place / "__pycache__").is_dir()
    source.write_text("")
    (place / "made_up_two.py").write_text("")
    __import__("made_up_two")
    del sys.modules["made_up_two"]
    assert uses(lambda: __import__("made_up_two")) == ({str(place / "made_up_two.py")}, "")


def test_what_a_task_itself_lists_and_writes_counts(place):
    """Also of what Python imports from."""
    assert uses(lambda: os.listdir(place)) == ({f"{place}/"}, "")
    name = str(place / "made_up_one.py")
    assert uses(lambda: open(name, "w").close()) == (set(), name)
    assert uses(lambda: os.mkdir(place / "x")) == (set(), f"os.mkdir {place / 'x'}")
