"""Tasks of Dask's own schedulers, without a client: stored once, and loaded or run again."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest
from test_task_cache import START

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.kernel_tasks import KernelTasks
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_cache import TaskCache
from nbrw_runtime.task_record import read_tasks

pytestmark = pytest.mark.integration
dask = pytest.importorskip("dask")

START += """
tasks = [dask.delayed(slow)(i) for i in range(3)] + [dask.delayed(apart)(i) for i in range(2)]
"""
WAYS = {
    "threads": "out = dask.compute(*tasks, scheduler='threads')",
    "synchronous": "out = dask.compute(*tasks, scheduler='sync')",
    "single-threaded": "out = [t.compute(scheduler='single-threaded') for t in tasks]",
    "processes": "out = dask.compute(*tasks, scheduler='processes')",
    "by configuration": "with dask.config.set(scheduler='synchronous'):\n"
    "    out = dask.compute(*tasks)",
    "an executor": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(2) as pool:\n    out = dask.compute(*tasks, scheduler=pool)",
    "a pool": "from multiprocessing.pool import ThreadPool\n"
    "with ThreadPool(2) as pool, dask.config.set(pool=pool):\n    out = dask.compute(*tasks)",
    "delayed": "out = dask.delayed(sum)(tasks).compute()",
    "array": "x = da.ones((400, 400), chunks=200)\n"
    "out = float((x @ x.T).map_blocks(lambda b: b * FACTOR, dtype=float).sum().compute())",
    "bag": "out = db.from_sequence(range(9), npartitions=3).map(slow).sum().compute()",
    "frame": "p = pd.DataFrame({'k': np.arange(400) % 7, 'v': range(400)})\n"
    "d = dd.from_pandas(p, npartitions=4)\n"
    "out = d.map_partitions(lambda q: q.assign(w=q.v * FACTOR)).groupby('k').w.sum().compute()\n"
    "out = out.sort_index().to_dict()",
    "persist": "a, b = dask.persist(*tasks[1:3])\nout = dask.compute(dask.delayed(slow)(a), b)",
    "a graph": "import dask.threaded\n"
    "graph = {'x': 1, 'y': (slow, 'x'), 'z': (sum, ['x', 'y'])}\n"
    "out = [dask.get(graph, 'z'), dask.threaded.get(graph, ['z', ['y']])]",
}


class Kernel:
    """The tasks of one kernel; what another's cell left may be known."""

    def __init__(self, place, known=None):
        store = DirectoryStore(place / "store")
        checkpoints = None
        if known is not None:
            checkpoints = [Checkpoint(cell=1, code="", status="ok", tasks=known)].__iter__
        self.namespace = {"__name__": "__main__"}
        self.store = store
        self.tasks = KernelTasks(
            self.namespace, str(place), StackedStore([store]), store, checkpoints
        )

    def run(self, *sources):
        """What ``out`` is after one cell."""
        self.tasks.install()
        self.tasks.begin(1)
        try:
            for source in sources:
                exec(source, self.namespace)
            return self.namespace.get("out")
        finally:
            self.document, _ = self.tasks.collect()
            self.cache, self.counts = self.tasks.cache(), self.tasks.cache().counts
            self.notes = self.tasks.end()

    def records(self):
        """By label, but for what the cell did itself."""
        found = read_tasks(self.store.get(self.document), "test")
        return {record.label: record for record in found if record.fingerprint != "cell"}


def plain(*sources):
    """What ``out`` is without a cache."""
    namespace = {"__name__": "__main__"}
    for source in sources:
        exec(source, namespace)
    return namespace["out"]


@pytest.mark.parametrize("way", WAYS)
def test_a_scheduler_of_dasks_own_loads_what_is_unchanged(tmp_path, way):
    """And runs what an edit reaches; results are those of a run without cache."""
    audit = Kernel(tmp_path)
    first = audit.run(START, WAYS[way])
    assert audit.counts.run and not audit.notes
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, WAYS[way]) == first
    assert again.counts.loaded and not again.counts.run and not again.notes
    start = START.replace("FACTOR = 3", "FACTOR = 4")
    edited = Kernel(tmp_path, audit.document)
    found = edited.run(start, WAYS[way])
    assert found == plain(start, WAYS[way]) != first
    assert edited.counts.run and not edited.notes
    assert set(edited.counts.misses) <= {"it is new or edited", "a task above it runs"}
    if "tasks" in WAYS[way] and way not in ("delayed", "persist"):
        assert (edited.counts.run, edited.counts.loaded) == (3, 2)


