"""`nbrw-build --verify`: the fresh image is repeated before the build reports success."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from notebook_helper import command, environment, run, write_notebook

pytestmark = pytest.mark.integration
GOOD = "x = 0.1 + 0.2\nopen('x.txt', 'w').write(repr(x))\nprint(x)"
CLOCK = "import time\nprint('now')\nprint(time.time_ns())"
# The container has none of the caller's variables.
ONLY_HERE = "import os\nhere = 'NBRW_ONLY_HERE' in os.environ\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty directory, with a cache and a home of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NBRW_ONLY_HERE", "1")
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    return tmp_path / "work"


def build(place, out, *argv, code=0):
    """nbrw-build --verify --json; the image is not in the notebook's directory."""
    words = ("a.ipynb", "-o", f"../{out}", "--verify", "--json", *argv)
    done = run("nbrw-build", *words, cwd=place)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout), done.stderr


def outcomes(value):
    """What came of each cell."""
    return [cell["outcome"] for cell in value["verification"]["cells"]]


@pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs mksquashfs (squashfs-tools)")
def test_a_cell_that_does_not_repeat_is_found_and_recorded(place):
    """Exit code 4 and a sentence; the image is there, sound, and says which cell and in what."""
    write_notebook(place / "a.ipynb", GOOD, CLOCK, "print(x * 2)", "")
    value, errors = build(place, "a.sif", code=4)
    assert outcomes(value) == ["equal", "different", "equal"]
    assert value["verification"]["holds"] is False
    assert "verify ../a.sif: cell 2 did not repeat" in errors
    (found,) = value["verification"]["cells"][1]["differences"]
    assert found.startswith("stdout, line 2: `1")
    image = place.parent / "a.sif"
    assert run("nbrw", "verify", image).returncode == 0
    described = json.loads(run("nbrw", "inspect", "--json", image).stdout)
    assert described["verification"]["holds"] is False
    verified = [cell["verified"] for cell in described["cells"]]
    assert [v and v["outcome"] for v in verified] == ["equal", "different", "equal", None]
    assert verified[1]["differences"] == [found]
    shown = run("nbrw", "inspect", image).stdout
    assert "cell 2 does not repeat: stdout, line 2" in shown
    assert "verified: 2 of 3 cells repeat" in shown
    # Told nothing of it, a repeat is what it was.
    (place.parent / "other").mkdir()
    done = run("nbrw", "run", "--engine", "embedded", image, "repeat", cwd=place.parent / "other")
    assert done.returncode == 0 and "3 restored" in done.stdout, done.stdout + done.stderr


def test_two_builds_of_one_audit_that_repeat_give_the_same_bytes(place):
    """The record holds no time; the second build does not run the notebook again, only verifies."""
    write_notebook(place / "a.ipynb", GOOD, "# NBVAL_IGNORE_OUTPUT\n" + CLOCK)
    first, _ = build(place, "one")
    second, _ = build(place, "two")
    assert outcomes(first) == outcomes(second) == ["equal", "not compared"]
    assert first["verification"]["holds"] is True
    assert first["image"]["digest"] == second["image"]["digest"]
    assert set(first["seconds"]) == {"audit", "resolve", "pack", "verify", "record"}
    plain = run("nbrw-build", "a.ipynb", "-o", "../three", "--json", cwd=place)
    plain = json.loads(plain.stdout)
    assert plain["verification"] is None
    layers = [value["image"]["layers"] for value in (first, plain)]
    assert layers[0][:-1] == layers[1][:-1] and layers[0][-1] != layers[1][-1]


def test_the_container_has_nothing_of_the_authors(place):
    """Neither home nor /tmp nor variables; what the author has there is not touched."""
    (place.parent / "home/mine").touch()
    shared = Path(f"/tmp/nbrw-verify-{os.getpid()}")
    cells = (
        "import os\nprint('mine' in os.listdir(os.path.expanduser('~')))",
        f"with open({str(shared)!r}, 'a') as f:\n    f.write('x')",
        ONLY_HERE + "print(here)",
    )
    write_notebook(place / "a.ipynb", *cells)
    try:
        value, _ = build(place, "a", code=4)
        assert shared.read_text() == "x"
    finally:
        shared.unlink(missing_ok=True)
    assert outcomes(value) == ["different", "equal", "different"]
    for number in (0, 2):
        found = value["verification"]["cells"][number]["differences"]
        assert found == ["stdout, `False` instead of `True`"]


def test_a_cell_that_fails_in_the_container_ends_with_4(place):
    """It does not repeat, and those after it were not run; the notebook itself did not fail."""
    write_notebook(place / "a.ipynb", GOOD, ONLY_HERE + "assert here, 'elsewhere'", "print(1)")
    value, errors = build(place, "a", code=4)
    assert outcomes(value) == ["equal", "failed", "not run"]
    assert "AssertionError: elsewhere" in value["verification"]["cells"][1]["differences"][0]
    assert "cells 2, 3 did not repeat" in errors


def test_the_tolerance_is_the_authors_and_is_recorded(place):
    """Whoever reads the record knows what equal means there."""
    cells = [ONLY_HERE + f"print(1.5 if here else {other})" for other in (1.5001, 1.6)]
    write_notebook(place / "a.ipynb", *cells)
    value, _ = build(place, "a", "--tolerance", "1e-3,1e-9", code=4)
    assert outcomes(value) == ["equal", "different"]
    assert value["verification"]["tolerance"] == {"relative": 1e-3, "absolute": 1e-9}


def test_what_is_missing_to_verify_is_said_before_the_notebook_runs(place):
    """Exit code 5: no engine for a SIF; exit code 2: what is no tolerance."""
    write_notebook(place / "a.ipynb", "open('ran', 'w').close()")
    programs = place.parent / "bin"
    programs.mkdir()
    (programs / "mksquashfs").symlink_to("/bin/true")
    words = ("a.ipynb", "-o", "../a.sif", "--verify")
    done = run("nbrw-build", *words, cwd=place, PATH=str(programs))
    assert done.returncode == 5 and "embedded: needs unsquashfs" in done.stderr, done.stderr
    done = run("nbrw-build", *words, "--tolerance", "wide", cwd=place)
    assert done.returncode == 2 and "RELATIVE,ABSOLUTE" in done.stderr
    assert sorted(os.listdir(place)) == ["a.ipynb"]


def test_an_interrupted_verification_leaves_a_whole_image_and_nothing_else(place):
    """Exit code 130; no process and no directory of the repeat is left."""
    source = ONLY_HERE + "import time\nif not here:\n    open('slow', 'w').close()\n"
    write_notebook(place / "a.ipynb", source + "    time.sleep(300)")
    child = subprocess.Popen(
        [*command("nbrw-build"), "a.ipynb", "-o", "../a", "--verify"],
        cwd=place, env=environment(), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    cache = place.parent / "cache/nbrw"
    deadline = time.monotonic() + 200
    while not list(cache.glob(".verify.*/work/slow")):
        assert time.monotonic() < deadline and child.poll() is None, child.communicate()
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    assert not list(cache.glob(".verify.*"))
    assert not of_directory(str(cache))
    assert run("nbrw", "verify", place.parent / "a").returncode == 0


def of_directory(top):
    """Processes that work below a directory, after a moment's patience."""
    deadline = time.monotonic() + 20
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if os.readlink(path).startswith(top):
                    found.append(path.parent.name)
            except OSError:
                pass
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
