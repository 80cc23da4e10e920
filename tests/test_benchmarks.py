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
# Modules of one benchmark import each other by their bare names, which are no other's.
for _name in ("tasks", "cluster"):
    sys.path.append(str(BENCHMARKS / _name))


def module(path):
    """A module of the benchmarks, which are no package."""
    name = "bench_" + path.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{path}.py")
    sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


cluster = module("cluster/run")
figures = module("checkpoint/figures")
growth = module("plan/growth")
notebooks = module("checkpoint/bench_notebooks")
task_edits = module("tasks/edits")
task_figures = module("tasks/figures")
task_workloads = module("tasks/workloads")


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


def task_round(seconds, micros, tasks=1000):
    """A round of a notebook with tasks."""
    graph = {"tasks": tasks, "rewriting": micros * tasks / 1e6, "fingerprints": 0, "cpu": 0}
    return {"seconds": [2.0, 0.1, seconds], "probe": {"graphs": [graph], "shipped": 0.1}}


def test_goals_of_tasks_are_of_the_worst_that_was_measured():
    """A cost per task that doubles with ten times the tasks is not linear."""
    small, large = (task_workloads.Workload("map", size) for size in (1000, 10_000))
    slow = task_workloads.Workload("map", 1000, "sleep", 0.05)
    results = {
        small.name: {"cold": [task_round(1, 20)], "warm": [task_round(1, 30)] * 3},
        large.name: {"cold": [task_round(9, 20, 10_000)], "warm": [task_round(9, 60, 10_000)]},
        slow.name: {"plain": [task_round(25, 0)], "cold": [task_round(26, 20)],
                    "warm": [task_round(1, 20)]},
    }  # fmt: skip
    micros, slope, cold, warm = task_figures.goals(results, [small, large], [small, slow])
    assert (micros.figure, micros.met) == (pytest.approx(60), "yes")
    assert slope.figure == pytest.approx(1.301, abs=0.001) and slope.met == "no"
    assert (cold.figure, cold.met) == (pytest.approx(1.04), "yes")
    assert (warm.figure, warm.met) == (pytest.approx(25), "yes")
    goals = task_figures.goals({}, [small], [slow])
    assert {goal.met for goal in goals} == {"not measured"}


@pytest.mark.parametrize(
    ("again", "after", "words", "stale"),
    [
        ((1, 0.0), (2, 0.9), "right", False),
        ((1, 0.0), (1, 0.0), "stale", True),
        ((1, 0.9), (2, 0.9), "never loaded", False),
        ((2, 0.0), (2, 0.0), "wrong without an edit", True),
    ],
)
def test_a_result_of_before_an_edit_is_stale(again, after, words, stale):
    """And one that is right proves nothing where no result is ever used again."""
    runs = [{"out": out, "seconds": seconds} for out, seconds in ((1, 0.9), again, after)]
    found = task_figures.judged(*runs, right=(1, 2), loaded=0.7)
    assert (found.words, found.stale) == (words, stale)
    runs[2] = {"failed": "ValueError: unknown"}
    assert task_figures.judged(*runs, (1, 2), 0.7).words == "fails: ValueError: unknown"


@pytest.mark.parametrize("edit", task_edits.EDITS, ids=lambda edit: edit.name)
def test_an_edit_gives_the_results_that_it_says(edit, tmp_path, monkeypatch):
    """Without any cache: else the table of wrong results is wrong."""
    monkeypatch.syspath_prepend(tmp_path)
    for edited, right in ((False, edit.before), (True, edit.after)):
        for name, text in edit.contents(edited).items():
            tmp_path.joinpath(name).write_text(text)
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
            importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        space = {"__name__": "__main__"}
        exec(edit.source(edited, str(tmp_path)), space)
        space["wait"].__code__ = (lambda: None).__code__
        assert space["pipeline"](lambda function, *args: function(*args)) == right


def test_a_start_on_a_cluster_is_measured_against_its_own_peer(capsys):
    """By medians; a goal that one of the two ways misses is named."""
    seconds = {contender.name: 2.0 for contender in cluster.CONTENDERS}
    found = {name: [{"first": s, "all": s}] * 3 for name, s in seconds.items()}
    assert cluster.report(found, 8) == 0
    slow = "repeat --cluster slurm"
    found[slow] = [{"first": s, "all": 9.0} for s in (3.2, 90.0, 1.0)]
    assert cluster.report(found, 8) == 1
    said = capsys.readouterr().out
    assert f"Goal missed: {slow}: 1.60 of the peer's time" in said and said.count("missed") == 1
    found[slow] = [{"first": 2.9, "all": 9.0}] * 3
    assert cluster.report(found, 8) == 0


def test_what_runs_on_a_cluster_is_shell(tmp_path):
    """Each contender's lines, with the number of workers in their place."""
    for contender in cluster.CONTENDERS:
        text = contender.command(8)
        assert "{" + "workers}" not in text and "8" in text
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.integration
def test_notebooks_of_tasks_come_to_what_they_must(tmp_path):
    """Of every shape: plain, stored, loaded, and edited; the counts are those of the edit."""
    pytest.importorskip("distributed")
    command = [sys.executable, "run.py", "--quick", "--parts", "costs", "--work", tmp_path]
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [*command, "--json", file], cwd=BENCHMARKS / "tasks", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())["results"]
    counts = {
        name: [sum(c[what] for c in variants[variant][0]["tasks"].values())
               for variant, what in (("cold", "run"), ("warm", "run"), ("edited", "loaded"))]
        for name, variants in found.items()
    }  # fmt: skip
    assert counts["map 40 trivial"] == [40, 0, 20]
    for name, (cold, warm, loaded) in counts.items():
        assert cold >= 20 and warm == 0 and loaded < cold, name
        # The edit reaches every block of an array or frame.
        assert loaded > 0 or name.startswith(("array", "frame")), name
