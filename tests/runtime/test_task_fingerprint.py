"""Fingerprints of Dask tasks: the table of cases, in two interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fingerprint_cases import CASES

TESTS = Path(__file__).resolve().parents[1]


def table(directory, seed, python=sys.executable, *words):
    """What the program says of all cases, in another directory, home and hash seed."""
    directory.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(directory)}
    done = subprocess.run(
        [python, "-B", str(TESTS / "fingerprint_process.py"), *words],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The results of two interpreters."""
    place = tmp_path_factory.mktemp("fingerprints")
    return [table(place / "one", "1"), table(place / "another", "4242")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tasks_are_the_same_exactly_if_they_give_the_same_result(tables, case):
    """Each pair of cells has equal fingerprints, others or none, as its row says and why."""
    before, after = tables[0][case.name]
    if case.want not in ("same", "different"):
        assert [found.get("reason", "")[: len(case.want)] for found in before] == [case.want], (
            before
        )
        return
    assert not [found["reason"] for found in before + after if "reason" in found]
    assert (before == after) == (case.want == "same"), case.why
    if case.outside:
        drawn = " ".join(phrase for found in after for phrase in found["outside"])
        wanted = case.outside.lstrip("!")
        assert (wanted in drawn) == (not case.outside.startswith("!")), drawn


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_another_interpreter_comes_to_the_same_fingerprints(tables, case):
    """Neither hash seed nor directory, home or process is in a fingerprint."""
    if case.want in ("same", "different"):
        assert tables[0][case.name] == tables[1][case.name]


def pythons():
    """Other minor versions that are installed, by their own name or by pyenv."""
    minors = [minor for minor in range(10, 15) if minor != sys.version_info.minor]
    places = sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for minor in minors:
        name = f"python3.{minor}"
        found = [place / name for place in places if (place / name).exists()]
        yield name, str(found[-1]) if found else shutil.which(name)


@pytest.mark.parametrize(("name", "path"), list(pythons()), ids=lambda value: str(value)[-10:])
def test_other_pythons_keep_to_the_table(tables, tmp_path, name, path):
    """Bytecode differs between minor versions; what it tells apart does not."""
    if path is None or subprocess.run([path, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no {name} is installed")
    found = table(tmp_path / "other", "7", path, "--plain")
    assert len(found) > 60
    wrong = {
        case.name
        for case in CASES
        if case.name in found
        and (found[case.name][0] == found[case.name][1]) != (case.want == "same")
    }
    assert not wrong


def test_names_of_cases_are_unique():
    """No row hides another."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60
