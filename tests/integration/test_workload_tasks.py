"""The five workloads of examples/, with small data: built, repeated unchanged and with changes.

Each change executes the tasks that it reaches, no others, and gives what a plain run gives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest

import executed_tasks
from notebook_helper import ROOT, environment, run, write_notebook

sys.path.insert(0, str(ROOT / "benchmarks/repeat"))
from check import results, wrong  # noqa: E402
from oracle import labels, reached, tasks_of  # noqa: E402
from workload import NAMES, Workload  # noqa: E402

#: A change of each, and the cells that it makes run.
CHANGES = {
    "dv5": ("correlators of fewer points", [5, 7, 8, 10, 11, 12, 13]),
    "mapreduce": ("the reduce function", [6, 7, 8, 9, 11]),
    "dconv": ("the kernel of a quarter", [4, 6, 7, 8]),
    "rag": ("one book", [6, 7, 8, 9, 10, 11, 12, 14, 15]),
    "ctrend": ("one station", [7, 8, 9, 10, 11]),
}
#: To load such results takes longer than to compute them. Which they are may depend on the machine.
CHEAP = "its result was not stored"


@pytest.fixture(scope="module", params=NAMES)
def image(request, tmp_path_factory):
    """A workload and its image; beside that the data."""
    workload = Workload(request.param)
    place = tmp_path_factory.mktemp(workload.name)
    workload.make_data(place / "data", small=True)
    author = workload.lay_out(place / "author", place / "data").parent
    shutil.copy(executed_tasks.__file__, place)  # (where the image's programs see it, too)
    words = (f"{workload.name}.ipynb", "-o", "../image", "--minimal", "--compression", "none")
    done = run("nbrw-build", *words, cwd=author, **variables(place, ""))
    assert done.returncode == 0, done.stderr
    return workload, place / "image"


def variables(place, prefix="APPTAINERENV_"):
    """Workers say what they execute; also those of an image."""
    preload = str(place / "executed_tasks.py")
    name = f"{prefix}DASK_DISTRIBUTED__WORKER__PRELOAD"
    return {"XDG_CACHE_HOME": str(place / "cache"), name: preload}


def repeated(place, image, words):
    """Repeat in a new directory; the tasks that ran, by label, the report, and whether a worker
    was started. (nbrw's own tasks write what futures have to files.)
    """
    log = place / "cache" / executed_tasks.DIRECTORY
    shutil.rmtree(log, ignore_errors=True)
    shutil.rmtree(place / "cache/nbrw/results", ignore_errors=True)
    words = ("run", "--engine", "embedded", image, "repeat", "--json", *words)
    done = run("nbrw", *words, cwd=place / "work", **variables(place))
    assert done.returncode == 0, done.stdout + done.stderr
    ran = Counter()
    for path in log.glob("*"):
        for label, function in map(json.loads, path.read_text().splitlines()):
            ran[label] += function != "load" and not label.startswith("nbrw-")
    return +ran, json.loads(done.stdout), log.exists()


def counts_of(report):
    """What became of the tasks of each cell that had some."""
    return [cell["tasks"] for cell in report["cells"] if cell.get("tasks")]


@pytest.mark.integration
def test_unchanged_no_cell_runs(image):
    """Outputs and files are the author's."""
    workload, path = image
    work = path.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    ran, report, started = repeated(path.parent, path, [])
    assert {cell["action"] for cell in report["cells"]} == {"restored"}
    assert not ran and not started
    assert results(work) == results(path.parent / "author")


def check_results(workload, place, change, report):
    """Those cells run that a change reaches, and outputs and files are those of a plain run."""
    name, cells = CHANGES[workload.name]
    if change.name == name:
        assert [c["cell"] for c in report["cells"] if c["action"] == "run"] == cells, report
        assert not report["equal"]  # the change can be seen
        plain = workload.lay_out(place / "plain", place / "data", change)
        command = [sys.executable, ROOT / "benchmarks/repeat/plain.py", plain, plain]
        subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=300)
        assert wrong(plain, place / f"work/{workload.name}.repeat.ipynb") == []


