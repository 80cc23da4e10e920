"""Dask's tasks, by all ways into Dask, on a real cluster: stored once, and loaded or run again."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from nbrw_runtime.digest import Digest
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_cache import TaskCache, patch
from nbrw_runtime.task_collect import TaskCollector
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_record import read_tasks

pytestmark = pytest.mark.integration
distributed = pytest.importorskip("distributed")

START = """
import time
import dask, dask.array as da, dask.bag as db, dask.dataframe as dd
import numpy as np, pandas as pd
FACTOR = 3
def helper(x):
    return x * FACTOR
def slow(x):
    time.sleep(0.01)
    return helper(x)
def apart(x):
    time.sleep(0.01)
    return -x
"""
#: Each computes ``out``; the number of tasks that an edit of FACTOR reaches, of those it has.
WAYS = {
    "map and gather": "out = client.gather(client.map(slow, range(5)) + client.map(apart, [1, 2]))",
    "submit": "a = client.submit(apart, 4)\nout = client.submit(slow, a).result()",
    "delayed": "out = dask.delayed(sum)([dask.delayed(slow)(i) for i in range(4)]).compute()",
    "compute": "out = dask.compute(dask.delayed(slow)(1), dask.delayed(apart)(1))",
    "bag": "out = db.from_sequence(range(9), npartitions=3).map(slow).sum().compute()",
    "array": "x = da.ones((400, 400), chunks=200)\n"
    "out = float((x @ x.T).map_blocks(lambda b: b * FACTOR, dtype=float).sum().compute())",
    "frame": "p = pd.DataFrame({'k': np.arange(400) % 7, 'v': range(400)})\n"
    "d = dd.from_pandas(p, npartitions=4)\n"
    "out = d.map_partitions(lambda q: q.assign(w=q.v * FACTOR)).w.sum().compute()",
    "shuffle": "p = pd.DataFrame({'k': np.arange(400) % 7, 'v': range(400)})\n"
    "d = dd.from_pandas(p, npartitions=4).shuffle('k', shuffle_method='p2p')\n"
    "out = d.map_partitions(lambda q: q.assign(w=q.v * FACTOR)).groupby('k').w.sum()\n"
    "out = out.compute().sort_index().to_dict()",
    "persist": "d = dask.persist(*[dask.delayed(apart)(i) for i in range(3)])\n"
    "out = dask.compute(*[dask.delayed(slow)(x) for x in d])",
}


@pytest.fixture(scope="module")
def client():
    """Two workers, as a notebook starts them."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Kernel:
    """The tasks of one kernel; results of another may be known."""

    def __init__(self, place, client, known=None):
        self.place, self.client = place, client
        store = DirectoryStore(place / "store")
        index = None
        if known is not None:
            index = TaskIndex(StackedStore([store]), known)
        self.namespace = {"__name__": "__main__", "client": client}
        spool = place / ("spool" if known is None else "spool of a repeat")
        self.store, self.collector = store, TaskCollector(spool)
        software = [sys.prefix + "/", sys.base_prefix + "/"]
        self.cache = TaskCache(
            self.namespace, str(place), str(store.root), str(spool), software, index
        )

    def run(self, *sources):
        """What ``out`` is in the end. Nothing of it is left on the cluster."""

        usual = type(self.client)
        # A class of its own, so that the next kernel's is unpatched; a kernel of another test in
        # this process may have patched the usual one.
        method = usual._graph_to_futures
        method = getattr(method, "__wrapped__", method)
        Patched = type("Patched", (usual,), {"_graph_to_futures": method})
        patch(Patched, lambda: self.cache)
        self.client.__class__ = Patched
        try:
            for source in sources:
                exec(source, self.namespace)
            return self.namespace["out"]
        finally:
            self.client.__class__ = usual
            out = self.namespace.get("out")
            self.namespace.clear()
            self.namespace["out"] = out

    def index_of(self, known):
        """The records of documents."""
        return [r for d in known.values() for r in read_tasks(self.store.get(d), "test")]

    def known(self):
        """The documents of what ran: one cell's."""
        document, _ = self.collector.collect(self.store)
        assert isinstance(document, Digest)
        return {1: document}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_into_dask_is_loaded_unchanged_and_runs_what_an_edit_reaches(tmp_path, client, way):
    """Results are those of a run without cache."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, WAYS[way])
    assert audit.cache.counts.run and not audit.cache.notes
    known = audit.known()

    again = Kernel(tmp_path, client, known)
    assert again.run(START, WAYS[way]) == first
    counts = again.cache.counts
    assert counts.loaded and not counts.misses and not again.cache.notes
    assert counts.run == 0, counts

    start = START.replace("FACTOR = 3", "FACTOR = 4")
    edited = Kernel(tmp_path, client, known)
    found = edited.run(start, WAYS[way])
    plain = {"__name__": "__main__", "client": client}
    exec(start, plain)
    exec(WAYS[way], plain)
    assert found == plain["out"] != first
    counts = edited.cache.counts
    assert counts.run and set(counts.misses) <= {
        "it is new or edited", "a task above it runs",
        "a future that it uses is not what it was, or is not known",
    }  # fmt: skip
    if "apart" in WAYS[way] or way in ("array", "shuffle"):
        assert counts.loaded, counts


def test_a_changed_file_runs_its_reader_and_what_is_below(tmp_path, client):
    """Read in a task, through Python; the rest is loaded."""
    (tmp_path / "in.txt").write_text("1")
    way = (
        "def read(path):\n    return int(open(path).read())\n"
        f"a = client.submit(read, {str(tmp_path / 'in.txt')!r})\n"
        "out = client.submit(slow, a).result() + client.submit(apart, 7).result()"
    )
    audit = Kernel(tmp_path, client)
    assert audit.run(START, way) == 3 - 7
    known = audit.known()
    again = Kernel(tmp_path, client, known)
    assert again.run(START, way) == 3 - 7 and again.cache.counts.run == 0
    (tmp_path / "in.txt").write_text("2")
    changed = Kernel(tmp_path, client, known)
    assert changed.run(START, way) == 6 - 7
    assert (changed.cache.counts.run, changed.cache.counts.loaded) == (2, 1)


def test_chance_and_what_writes_files_run_again_and_so_does_what_is_below(tmp_path, client):
    """Others beside them are loaded."""
    way = (
        "def write(n):\n"
        f"    open({str(tmp_path / 'out')!r}, 'a').write('x')\n"
        "    return n\n"
        "def draw(n):\n    return np.random.rand() * 0 + n\n"
        "a, b = client.submit(write, 1), client.submit(draw, 2)\n"
        "out = client.gather([client.submit(slow, a), client.submit(slow, b),"
        " client.submit(slow, 3)])"
    )
    audit = Kernel(tmp_path, client)
    assert audit.run(START, way) == [3, 6, 9]
    again = Kernel(tmp_path, client, audit.known())
    assert again.run(START, way) == [3, 6, 9]
    assert (tmp_path / "out").read_text() == "xx"
    assert (again.cache.counts.run, again.cache.counts.loaded) == (4, 1)
    assert any("chance" in reason for reason in again.cache.counts.misses)


def test_what_fails_is_not_kept_and_fails_again(tmp_path, client):
    """Or does not: then its result counts."""
    way = (
        "def maybe(path):\n    if not open(path).read():\n        raise ValueError('empty')\n"
        "    return 1\n"
        f"f = client.submit(maybe, {str(tmp_path / 'in')!r}, pure=False)\n"
        "try:\n    out = f.result()\nexcept ValueError as error:\n    out = str(error)\n"
        "out = [out, client.submit(apart, 3).result()]"
    )
    (tmp_path / "in").write_text("")
    audit = Kernel(tmp_path, client)
    assert audit.run(START, way) == ["empty", -3]
    known = audit.known()
    again = Kernel(tmp_path, client, known)
    assert again.run(START, way) == ["empty", -3]
    (tmp_path / "in").write_text("x")
    assert Kernel(tmp_path, client, known).run(START, way) == [1, -3]


def test_what_the_user_asked_of_tasks_is_kept(tmp_path, client):
    """Retries, priority, workers; annotations of collections."""
    worker = next(iter(client.scheduler_info()["workers"]))
    way = (
        "count = []\n"
        f"f = client.submit(slow, 1, retries=2, priority=5, workers=[{worker!r}], key='mine')\n"
        f"with dask.annotate(workers=[{worker!r}], retries=3):\n"
        "    d = [dask.delayed(slow)(i) for i in range(4)]\n"
        "g = client.compute(d)\n"
        "out = [f.result(), client.gather(g), [list(client.who_has(x).values()) for x in g]]\n"
        "info = client.cluster.scheduler.tasks['mine']\n"
        "out.append([info.annotations['retries'], info.annotations['priority']])"
    )
    audit = Kernel(tmp_path, client)
    out = audit.run(START, way)
    assert out[:2] == [3, [0, 3, 6, 9]] and out[3] == [2, 5]
    assert Counter(str(places) for places in out[2]).keys() == {str([(worker,)])}
    assert not audit.cache.notes


def test_a_corrupt_result_is_computed_again(tmp_path, client):
    """The report says so; nothing of it is used."""
    way = "out = client.submit(slow, 5).result() + client.submit(apart, 1).result()"
    audit = Kernel(tmp_path, client)
    first = audit.run(START, way)
    known = audit.known()
    (segment,) = {record.segment for record in audit.index_of(known)}
    path = audit.store.path(segment)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    again = Kernel(tmp_path, client, known)
    assert again.run(START, way) == first
    assert again.cache.counts.loaded == 0 and "tasks ran as usual" in again.cache.notes[0]


def test_a_client_of_an_address_is_left_alone(tmp_path, client):
    """Its scheduler may be anywhere, where our functions are not known. It is said once."""
    with distributed.Client(client.cluster.scheduler_address) as other:
        audit = Kernel(tmp_path, other)
        assert audit.run(START, WAYS["submit"], WAYS["delayed"]) == 18
    assert audit.cache.counts.run == 0
    (note,) = audit.cache.notes
    assert "address" in note
