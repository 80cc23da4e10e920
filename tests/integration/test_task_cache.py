"""Dask's tasks, by all ways into Dask, on a real cluster: stored once, and loaded or run again."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter

import cloudpickle
import pytest

from nbrw_runtime import task_virtual
from nbrw_runtime.digest import Digest
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_cache import TaskCache
from nbrw_runtime.task_client import patch
from nbrw_runtime.task_collect import TaskCollector
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_record import read_tasks
from nbrw_runtime.task_told import METHODS

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

_PATCHED = ("_graph_to_futures", "scatter", *METHODS)


async def _nothing():
    pass


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

    def __init__(self, place, client, known=None, kept=(), keeps=True):
        self.place, self.client = place, client
        store = DirectoryStore(place / "store")
        index = None
        if known is not None:
            index = TaskIndex(StackedStore([store]), known, kept=kept)
        self.namespace = {"__name__": "__main__", "client": client}
        spool = place / f"spool {len(list(place.glob('spool*')))}"
        spool.mkdir()
        self.store, self.collector = store, TaskCollector(spool)
        software = [sys.prefix + "/", sys.base_prefix + "/"]
        self.cache = TaskCache(
            self.namespace, str(place), str(store.root), str(spool), software, index, keeps
        )
        if index is not None:
            self.collector.known = index.find
        self.cache.classes.install()
        self.collector.foreign = self.cache.classes.why_not

    def run(self, *sources):
        """What ``out`` is in the end. Nothing of it is left on the cluster."""

        usual = type(self.client)
        # A class of its own, so that the next kernel's is unpatched; a kernel of another test in
        # this process may have patched the usual one.
        methods = {name: getattr(usual, name) for name in _PATCHED if hasattr(usual, name)}
        methods = {name: getattr(m, "__wrapped__", m) for name, m in methods.items()}
        Patched = type("Patched", (usual,), methods)
        patch(Patched, lambda: self.cache)
        task_virtual.patch(Patched)
        self.client.__class__ = Patched
        try:
            for source in sources:
                exec(source, self.namespace)
            return self.namespace["out"]
        finally:
            self.settled()
            self.client.__class__ = usual
            self.found = self.collector.collect(self.store, self.cache.facts())
            self.cache.spare(self.collector.spared)
            out = self.namespace.get("out")
            self.namespace.clear()
            self.namespace["out"] = out
            deadline = time.monotonic() + 3
            while self.client.futures and time.monotonic() < deadline:
                gc.collect()
                self.client.sync(_nothing)  # releases are the event loop's, in its turn
            # Another kernel would know nothing of its classes.
            cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
            cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()

    def settled(self):
        """Called when all has run, before it is gathered."""

    def index_of(self, known):
        """The records of documents."""
        return [r for d in known.values() for r in read_tasks(self.store.get(d), "test")]

    def collect(self):
        """The document of what ran."""
        assert self.found is not None and isinstance(self.found[0], Digest)
        return self.found[0]

    def known(self):
        """The documents of what ran: one cell's."""
        return {1: self.collect()}


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


CHAIN = """
def middle(x):
    time.sleep(0.01)
    return x % 100
def last(x, y):
    time.sleep(0.01)
    return x + y
a = client.map(slow, range(3))
b = client.map(middle, a)
c = [client.submit(last, x, client.submit(apart, 5)) for x in b]
d = client.submit(sum, c)
out = d.result()
"""


def test_what_comes_to_the_same_leaves_what_is_below_as_it_was(tmp_path, client):
    """Another way to compute: only that runs. Another result: what is below runs, too."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, CHAIN)
    known = audit.known()
    edited = Kernel(tmp_path, client, known)
    start = START.replace("return x * FACTOR", "return FACTOR * x")
    assert edited.run(start, CHAIN) == first
    counts = edited.cache.counts
    assert (counts.run, counts.same, counts.misses["it is new or edited"]) == (3, 7, 3), counts
    # That of one of three is another: 200 % 100 is what 0 % 100 was.
    start = START.replace("return x * FACTOR", "return x * FACTOR + (x == 1) + (x == 2) * 100")
    other = Kernel(tmp_path, client, known)
    assert other.run(start, CHAIN) == first + 1
    assert (other.cache.counts.run, other.cache.counts.same) == (3 + 2 + 1 + 1, 1 + 2)


WIDE = """
def middle(x):
    time.sleep(0.01)
    return x % 100