@pytest.mark.integration
def test_each_change_executes_exactly_the_tasks_that_it_reaches(image):
    """By the workers' own account, by label; the report has the same number. All others are
    loaded, or not needed for those that are; if none is reached, no worker is started.
    """
    workload, path = image
    place = path.parent
    tasks = tasks_of(workload.name, place / "data")
    for change in workload.changes:
        shutil.rmtree(place / "work", ignore_errors=True)
        words = workload.lay_out_change(place / "work", place / "data", change)
        ran, report, started = repeated(place, path, words)
        check_results(workload, place, change, report)
        counts = counts_of(report)
        must = labels(tasks, reached(tasks, change.touched))
        assert started == bool(must), change.name
        why = Counter()
        for count in counts:
            why.update({reason.partition(":")[0]: n for reason, n in count["misses"].items()})
        # A worker is given what is below a task that ran, and loads it if that came to the same.
        anew, same = (sum(count[kind] for count in counts) for kind in ("run", "same"))
        assert ran.total() == anew + same, (change.name, ran, counts)
        assert ran >= must and (ran - must).total() == why[CHEAP], (change.name, ran, why)
        if counts:
            seen = sum(count[kind] for count in counts for kind in ("loaded", "run", "needless"))
            assert seen == len(tasks), change.name


START = """
from dask.distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
client = Client(cluster)
"""
TASKS = """
import dask.array as da, time
def slow(x):
    time.sleep(0.05)
    return x + 1
parts = client.map(slow, range(6))
total = client.submit(sum, parts)
mean = da.ones((40, 40), chunks=20).map_blocks(slow, dtype=float).mean().persist()
print(total.result(), mean.compute())
"""
USES = "print(sum(client.gather(parts)), total.result(), (mean * 1).compute())"


@pytest.mark.integration
@pytest.mark.parametrize("edited", [1, 2], ids=["cell with tasks", "cell with their futures"])
def test_where_all_results_are_known_a_cell_runs_without_any_worker(tmp_path, edited):
    """Also one that uses the futures of a restored cell."""
    cells = [START, TASKS, USES]
    (tmp_path / "author").mkdir()
    (tmp_path / "work").mkdir()
    shutil.copy(executed_tasks.__file__, tmp_path)
    write_notebook(tmp_path / "author/small.ipynb", *cells)
    words = ("small.ipynb", "-o", "../image", "--minimal", "--compression", "none")
    done = run("nbrw-build", *words, cwd=tmp_path / "author", **variables(tmp_path, ""))
    assert done.returncode == 0, done.stderr
    cells[edited] += "\nprint('edited')"
    write_notebook(tmp_path / "work/edited.ipynb", *cells)
    ran, report, started = repeated(tmp_path, tmp_path / "image", ["edited.ipynb"])
    counts = counts_of(report)
    assert not ran and not started
    assert sum(count["loaded"] for count in counts) and not any(c["run"] for c in counts)


CLUSTER_AND_FILES = """
import tempfile, time
from dask.distributed import Client, LocalCluster
def slow(x):
    time.sleep(0.05)
    return x + 1
with tempfile.TemporaryFile() as stream, tempfile.TemporaryDirectory() as directory:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            total = client.submit(sum, client.map(slow, range(6))).result()
print(total)
"""


@pytest.mark.integration
def test_what_a_cell_with_a_cluster_and_temporary_files_computed_is_kept(tmp_path):
    """What it makes and removes again, and what Dask does in its scratch space, is no change."""
    (tmp_path / "author").mkdir()
    (tmp_path / "work").mkdir()
    write_notebook(tmp_path / "author/small.ipynb", "a = 1", CLUSTER_AND_FILES)
    words = ("small.ipynb", "-o", "../image", "--minimal", "--compression", "none")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run("nbrw-build", *words, cwd=tmp_path / "author", **cache)
    assert done.returncode == 0, done.stderr
    edited = CLUSTER_AND_FILES.replace("x + 1", "x + 2")
    write_notebook(tmp_path / "work/edited.ipynb", "a = 1", edited)
    words = ("run", "--engine", "embedded", tmp_path / "image", "repeat", "--json", "edited.ipynb")
    actions = []
    for _ in range(2):
        done = run("nbrw", *words, cwd=tmp_path / "work", **cache)
        assert done.returncode == 0, done.stdout + done.stderr
        actions.append([cell["action"] for cell in json.loads(done.stdout)["cells"]])
    assert actions == [["restored", "run"], ["restored", "restored"]]


def test_a_change_reaches_as_many_tasks_as_its_description_says(tmp_path):
    """With the data that are measured; their size counts only where it is the number of tasks."""
    for workload in map(Workload, NAMES):
        data = tmp_path / workload.name
        workload.make_data(data, small=workload.name != "ctrend")
        tasks = tasks_of(workload.name, data)
        for change in workload.changes:
            assert len(reached(tasks, change.touched)) == change.tasks, change.name
            names = {name for task in tasks for name in task.uses}
            assert change.tasks == 0 or names.issuperset(change.touched)
