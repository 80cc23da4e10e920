"""The five workloads of examples/: each change executes the tasks that it reaches, no others."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter

import pytest

import executed_tasks
from notebook_helper import ROOT, run, write_notebook

sys.path.insert(0, str(ROOT / "benchmarks/repeat"))
from oracle import labels, reached, tasks_of  # noqa: E402
from workload import NAMES, Workload  # noqa: E402

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


def repeated(place, image, change, words):
    """Repeat in a new directory; the tasks that ran, by label, what the report says of all, and
    whether a worker was started. (nbrw's own tasks write what futures have to files.)
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
    cells = json.loads(done.stdout)["cells"]
    return +ran, [cell["tasks"] for cell in cells if cell.get("tasks")], log.exists()


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
        ran, counts, started = repeated(place, path, change, words)
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
    ran, counts, started = repeated(tmp_path, tmp_path / "image", None, ["edited.ipynb"])
    assert not ran and not started
    assert sum(count["loaded"] for count in counts) and not any(c["run"] for c in counts)


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