def test_a_task_that_changes_an_object_of_the_notebook_runs_again(tmp_path):
    """By an argument or a global name; what is beside it is loaded."""
    way = """
seen, table = [], {}
def note(x):
    seen.append(x)
    return x
def put(where, x):
    where[x] = 1
    return x
jobs = [dask.delayed(note)(1), dask.delayed(put)(dask.delayed(table, traverse=False), 2), tasks[0]]
out = (dask.compute(*jobs, scheduler='sync'), seen, table)
"""
    audit = Kernel(tmp_path)
    first = audit.run(START, way)
    assert first[1:] == ([1], {2: 1})
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, way) == first
    assert (again.counts.run, again.counts.loaded) == (3, 1)
    reason = again.counts.misses.most_common(1)[0][0]
    assert "an object of the notebook" in reason


def test_a_task_that_prints_runs_again(tmp_path, capsys):
    """In this process and in others: what it prints is part of the cell's output."""
    way = "def say(x):\n    print('said', x)\n    return x\n"
    for scheduler in ("threads", "processes"):
        code = f"{way}out = dask.delayed(say)(1).compute(scheduler={scheduler!r})"
        audit = Kernel(tmp_path / scheduler)
        audit.run(START, code)
        shown = capsys.readouterr().out
        again = Kernel(tmp_path / scheduler, audit.document)
        again.run(START, code)
        assert again.counts.run == 1 and not again.counts.loaded
        assert capsys.readouterr().out == shown
        assert "shows" in next(iter(again.counts.misses))


@pytest.mark.parametrize(
    "job",
    [
        "dask.delayed(lambda: held)()",
        "dask.delayed(lambda: [held[1:]])()",
        "dask.delayed(lambda: {'a': deep})()",
    ],
)
def test_a_result_that_shares_memory_with_the_notebook_is_not_loaded(tmp_path, job):
    """A cell that changes one changes the other."""
    way = f"held, deep = np.zeros(4), [[0]]\nout = {job}.compute(scheduler='threads')\n"
    way += "held += 1\ndeep[0].append(2)"
    audit = Kernel(tmp_path)
    first = audit.run(START, way)
    again = Kernel(tmp_path, audit.document)
    np = pytest.importorskip("numpy")
    np.testing.assert_equal(again.run(START, way), first)
    assert again.counts.run == 1


def test_results_that_share_memory_are_not_loaded(tmp_path):
    """With each other; what only comes from the same input is."""
    way = """
a = dask.delayed(np.arange)(5)
b, c = dask.delayed(lambda x: x[1:])(a), dask.delayed(lambda x: x + 1)(a)
out = dask.compute(a, b, scheduler='threads')
out[0][:] = 7
"""
    audit = Kernel(tmp_path)
    first = audit.run(START, way)
    assert list(first[1]) == [7] * 4
    again = Kernel(tmp_path, audit.document)
    assert list(again.run(START, way)[1]) == [7] * 4
    alone = way.replace("(a, b,", "(a, c,")
    audit = Kernel(tmp_path / "alone")
    assert list(audit.run(START, alone)[1]) == [1, 2, 3, 4, 5]
    again = Kernel(tmp_path / "alone", audit.document)
    assert list(again.run(START, alone)[1]) == [1, 2, 3, 4, 5]
    assert (again.counts.run, again.counts.loaded) == (0, 2)


def test_a_task_that_takes_the_notebooks_random_numbers_runs_again(tmp_path):
    """Through a library, so its code does not tell: the next number is the one that it was."""
    way = """
np.random.seed(1)
def draw(frame):
    return frame.sample(1).index[0]
f = pd.DataFrame({'a': range(50)})
out = [dask.delayed(draw)(f).compute(scheduler='sync'), np.random.rand()]
"""
    audit = Kernel(tmp_path)
    first = audit.run(START, way)
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, way) == first
    assert not again.counts.loaded


