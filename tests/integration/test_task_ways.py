"""Other ways into Dask, and what must not be used again, on a real cluster."""

from __future__ import annotations

import gc
import sys
import time

import pytest
from test_task_cache import START, Kernel, client  # noqa: F401  (a fixture)

from nbrw_runtime import task_local

pytestmark = pytest.mark.integration
distributed = pytest.importorskip("distributed")

MORE = """
import distributed
from distributed import get_client, secede, rejoin, worker_client, as_completed, wait
def pair(a, b=1):
    time.sleep(0.01)
    return (a * FACTOR, b)
"""
#: Each computes ``out``; all is loaded if nothing is edited.
WAYS = {
    "as_completed": "out = sorted(f.result() for f in as_completed(client.map(slow, range(4))))",
    "as_completed with more": "todo = as_completed(client.map(apart, range(2)))\n"
    "out = []\n"
    "for f in todo:\n"
    "    out.append(f.result())\n"
    "    if len(out) == 2:\n        todo.add(client.submit(slow, 5))\n"
    "out = sorted(out)",
    "as_completed with results": "fs = client.map(slow, range(4))\n"
    "out = sorted(r for f, r in as_completed(fs, with_results=True))",
    "wait": "fs = client.map(slow, range(4))\nwait(fs)\nout = [f.result() for f in fs]",
    "get": "out = client.get({'x': (slow, 1), 'y': (sum, ['x', 2])}, ['y', 'x'])",
    "get later": "fs = client.get({'x': (slow, 1), 'y': (sum, ['x', 2])}, ['y', 'x'], sync=False)\n"
    "out = client.gather(fs)",
    "compute, not waiting": "out = client.compute(dask.delayed(slow)(3)).result()",
    "compute, synchronous": "out = client.compute([dask.delayed(slow)(3)], sync=True)",
    "map of several": "out = client.gather(client.map(pair, range(3), range(3)))",
    "map with words": "out = client.gather(client.map(pair, range(3), b=client.submit(apart, 1)))",
    "map in batches": "out = client.gather(client.map(slow, range(7), batch_size=3))",
    "map, impure": "out = client.gather(client.map(slow, [1, 2], pure=False))",
    "map with a prefix": "out = client.gather(client.map(slow, range(3), key='mine'))",
    "map with keys": "out = client.gather(client.map(slow, range(3), key=['a', 'b', 'c']))",
    "map of futures": "fs = client.map(apart, range(3))\nout = client.gather(client.map(slow, fs))",
    "submit with what to use": "f = client.submit(slow, 3, allow_other_workers=True,"
    " workers=list(client.scheduler_info()['workers'])[:1])\nout = f.result()",
    "futures inside": "a, b = client.map(apart, [1, 2])\n"
    "def total(d, e):\n    return d['x'] + e[0][0] * FACTOR\n"
    "out = client.submit(total, {'x': a}, [(b, 1)]).result()",
    "futures in delayed": "a = client.submit(apart, 1)\nout = dask.delayed(slow)(a).compute()",
    "annotations": "with dask.annotate(priority=3, retries=2):\n"
    "    d = [dask.delayed(slow)(i) for i in range(3)]\n"
    "out = dask.compute(*d)",
    "containers": "d = {'a': [dask.delayed(slow)(1)], 'b': (dask.delayed(apart)(2), 3)}\n"
    "out = dask.compute(d, [dask.delayed(slow)(4)])",
    "executor": "with client.get_executor() as pool:\n    out = list(pool.map(slow, range(3)))",
    "array from delayed": "x = da.from_delayed(dask.delayed(lambda n: np.ones(n) * FACTOR)(4),"
    " (4,), float)\nout = x.sum().compute()",
    "map_overlap": "x = da.from_array(np.arange(40.0), chunks=10)\n"
    "out = x.map_overlap(lambda b: b * FACTOR, depth=1).sum().compute()",
    "frame from delayed": "d = dd.from_delayed([dask.delayed(lambda i: pd.DataFrame({'a': [i * "
    "FACTOR]}))(i) for i in range(3)])\nout = d.a.sum().compute()",
    "bag to frame": "b = db.from_sequence(range(6), npartitions=2).map(lambda i: {'a': slow(i)})\n"
    "out = b.to_dataframe().a.sum().compute()",
    "bag groups": "b = db.from_sequence(range(9), npartitions=3).map(slow)\n"
    "out = sorted(b.foldby(lambda i: i % 2, lambda t, i: t + i, 0).compute())",
    "xarray": "import xarray as xr\n"
    "x = xr.DataArray(np.arange(40.0), dims='t').chunk(t=10)\n"
    "out = float(xr.apply_ufunc(lambda b: b * FACTOR, x, dask='parallelized',"
    " output_dtypes=[float]).sum())",
    "bind": "from dask.graph_manipulation import bind\n"
    "a, b = dask.delayed(slow)(1), dask.delayed(apart)(2)\nout = bind(b, a).compute() + FACTOR",
    "checkpoint": "from dask.graph_manipulation import checkpoint, wait_on\n"
    "a = dask.delayed(slow)(1)\nout = (checkpoint(a).compute(), wait_on(a).compute())",
    "clone": "from dask.graph_manipulation import clone\n"
    "x = da.ones(8, chunks=4) * FACTOR\nout = clone(x).sum().compute()",
    "collection of one's own": """
from dask.base import DaskMethodsMixin
class Mine(DaskMethodsMixin):
    def __init__(self, graph, keys):
        self.graph, self.keys = graph, keys
    def __dask_graph__(self):
        return self.graph
    def __dask_keys__(self):
        return self.keys
    def __dask_postcompute__(self):
        return sum, ()
    def __dask_postpersist__(self):
        return lambda graph, *rest, **options: Mine(graph, self.keys), ()
    __dask_scheduler__ = staticmethod(dask.threaded.get)
mine = Mine({'a': (slow, 1), 'b': (apart, 'a'), 'c': (slow, 2)}, ['b', 'c'])
out = (mine.compute(), mine.persist().compute())
""",
    "scatter": "data = client.scatter(np.arange(5))\n"
    "out = client.submit(lambda x: int(x.sum()) * FACTOR, data).result()",
    "scatter of several": "a, b = client.scatter([[1, 2], [3]], broadcast=True)\n"
    "d = client.scatter({'k': 5})\n"
    "out = client.gather([client.submit(pair, len(a.result()), b), client.submit(slow, d['k'])])",
    "datasets": "client.publish_dataset(mine=client.submit(apart, 2))\n"
    "out = client.submit(slow, client.get_dataset('mine')).result()\n"
    "client.unpublish_dataset('mine')",
    "persisted frame": "p = pd.DataFrame({'k': np.arange(40) % 7, 'v': range(40)})\n"
    "d = dd.from_pandas(p, npartitions=4).persist()\n"
    "e = d.map_partitions(lambda q: q.assign(w=q.v * FACTOR)).persist()\n"
    "out = (len(d), e.w.sum().compute())",
    "configuration": "with dask.config.set({'optimization.fuse.active': False}):\n"
    "    out = (da.ones(8, chunks=4) * FACTOR).sum().compute()",
}
MISSES = {
    "it is new or edited", "a task above it runs",
    "a future that it uses is not what it was, or is not known",
}  # fmt: skip


