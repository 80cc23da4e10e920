"""What the benchmarks compute from what they measure, and what their notebooks say they do."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.records import from_json

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def module(path):
    """A module of the benchmarks, which are no package."""
    name = "bench_" + path.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{path}.py")
    sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


figures = module("checkpoint/figures")
growth = module("plan/growth")
notebooks = module("checkpoint/bench_notebooks")


def one_round(hooks, size, wrong=()):
    """A round of a tool that restores all but some names right."""
    checks = {"x": 1.0, "y": 2.0}
    restored = {name: value for name, value in checks.items() if name not in wrong}
    return {
        "hooks": hooks,
        "finish": 0.0,
        "bytes": size,
        "checks": checks,
        "restored": {"": {"checks": restored, "used": 1.0}},
    }


def goal(results, text):
    """The goal whose text has this."""
    [found] = [found for found in figures.goals(results) if text in found.text]
    return found


def test_ratios_are_of_medians_over_the_rounds():
    """One slow round changes no ratio."""
    results = {
        "a": {
            "nbrw": [one_round([1.0], 10), one_round([90.0], 10), one_round([1.0], 10)],
            "dill": [one_round([4.0], 99)] * 3,
        }
    }
    assert goal(results, "checkpoint time").figure == 0.25
    assert goal(results, "checkpoint time").met == "yes"


def test_what_was_not_run_or_failed_meets_no_goal():
    """A contender that failed in one round, or is missing, leaves its goal unmeasured."""
    failed = {"failed": "from cell 3 on: TypeError"}
    results = {"a": {"nbrw": [one_round([1.0], 10)] * 2, "kishu-full": [failed] * 2}}
    assert goal(results, "full dumps").met == "not measured"
    assert goal(results, "checkpoint time").met == "not measured"
    assert figures.wrong(failed) == ["from cell 3 on: TypeError"]


def test_increments_that_lack_changes_are_no_measure_of_size():
    """The goal is against the smallest increments that restore every value."""
    results = {
        "a": {
            "nbrw": [one_round([1.0], 10)],
            "kishu-incremental": [one_round([1.0], 20)],
            "kishu-tracker": [one_round([1.0], 9, wrong=["y"])],
        }
    }
    assert goal(results, "increments").figure == 0.5
    results["a"]["kishu-tracker"] = [one_round([1.0], 9)]
    assert goal(results, "increments").met == "no"


def test_a_cost_that_grows_has_a_slope_and_noise_has_none():
    """The slope is what each cell adds; single slow cells do not count."""
    assert growth.slope([3.0 + 0.5 * n for n in range(400)]) == pytest.approx(0.5)
    assert growth.slope([100.0 if n % 40 == 0 else 2.0 for n in range(400)]) == 0
    assert growth.slope([1.0, 2.0]) == 0
    assert growth.windows([1.0] * 120, 50) == [(1, 1.0), (51, 1.0)]


@pytest.mark.parametrize("name", ["a", "one-array", "b", "c"])
def test_each_cell_changes_the_names_that_the_notebook_says(tmp_path, name):
    """%store is told to store what really changed, no more and no less."""
    command = [sys.executable, "drive.py", "record", "nbrw", name, tmp_path, "--scale", "0.001"]
    subprocess.run([*command, "--cells", "20"], cwd=BENCHMARKS / "checkpoint", check=True)
    for number, cell in enumerate(notebooks.notebooks(0.001, 20)[name].cells, 1):
        path = tmp_path / "checkpoints" / f"{number:04}.json"
        found = from_json(Checkpoint, json.loads(path.read_bytes()), str(path))
        changed = {n for stored in found.objects for n in stored.names if n[0] not in "_<"}
        assert changed == set(cell.changes), cell.source


def test_a_counted_cell_changes_one_percent():
    """Notebook (a) is 100 objects of one size, of which each counted cell changes one."""
    found = notebooks.notebooks()["a"]
    assert len(found.checks) == 100
    counted = found.cells[found.setup :]
    assert len(counted) == 20
    assert {len(cell.changes) for cell in counted} == {1}