def test_to_store_a_result_takes_none_of_the_notebooks_random_numbers(tmp_path):
    """Dask takes samples of large results to tell their size; we do not."""
    way = """
import random
random.seed(1)
np.random.seed(1)
many = dask.delayed(lambda: [str(n) for n in range(5000)])
names = dask.delayed(lambda: pd.Series([str(n) * 9 for n in range(5000)], dtype=object))
lengths = dask.compute(dask.delayed(len)(many()), dask.delayed(len)(names()), scheduler='sync')
out = [lengths, random.random(), np.random.rand()]
"""
    assert Kernel(tmp_path).run(START, way) == plain(START, way)


def test_a_task_that_computes_with_dask_runs_again(tmp_path):
    """What it reads in other threads is not seen."""
    way = f"""
def inner(path):
    return int(open(path).read())
def outer(x):
    return dask.delayed(inner)({str(tmp_path / "in")!r}).compute() + x
out = dask.delayed(outer)(1).compute()
"""
    (tmp_path / "in").write_text("1")
    audit = Kernel(tmp_path)
    assert audit.run(START, way) == 2
    (tmp_path / "in").write_text("5")
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, way) == 6


def test_a_changed_file_runs_its_reader(tmp_path):
    """Read in a thread or in a process."""
    way = f"""
def read(path):
    return int(open(path).read())
jobs = [dask.delayed(slow)(dask.delayed(read)({str(tmp_path / "in")!r})), tasks[0]]
out = [dask.compute(*jobs, scheduler=s) for s in ('threads', 'processes')]
"""
    (tmp_path / "in").write_text("1")
    audit = Kernel(tmp_path)
    assert audit.run(START, way) == [(3, 0)] * 2
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, way) == [(3, 0)] * 2 and again.counts.run == 0
    (tmp_path / "in").write_text("2")
    changed = Kernel(tmp_path, audit.document)
    assert changed.run(START, way) == [(6, 0)] * 2
    assert (changed.counts.run, changed.counts.loaded) == (4, 2)


def test_a_task_that_fails_fails_as_it_would(tmp_path):
    """In each scheduler, with its own exception; it is not kept."""
    for scheduler in ("sync", "threads", "processes"):
        way = (
            "def bad(x):\n    raise KeyError('no')\n"
            f"dask.compute(dask.delayed(bad)(1), tasks[0], scheduler={scheduler!r})"
        )
        place = tmp_path / scheduler
        audit = Kernel(place)
        with pytest.raises(KeyError, match="no"):
            audit.run(START, way)
        assert audit.document is None or "bad" not in audit.records()
        again = Kernel(place, audit.document)
        with pytest.raises(KeyError, match="no"):
            again.run(START, way)
        assert not audit.notes and not again.notes