a = client.map(slow, range(100))
b = client.map(middle, a)
out = sum(client.gather(b))
"""


def test_of_a_mapped_function_every_task_finds_its_own_former_result(tmp_path, client):
    """However many there are, and in whatever order the inputs come to what they were."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, WIDE)
    known = audit.known()
    backwards = "return (99 - x) * FACTOR + 5 * (x == 7)"  # (of 100, 1 is another value)
    edited = Kernel(tmp_path, client, known)
    assert edited.run(START.replace("return x * FACTOR", backwards), WIDE) == first + 5
    assert (edited.cache.counts.run, edited.cache.counts.same) == (100 + 1, 99)


@pytest.mark.parametrize(
    ("way", "factor"),
    [("out = dask.delayed(apart)(x).compute()", 2), ("out = x.compute()", -1)],
    ids=["an input", "the task itself"],
)
def test_a_future_that_goes_while_the_same_task_is_asked_for_again_is_no_loss(
    tmp_path, client, way, factor
):
    """Whatever another thread lets go of in between: the task is loaded, and so is what uses it."""
    audit = Kernel(tmp_path, client)
    make = "x = dask.delayed(slow)(4)"
    first = audit.run(START, make, "out = dask.delayed(apart)(x).compute()")
    edited = Kernel(tmp_path, client, audit.known())
    fingerprinter = edited.cache._fingerprinter
    usual = fingerprinter.fingerprints

    def fingerprints(*args, **more):
        found = usual(*args, **more)
        edited.namespace.pop("a", None)
        gc.collect()
        client.sync(_nothing)  # the release is the event loop's
        return found

    edited.namespace["watch"] = lambda: setattr(fingerprinter, "fingerprints", fingerprints)
    start = START.replace("return -x", "return -x * 2")
    hold = "a = x.persist()\nwatch()"
    assert edited.run(start, make, hold, way) == first * factor
    assert edited.cache.counts.run == (factor == 2)


def test_what_is_the_same_is_counted_although_nothing_is_kept(tmp_path, client):
    """And nothing is written of what ran."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, CHAIN)
    edited = Kernel(tmp_path, client, audit.known(), keeps=False)
    start = START.replace("return x * FACTOR", "return FACTOR * x")
    assert edited.run(start, CHAIN) == first
    assert (edited.cache.counts.run, edited.cache.counts.same) == (3, 7)


def test_what_ran_in_a_repeat_is_loaded_in_the_next(tmp_path, client):
    """Also what was found to be the same."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, CHAIN)
    known = audit.known()
    for start, ran in (
        (START.replace("return x * FACTOR", "return FACTOR * x"), 3),
        (START.replace("FACTOR = 3", "FACTOR = 4"), 8),  # 0 * 4 is what 0 * 3 was
    ):
        edited = Kernel(tmp_path, client, known)
        found = edited.run(start, CHAIN)
        document = edited.collect()
        assert edited.cache.counts.run == ran
        again = Kernel(tmp_path, client, known, [document])
        assert again.run(start, CHAIN) == found
        assert again.cache.counts.run == 0 and again.cache.index.used == {document}
    assert Kernel(tmp_path, client, known, [document]).run(START, CHAIN) == first


POINTS = """
class Point:
    size = 1
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x
def point(x):
    return Point(x)
def is_point(p):
    return isinstance(p, Point) and p.x * FACTOR
def hidden(x):
    class Inner:
        pass
    found = Inner()
    found.x = x
    return found
"""
USES = """
a = client.map(point, range(3))
out = [isinstance(p, Point) for p in client.gather(a)]
out += client.gather(client.map(is_point, a))
out += [f.result().x for f in client.map(hidden, [7])]
out += [len({type(p) for p in client.gather(client.map(point, range(3)))} | {Point})]
"""