def plain(client, *sources):  # noqa: F811
    """What ``out`` is without a cache."""
    namespace = {"__name__": "__main__", "client": client}
    for source in sources:
        exec(source, namespace)
    out = namespace["out"]
    namespace.clear()
    empty(client)
    return out


def empty(client):  # noqa: F811
    """Nothing is left on the cluster: Dask would not run again what it has under the same key."""
    gc.collect()
    for _ in range(1000):
        if not client.cluster.scheduler.tasks and not client.futures:
            return
        time.sleep(0.01)
    left = [(t.key, t.state, str(t.who_wants)) for t in client.cluster.scheduler.tasks.values()]
    raise AssertionError(f"left on the cluster: {left}")


def run(kernel, *sources):
    """What ``out`` is; nothing is left."""
    try:
        return kernel.run(*sources)
    finally:
        empty(kernel.client)


@pytest.mark.parametrize("way", WAYS)
def test_a_way_into_dask_is_loaded_unchanged_and_right_if_edited(tmp_path, client, way):  # noqa: F811
    """Results are those of a run without cache."""
    start = START + MORE
    if way == "xarray":
        pytest.importorskip("xarray")
    expected = plain(client, start, WAYS[way])
    audit = Kernel(tmp_path, client)
    assert run(audit, start, WAYS[way]) == expected
    assert audit.cache.counts.run and not audit.cache.notes
    known = audit.known()
    again = Kernel(tmp_path, client, known)
    assert run(again, start, WAYS[way]) == expected
    counts = again.cache.counts
    assert counts.loaded and not counts.run and not again.cache.notes, counts
    start = start.replace("FACTOR = 3", "FACTOR = 4")
    edited = Kernel(tmp_path, client, known)
    assert run(edited, start, WAYS[way]) == plain(client, start, WAYS[way]) != expected
    assert edited.cache.counts.run and set(edited.cache.counts.misses) <= MISSES


