"""What a notebook tells workers beside tasks: all tasks that come after may see it."""

from __future__ import annotations

import sys

import pytest
from test_task_cache import Kernel

pytestmark = pytest.mark.integration
distributed = pytest.importorskip("distributed")

START = """
import gc, os, sys
from distributed import WorkerPlugin
def setk(k):
    import told_module
    told_module.K = k
def load(path):
    import told_module
    with open(path) as stream:
        told_module.K = int(stream.read())
class Sets(WorkerPlugin):
    def __init__(self, k):
        self.k = k
    def setup(self, worker):
        setk(self.k)
def f(x):
    import told_module
    return told_module.K * x
def use(x):
    return x
"""
END = "\nout = client.gather(client.map(f, range(1, 4)))"
#: Each tells workers ``5``; an edit tells them ``7``.
WAYS = {
    "run": "client.run(setk, 5)",
    "a plugin": "client.register_plugin(Sets(5))",
    "callbacks": "client.register_worker_callbacks(lambda: setk(5))",
    "a file that is read": "client.run(load, 'five.txt')",
    "an uploaded file": "client.upload_file('five/told_more.py')\n"
    "def f(x):\n    import told_more\n    return told_more.K * x",
    "a change of directory": "client.run(os.chdir, os.path.abspath('five'))\n"
    "def f(x):\n    with open('k.txt') as stream:\n        return int(stream.read()) * x",
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory with a module that workers import."""
    (tmp_path / "told_module.py").write_text("K = 1\n")
    for name, k in (("five", 5), ("seven", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "told_more.py").write_text(f"K = {k}\n")
        (tmp_path / name / "k.txt").write_text(str(k))
        (tmp_path / f"{name}.txt").write_text(str(k))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("told_module", "told_more"):
        sys.modules.pop(name, None)


def run(work, known, *sources):
    """By a new cluster: what came out, and the kernel."""
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        kernel = Kernel(work, client, known)
        return kernel.run(*sources), kernel


@pytest.mark.parametrize("way", WAYS)
def test_tasks_are_others_when_workers_were_told_something_else(work, way):
    """And the same when they were told the same."""
    first, audit = run(work, None, START, WAYS[way] + END)
    assert first == [5, 10, 15] and not audit.cache.notes
    again, kernel = run(work, audit.known(), START, WAYS[way] + END)
    assert again == first
    assert kernel.cache.counts.loaded == 3, kernel.cache.counts
    edited = WAYS[way].replace("5", "7").replace("five", "seven")
    found, kernel = run(work, audit.known(), START, edited + END)
    assert found == [7, 14, 21]
    assert kernel.cache.counts.loaded == 0


def test_a_change_of_what_a_file_says_that_workers_were_told_of_is_seen(work):
    """The file is none that a task reads."""
    _, audit = run(work, None, START, WAYS["a file that is read"] + END)
    (work / "five.txt").write_text("8")
    found, _ = run(work, audit.known(), START, WAYS["a file that is read"] + END)
    assert found == [8, 16, 24]


def test_workers_that_start_anew_forget_what_they_were_told(work):
    """A restart counts, if there is something to forget."""
    source = "client.run(setk, 5)" + END
    _, audit = run(work, None, START, source)
    found, _ = run(work, audit.known(), START, "client.run(setk, 5)\nclient.restart()" + END)
    assert found == [1, 2, 3]


def test_what_cannot_be_compared_has_all_that_follows_run(work):
    """And says why."""
    source = "client.run(lambda: setk(int(os.environ['HOME'] != '') * 5))" + END
    first, audit = run(work, None, START, source)
    assert not audit.found or not audit.found[0]
    found, kernel = run(work, {}, START, source)
    assert found == first
    (why,) = kernel.cache.counts.misses
    assert why.startswith("by Client.run its workers got what cannot be compared (it takes ")


def test_what_was_made_before_is_made_anew_under_the_same_key(work):
    """A cluster is told to tidy up in between: tasks are still known afterwards."""
    source = (
        "import dask\nx = dask.delayed(use)(2, dask_key_name='x')\n"
        "a = (x + 1).compute()\nclient.run(gc.collect)\nout = (x + 2).compute()"
    )
    _, audit = run(work, None, START, source)
    found, kernel = run(work, audit.known(), START, source)
    assert found == 4
    assert kernel.cache.counts.run == 0, kernel.cache.counts