def test_objects_that_are_loaded_are_of_the_notebooks_class(tmp_path, client):
    """As those that tasks of this kernel make; in the kernel and on workers."""
    audit = Kernel(tmp_path, client)
    first = audit.run(START, POINTS, USES)
    assert first == [True, True, True, 0, 3, 6, 7, 1]
    known = audit.known()
    again = Kernel(tmp_path, client, known)
    assert again.run(START, POINTS, USES) == first
    assert (again.cache.counts.run, again.cache.counts.loaded) == (1, 9), again.cache.counts
    (why,) = again.cache.counts.misses
    assert "Inner" in why
    # The tasks that make points are not reached, those that use them are.
    edited = Kernel(tmp_path, client, known)
    start = START.replace("FACTOR = 3", "FACTOR = 4")
    assert edited.run(start, POINTS, USES) == [True, True, True, 0, 4, 8, 7, 1]
    assert edited.cache.counts.loaded == 6
    # Nor are they here, but of the class there is another now.
    other = Kernel(tmp_path, client, known)
    assert other.run(START, POINTS, "Point.size = 2", USES) == first
    assert other.cache.counts.loaded == 0


def test_a_key_that_comes_to_stand_for_what_nobody_looked_at_is_not_taken_for_what_it_was(
    tmp_path, client
):
    """Here the cache fails once, so that Dask does it alone."""
    way = (
        "a = client.submit(apart, 4, key='k')\n"
        "out = [client.submit(slow, a).result()]\n"
        "del a\n"
        "while 'k' in client.futures or 'k' in client.cluster.scheduler.tasks:\n"
        "    time.sleep(0.01)\n"
        "fail(True)\n"
        "a = client.submit(abs, -4, key='k')\n"
        "fail(False)\n"
        "out += [client.submit(slow, a).result()]"
    )
    audit = Kernel(tmp_path, client)
    audit.namespace["fail"] = lambda now: None
    assert audit.run(START, way) == [-12, 12]
    again = Kernel(tmp_path, client, audit.known())
    usual = again.cache.rewritten

    def rewritten(*arguments):
        if again.failing:
            raise OSError("it fails")
        return usual(*arguments)

    again.cache.rewritten = rewritten
    again.failing = False
    again.namespace["fail"] = lambda now: setattr(again, "failing", now)
    assert again.run(START, way) == [-12, 12]
    assert again.cache.notes == ["tasks ran as usual: OSError: it fails"]


HELD = "a = client.map(apart, [4], key=['k'])[0]\na.result()\n"
#: What is held depends on it, so that the scheduler keeps how it is computed.
ABOVE = "a = dask.delayed(slow)(dask.delayed(apart)(4, dask_key_name='k')).persist()\na.compute()\n"
MAP = "b = client.map(slow, [4], key=['k'])[0]\n"
COMPUTE = "b = client.compute(dask.delayed(slow)(4, dask_key_name='k'))\n"


@pytest.mark.parametrize("first", [HELD, ABOVE], ids=["held", "above"])
@pytest.mark.parametrize("second", [MAP, COMPUTE], ids=["map", "compute"])
def test_a_key_that_was_another_tasks_gives_no_result_of_the_new_one(
    tmp_path, client, first, second
):
    """Dask computes nothing anew under it. Without the first one, the second is what it says, and
    its own result is known by another key.
    """
    second += "out = client.submit(slow, b).result()\n"
    audit = Kernel(tmp_path, client)
    assert audit.run(START, first + second + "client.submit(slow, 4).result()") == -12
    edited = Kernel(tmp_path, client, audit.known())
    assert edited.run(START, second) == 36
    assert (edited.cache.counts.loaded, edited.cache.counts.run) == (1, 1)