def test_a_key_that_is_used_anew_is_another_task(tmp_path, client):  # noqa: F811
    """What had it was loaded and let go of; what has it now runs."""
    way = """
out = [client.submit(apart, 1, key='k').result()]
for _ in range(500):
    if not client.futures:
        break
    time.sleep(0.01)
out.append(client.submit(slow, 5, key='k').result())
"""
    audit = Kernel(tmp_path, client)
    assert run(audit, START, way) == [-1, 15]
    edited = Kernel(tmp_path, client, audit.known())
    assert run(edited, START.replace("FACTOR = 3", "FACTOR = 4"), way) == [-1, 20]
    assert (edited.cache.counts.run, edited.cache.counts.loaded) == (1, 1)


def test_scattered_data_are_an_input_by_content(tmp_path, client):  # noqa: F811
    """Other data, another result; what uses the rest is loaded."""
    way = (
        "a, b = client.scatter([np.arange(5), np.arange(3)])\n"
        "out = client.gather([client.submit(slow, len(a.result())), client.submit(np.sum, a),"
        " client.submit(np.sum, b)])"
    )
    audit = Kernel(tmp_path, client)
    assert run(audit, START, way) == [15, 10, 3]
    edited = Kernel(tmp_path, client, audit.known())
    assert run(edited, START, way.replace("np.arange(3)", "np.arange(4)")) == [15, 10, 6]
    assert (edited.cache.counts.run, edited.cache.counts.loaded) == (1, 2)


def test_what_a_task_starts_or_asks_for_is_not_used_again(tmp_path, client):  # noqa: F811
    """Through worker_client, get_client, a collection or a variable; others are loaded."""
    source = tmp_path / "in"
    way = f"""
def read(path):
    return int(open(path).read())
def by_worker_client(path):
    with worker_client() as c:
        return c.submit(read, path).result()
def by_get_client(path):
    c = get_client()
    f = c.submit(read, path)
    secede()
    found = c.gather(f)
    rejoin()
    return found
def by_collection(path):
    return dask.delayed(read)(path).compute()
def by_variable(path):
    return distributed.Variable('nbrw-test').get()
value = distributed.Variable('nbrw-test')
value.set(read({str(source)!r}))
ways = [by_worker_client, by_get_client, by_collection, by_variable]
fs = [client.submit(way, {str(source)!r}) for way in ways]
out = client.gather([client.submit(slow, f) for f in fs]) + [client.submit(slow, 2).result()]
value.delete()
"""
    source.write_text("1")
    audit = Kernel(tmp_path, client)
    assert run(audit, START + MORE, way) == [3, 3, 3, 3, 6]
    source.write_text("5")
    again = Kernel(tmp_path, client, audit.known())
    assert run(again, START + MORE, way) == [15, 15, 15, 15, 6]
    assert (again.cache.counts.run, again.cache.counts.loaded) == (8, 1)
    assert any("asks of the cluster" in reason for reason in again.cache.counts.misses)