PLACES = {
    "the working directory": (
        "import os\nos.chdir('one')",
        "def f(x): return open('d.txt').read()\n",
        ("'one'", "'two'"),
    ),
    "the time zone": (
        "import os, time\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()",
        "from datetime import datetime\ndef f(x): return datetime.fromtimestamp(x).hour\n",
        ("Asia/Tokyo", "America/Lima"),
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_tasks_run_again_where_a_relative_path_or_a_local_time_is_another(
    tmp_path, monkeypatch, name
):
    """What counts is the difference to where the kernel began, which may be another directory."""
    first, task, edit = PLACES[name]
    task += "out = dask.delayed(f)(0).compute(scheduler='threads')"
    document, found = None, []
    for work, before in (("a", first), ("b", first), ("b", first.replace(*edit))):
        for number, directory in enumerate(("one", "two")):
            (tmp_path / work / directory).mkdir(parents=True, exist_ok=True)
            (tmp_path / work / directory / "d.txt").write_text(str(number))
        monkeypatch.chdir(tmp_path / work)
        monkeypatch.setenv("TZ", "UTC")
        kernel = Kernel(tmp_path, document)
        out = kernel.run("import dask", before, task)
        found.append((out, kernel.counts.loaded))
        document = document or kernel.document
    monkeypatch.undo()
    time.tzset()
    assert found[2][0] != found[0][0] == found[1][0]
    assert [loaded for _, loaded in found] == [0, 1, 0]


def test_a_corrupt_result_is_computed_again(tmp_path):
    """The report says why."""
    audit = Kernel(tmp_path)
    first = audit.run(START, WAYS["threads"])
    (segment,) = {record.segment for record in audit.records().values()}
    path = audit.store.path(segment)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    again = Kernel(tmp_path, audit.document)
    assert again.run(START, WAYS["threads"]) == first
    assert not again.counts.loaded and "is lost" in next(iter(again.counts.misses))


def test_a_defect_of_ours_leaves_the_notebook_alone(tmp_path, monkeypatch):
    """Dask gets what it would have got, and a note says so, once."""

    def broken(*arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(TaskCache, "rewritten_local", broken)
    audit = Kernel(tmp_path)
    assert audit.run(START, WAYS["a graph"]) == plain(START, WAYS["a graph"])
    assert audit.notes == ["tasks ran as usual: RuntimeError: broken"]


def test_callbacks_and_a_cache_of_the_callers_are_kept(tmp_path):
    """Progress is told of the tasks that run; with a cache given, Dask's own way is taken."""
    way = """
from dask.callbacks import Callback
told = []
with Callback(posttask=lambda key, *rest: told.append(key)):
    dask.compute(*tasks, scheduler='sync')
given = {}
import dask.threaded
out = [len(told), dask.threaded.get({'x': (slow, 1)}, 'x', cache=given), given['x']]
"""
    audit = Kernel(tmp_path)
    assert audit.run(START, way) == [5, 3, 3] == plain(START, way)
    assert audit.counts.run == 5


def test_nothing_of_dask_is_imported_before_the_notebook_does(tmp_path):
    """It works where distributed is not installed."""
    code = f"""
    import sys
    from pathlib import Path
    from nbrw_runtime.kernel_tasks import KernelTasks
    from nbrw_runtime.store import DirectoryStore, StackedStore
    store = DirectoryStore(Path({str(tmp_path)!r}))
    tasks = KernelTasks(globals(), "/w", StackedStore([store]), store)
    tasks.install()
    tasks.begin(1)
    assert not {{"dask", "distributed", "numpy", "cloudpickle"}} & set(sys.modules)
    sys.modules["distributed"] = None
    import dask
    assert dask.delayed(len)("abc").compute(scheduler="sync") == 3
    document, blobs = tasks.collect()
    assert document and blobs and tasks.by_cell()["1"]["run"] == 1
    assert tasks.end() == []
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=100)


def test_dask_that_is_not_known_to_work_is_left_alone(tmp_path, monkeypatch):
    """In one line; the notebook goes on."""
    monkeypatch.setattr(dask, "__version__", "2025.4.1")
    namespace = {"__name__": "__main__"}
    store = DirectoryStore(tmp_path)
    tasks = KernelTasks(namespace, str(tmp_path), StackedStore([store]), store)
    tasks.install()
    exec(START + WAYS["threads"] + "\n" + WAYS["delayed"], namespace)
    assert namespace["out"] == 9 - 1
    assert tasks.collect() == (None, ()) and tasks.by_cell() == {}
    assert tasks.end() == ["results of tasks are not kept: Dask 2025.4.1 is not known to work"]


def test_what_the_cell_itself_does_with_files_is_written_down(tmp_path):
    """In its own thread, outside of tasks; a task's writes are the task's."""
    (tmp_path / "d").mkdir()
    way = f"""
import os, threading
def write(x):
    open({str(tmp_path / "by task")!r}, 'w').write('x')
    return x
os.listdir({str(tmp_path / "d")!r})
open({str(tmp_path / "by cell")!r}, 'w').write('x')
thread = threading.Thread(target=lambda: open({str(tmp_path / "by thread")!r}, 'w').write('x'))
thread.start()
thread.join()
out = dask.compute(tasks[0], dask.delayed(write)(1), scheduler='sync')
"""
    audit = Kernel(tmp_path)
    audit.run(START, way)
    (own,) = [
        record
        for record in read_tasks(audit.store.get(audit.document), "test")
        if record.fingerprint == "cell"
    ]
    assert own.unsafe and own.here and f"{tmp_path}/d/" in own.reads
    assert "by cell" in own.refused
    assert "by task" not in own.refused and "by thread" not in own.refused
    assert "by task" in audit.records()["write"].refused
    assert all(record.here for record in audit.records().values())