def test_data_scattered_under_a_key_that_had_others_are_no_input_that_is_known(tmp_path, client):
    """Some workers may still have what it was; the same data again are the same."""
    way = (
        "d = client.scatter({'s': 4})\nout = [client.submit(slow, d['s']).result()]\n"
        "d = client.scatter({'s': VALUE}, broadcast=True)\n"
        "out.append(client.submit(apart, d['s']).result())"
    )
    same, other = way.replace("VALUE", "4"), way.replace("VALUE", "5")
    audit = Kernel(tmp_path, client)
    assert audit.run(START, same) == [12, -4]
    assert not audit.cache.counts.misses
    again = Kernel(tmp_path, client, audit.known())
    assert again.run(START, same) == [12, -4] and again.cache.counts.loaded == 2
    differs = Kernel(tmp_path, client, audit.known())
    assert differs.run(START, other)[0] == 12
    assert differs.cache.counts.loaded == 1
    (why,) = differs.cache.counts.misses
    assert "another" in why or "input" in why, why


def test_a_task_that_is_held_and_asked_for_again_is_the_same(tmp_path, client):
    """Nothing changes about what uses it."""
    way = (
        "a = client.map(slow, [4], key=['k'])[0]\na.result()\n"
        "b = client.map(slow, [4], key=['k'])[0]\nout = client.submit(slow, b).result()"
    )
    audit = Kernel(tmp_path, client)
    assert audit.run(START, way) == 36
    again = Kernel(tmp_path, client, audit.known())
    assert again.run(START, way) == 36
    assert (again.cache.counts.run, again.cache.counts.misses) == (0, {})


def test_what_a_person_asks_of_a_future_whose_result_is_known_is_as_of_any_other(tmp_path, client):
    """Where it is, its type, whether it is done; other tasks use it; it can be waited for."""
    way = (
        "a = client.map(slow, range(3))\n"
        "distributed.wait(a)\n"
        "out = [[f.status, f.done(), f.type, f.result()] for f in a]\n"
        "out += [f.result() for f in distributed.as_completed(a)]\n"
        "out += [sorted(client.submit(slow, f).result() for f in a)]\n"
        "out += [client.gather({'x': a[0], 'y': [a[1]]}), repr(a[0])]\n"
        "calls = []\n"
        "a[0].add_done_callback(lambda f: calls.append(f.key))\n"
        "out += [all(client.who_has(a).values()), client.gather(a), a[1].done()]\n"
        "b = client.submit(apart, 1)\n"
        "distributed.Variable('v').set(b)\n"
        "out += [distributed.Variable('v').get().result(), b.result()]\n"
        "c = client.submit(apart, 2)\n"
        "distributed.Queue('q').put(c)\n"
        "out += [distributed.Queue('q').get().result()]\n"
        "del a, b, c\n"
        "e = client.submit(apart, 3)\n"
        "distributed.wait(e)\n"
        "e.cancel()\n"
        "out += [e.status, len(calls)]\n"
    )
    audit = Kernel(tmp_path, client)
    first = audit.run(START, "import distributed", way)
    again = Kernel(tmp_path, client, audit.known())
    found = again.run(START, "import distributed", way)
    assert sorted(map(repr, found)) == sorted(map(repr, first))
    assert again.cache.counts.loaded >= 9 and not again.cache.notes


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
    way = "out = client.submit(slow, 5).result() + client.submit(apart, 11).result()"
    audit = Kernel(tmp_path, client)
    first = audit.run(START, way)
    known = audit.known()
    (segment,) = {record.segment for record in audit.index_of(known)}
    path = audit.store.path(segment)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    again = Kernel(tmp_path, client, known)
    assert again.run(START, way) == first
    assert again.cache.counts.loaded == 0
    assert [why.split(":")[0] for why in again.cache.counts.misses] == ["its result is lost"]


def test_a_client_of_an_address_is_left_alone(tmp_path, client):
    """Its scheduler may be anywhere, where our functions are not known. It is said once."""
    with distributed.Client(client.cluster.scheduler_address) as other:
        audit = Kernel(tmp_path, other)
        assert audit.run(START, WAYS["submit"], WAYS["delayed"]) == 18
    assert audit.cache.counts.run == 0
    (note,) = audit.cache.notes
    assert "address" in note