def test_what_a_worker_is_called_is_not_used_again(tmp_path, client):  # noqa: F811
    """Another worker may have the task the next time."""
    way = (
        "from distributed import get_worker\nout = client.submit(lambda: len(get_worker().address))"
    )
    way += ".result() > 0"
    audit = Kernel(tmp_path, client)
    assert run(audit, START, way) is True
    assert audit.found is None


def test_actors_and_their_methods_are_never_loaded(tmp_path, client):  # noqa: F811
    """An actor counts from nought in a repeat; a task that is given one runs."""
    way = """
class Counter:
    def __init__(self):
        self.n = 0
    def add(self, x):
        self.n += x
        return self.n
def ask(counter):
    return counter.add(10).result()
future = client.submit(Counter, actor=True)
counter = future.result()
out = [counter.add(1).result(), counter.add(1).result(), client.submit(ask, future).result(),
       client.submit(slow, 2).result()]
"""
    audit = Kernel(tmp_path, client)
    assert run(audit, START, way) == [1, 2, 12, 6]
    again = Kernel(tmp_path, client, audit.known())
    assert run(again, START, way) == [1, 2, 12, 6]
    assert (again.cache.counts.run, again.cache.counts.loaded) == (1, 1)


def test_what_is_fired_and_forgotten_writes_again(tmp_path, client):  # noqa: F811
    """Its future is let go of; the rest is loaded."""
    place = tmp_path / "out"
    way = f"""
def write(x):
    time.sleep(0.3)  # what has ended before it is forgotten, Dask keeps
    with open({str(place)!r}, 'a') as stream:
        stream.write(str(x))
distributed.fire_and_forget(client.submit(write, 7))
out = client.submit(slow, 3).result()
for _ in range(500):
    try:
        if open({str(place)!r}).read():
            break
    except FileNotFoundError:
        pass
    time.sleep(0.01)
"""
    audit = Kernel(tmp_path, client)
    assert run(audit, START + MORE, way) == 9 and place.read_text() == "7"
    known = audit.known()
    place.unlink()
    again = Kernel(tmp_path, client, known)
    assert run(again, START + MORE, way) == 9 and place.read_text() == "7"
    assert (again.cache.counts.run, again.cache.counts.loaded) == (1, 1)


def test_what_is_stored_elsewhere_is_stored_again(tmp_path, client):  # noqa: F811
    """dask.array.store into a file, to_npy_stack, to_parquet, read_parquet of it."""
    pytest.importorskip("pyarrow")
    place = tmp_path / "files"
    way = f"""
import os, shutil
shutil.rmtree({str(place)!r}, ignore_errors=True)
os.mkdir({str(place)!r})
os.chdir({str(place)!r})
class Target:
    def __setitem__(self, where, block):
        with open(f'{place}/stored-{{where[0].start}}', 'w') as stream:
            stream.write(str(block.sum()))
x = da.ones(8, chunks=4) * FACTOR
x.store(Target(), lock=False)
da.to_npy_stack({str(place / "stack")!r}, x)
d = dd.from_pandas(pd.DataFrame({{'a': range(8)}}), npartitions=2)
d.assign(b=d.a * FACTOR).to_parquet({str(place / "frame")!r})
out = [sorted(os.listdir(p)) for p in ('.', 'stack', 'frame')]
out += [open('stored-0').read(), dd.read_parquet('frame').b.sum().compute()]
os.chdir('/')
"""
    audit = Kernel(tmp_path, client)
    first = run(audit, START, way)
    assert first[3:] == ["12.0", 84]
    known = audit.known()
    again = Kernel(tmp_path, client, known)
    assert run(again, START, way) == first
    assert again.cache.counts.run
    edited = Kernel(tmp_path, client, known)
    found = run(edited, START.replace("FACTOR = 3", "FACTOR = 4"), way)
    assert found[3:] == ["16.0", 112]


def test_resources_are_kept(tmp_path):
    """A worker that has them runs the task, and loads it."""
    way = "f = client.submit(slow, 3, resources={'GPU': 1})\n"
    way += "out = (f.result(), list(client.who_has(f).values()))\n"
    way += "out = (out[0], len(out[1][0]))"
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            resources={"GPU": 1},
        ) as cluster,
        distributed.Client(cluster) as own,
    ):
        audit = Kernel(tmp_path, own)
        assert run(audit, START, way) == (9, 1)
        assert not audit.cache.notes
        again = Kernel(tmp_path, own, audit.known())
        assert run(again, START, way) == (9, 1)
        assert (again.cache.counts.run, again.cache.counts.loaded) == (0, 1)


def test_workers_in_this_process_are_left_alone(tmp_path):
    """What the notebook does to a result, it does to the worker's data. It is said."""
    way = (
        "x = client.submit(np.ones, 3)\na = x.result()\na += 1\n"
        "out = client.submit(lambda v: float(v.sum()), x).result()"
    )
    with distributed.Client(n_workers=1, processes=False, dashboard_address=":0") as own:
        audit = Kernel(tmp_path, own)
        assert run(audit, START, way) == 6
        assert audit.cache.counts.run == 0 and "in the notebook's process" in audit.cache.notes[0]


def test_joblib_on_dask_is_loaded_unchanged_and_right_if_edited(tmp_path, client):  # noqa: F811
    """It submits from the event loop, where nobody may wait: workers load what is known."""
    pytest.importorskip("joblib")
    way = "import joblib\nwith joblib.parallel_backend('dask'):\n"
    way += "    out = joblib.Parallel(batch_size=1)(joblib.delayed(slow)(i) for i in range(4))"

    def kernel(known=None):
        made = Kernel(tmp_path, client, known)
        made.cache.ship(client)  # as when a client is made
        return made

    audit = kernel()
    assert run(audit, START, way) == [0, 3, 6, 9]
    assert audit.cache.counts.run == 4 and not audit.cache.notes
    again = kernel(audit.known())
    assert run(again, START, way) == [0, 3, 6, 9]
    counts = again.cache.counts
    assert (counts.loaded, counts.run) == (4, 0) and not again.cache.notes, counts
    edited = kernel(audit.known())
    assert run(edited, START.replace("FACTOR = 3", "FACTOR = 4"), way) == [0, 4, 8, 12]
    assert (edited.cache.counts.loaded, edited.cache.counts.run) == (0, 4)


def test_a_client_that_workers_know_nothing_of_is_left_alone_in_its_event_loop(tmp_path, client):  # noqa: F811
    """To tell them one would have to wait. It is said."""
    pytest.importorskip("joblib")
    way = "import joblib\nwith joblib.parallel_backend('dask'):\n"
    way += "    out = joblib.Parallel()(joblib.delayed(slow)(i) for i in range(4))"
    audit = Kernel(tmp_path, client)
    assert run(audit, START, way) == [0, 3, 6, 9]
    assert ["event loop" in note for note in audit.cache.notes] == [True]


def test_a_local_scheduler_beside_a_client_is_its_own(tmp_path, client, monkeypatch):  # noqa: F811
    """What goes to the client is counted once, and does not meet the other."""
    audit = Kernel(tmp_path, client)
    for name in ("dask.local", "dask.threaded", "dask.multiprocessing"):
        # A kernel of another test may have patched it.
        usual = sys.modules[name].get_async
        monkeypatch.setattr(sys.modules[name], "get_async", getattr(usual, "__wrapped__", usual))
    task_local.patch(lambda: audit.cache)
    way = "out = (dask.delayed(slow)(1).compute(),"
    way += " dask.delayed(slow)(1).compute(scheduler='sync'))"
    assert run(audit, START, way) == (3, 3)
    assert audit.cache.counts.run == 2
