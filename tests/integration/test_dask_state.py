"""Dask objects of a notebook, in another process, with the first cluster gone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, Event, Nanny, SpecCluster, Status, Worker
from distributed.deploy.spec import ProcessInterface

from nbrw_runtime import dask_contents, dask_state, task_client, task_virtual
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_virtual import Load
from notebook_helper import run, write_notebook
from repeat_harness import Repeat, audit, disconnect, plain_run

try:
    from distributed import SubprocessCluster
except ImportError:
    SubprocessCluster = None

pytestmark = pytest.mark.integration

CELLS = (
    "from dask.distributed import Client, LocalCluster, Queue, as_completed\n"
    "cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n"
    "client = Client(cluster)\nclient",
    "import dask, dask.array as da, dask.dataframe as dd, dask.bag as db\nimport pandas as pd\n"
    "counted = []\n"
    "def slow(n):\n    open(f'ran-{n}', 'w').close()\n    return n * n\n"
    "futures = client.map(slow, range(4))\nsame = futures[0]\n"
    "total = client.submit(sum, futures)\n"
    "scattered = client.scatter([1, 2, 3])\n"
    "frame = dd.from_pandas(pd.DataFrame({'x': range(10), 'g': [0, 1] * 5}), npartitions=2)\n"
    "kept = frame.assign(y=frame.x * 2).persist()\nlazy = kept.groupby('g').y.sum()\n"
    "array = da.arange(100, chunks=25).persist()\nbag = db.from_sequence(range(6)).persist()\n"
    "delayed = dask.delayed(slow)(7)\ntotal.result()",
    "queue = Queue('q')\nbad = client.submit(lambda: 1 / 0)\nwait = bad.exception()\n"
    "class Counter:\n    n = 0\nactor = client.submit(Counter, actor=True).result()",
    "print(total.result(), client.gather(futures), same is futures[0], scattered.result()"
    " if hasattr(scattered, 'result') else client.gather(scattered))\n"
    "print(lazy.compute().to_dict(), int(array.sum().compute()), bag.sum().compute())\n"
    "print(client.cluster is cluster, len(client.scheduler_info()['workers']) <= 2)\n"
    "print(client.submit(lambda a: a + 1, total).result())",
    "print(delayed.compute())",
)


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    """A notebook full of Dask objects, built."""
    place = tmp_path_factory.mktemp("dask")
    write_notebook(place / "d.ipynb", *CELLS)
    done = run("nbrw-build", "d.ipynb", "-o", "image", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    return place, json.loads(done.stdout)


@pytest.fixture
def cache(tmp_path):
    """Environment variables: an empty cache of one's own."""
    return {"NBRW_CACHE_DIR": str(tmp_path / "cache"), "NBRW_CACHE_SIZE": "1G"}


def test_clients_futures_and_collections_mean_what_they_meant(author, tmp_path):
    """Values are right, tasks that made them do not run again, identities hold."""
    place, _ = author
    argv = ("run", "--engine", "embedded", place / "image", "repeat", "--from", "4", "--json")
    done = run("nbrw", *argv, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [c["action"] for c in report["cells"]][:2] == ["restored", "restored"]
    assert report["equal"], report
    notebook = json.loads((tmp_path / "d.repeat.ipynb").read_text())
    text = "".join(notebook["cells"][3]["outputs"][0]["text"])
    assert text.splitlines() == [
        "14 [0, 1, 4, 9] True [1, 2, 3]",
        "{0: 40, 1: 50} 4950 15",
        "True True",
        "15",
    ]
    # ran-7 is of the last cell; the others came back as files of a restored cell.
    assert sorted(path.name for path in tmp_path.glob("ran-*")) == [
        f"ran-{n}" for n in (0, 1, 2, 3, 7)
    ]


def test_what_has_no_value_is_left_out_with_a_reason(author):
    """A future whose task failed, and an actor; not a queue."""
    _, built = author
    omitted = {o["name"]: o["reason"] for c in built["cells"] for o in c["omitted"]}
    assert "error" in omitted["bad"] and "actor" in omitted["actor"]
    assert omitted.keys() == {"bad", "actor"}


def test_the_authors_scheduler_elsewhere_becomes_a_cluster_here(tmp_path):
    """An unmodified Client("tcp://...") cell runs in a repeat, and the report says so."""
    place = tmp_path / "author"
    place.mkdir()
    first = (
        "from dask.distributed import Client, LocalCluster\n"
        "if not globals().get('address'):\n"
        "    address = 'tcp://192.0.2.1:8786'\n"
        "print('ready')"
    )
    second = "client = Client(address, timeout=10)\nprint(client.submit(sum, [1, 2]).result())"
    write_notebook(place / "r.ipynb", first, second)
    # The author's own run of the second cell fails: there is no such scheduler.
    done = run("nbrw-build", "r.ipynb", "-o", "image", "--allow-errors", cwd=place)
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    work.mkdir()
    argv = ("run", "--engine", "embedded", place / "image", "repeat", "--from", "2", "--json")
    done = run("nbrw", *argv, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    notebook = json.loads((work / "r.repeat.ipynb").read_text())
    assert "".join(notebook["cells"][1]["outputs"][0]["text"]) == "3\n"
    assert "uses a cluster on this machine" in " ".join(json.loads(done.stdout)["notes"])


def test_a_kernel_with_a_cluster_ends_in_order(tmp_path):
    """It is not killed after a wait: exit handlers run, in the audit and in the repeat."""
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir(), elsewhere.mkdir()
    write_notebook(
        work / "e.ipynb",
        "import atexit\nfrom dask.distributed import Client\n"
        "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=None)\n"
        "atexit.register(lambda: open('ended', 'w').close())\nclient.submit(len, 'abc').result()",
    )
    done = run("nbrw-build", "e.ipynb", "-o", "image", cwd=work)
    assert done.returncode == 0, done.stderr
    assert (work / "ended").exists()
    argv = ("run", "--engine", "embedded", work / "image", "repeat", "--from", "1")
    done = run("nbrw", *argv, cwd=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (elsewhere / "ended").exists()


@pytest.mark.parametrize("processes", [True, False])
def test_what_a_task_reads_and_writes_is_its_cells_doing(processes, tmp_path):
    """Also where it does so after the cell has returned, in a process or a thread."""
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir(), elsewhere.mkdir()
    write_notebook(
        work / "a.ipynb",
        "import time\nfrom dask.distributed import Client\n"
        f"client = Client(n_workers=1, processes={processes}, dashboard_address=':0')",
        "def late():\n    time.sleep(0.5)\n    text = open('in.txt').read()\n"
        "    open('out.txt', 'w').write(text)\n    return text\nfuture = client.submit(late)",
        "other = 1",
        "print(future.result())",
    )
    (work / "in.txt").write_text("one")
    done = run("nbrw-build", "a.ipynb", "-o", "image", "--minimal", "--json", cwd=work)
    assert done.returncode == 0, done.stderr
    (elsewhere / "in.txt").write_text("two")
    argv = ("run", "--engine", "embedded", work / "image", "repeat", "--json")
    done = run("nbrw", *argv, cwd=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    actions = [cell["action"] for cell in json.loads(done.stdout)["cells"]]
    assert actions == ["restored", "run", "restored", "run"]
    assert (elsewhere / "out.txt").read_text() == "two"


def test_futures_that_the_notebook_has_let_go_of_are_left_alone(tmp_path):
    """Though the client, whose event loop is busy, still knows them."""
    with Client(n_workers=1, processes=False, dashboard_address=":0") as client:
        futures = client.map(lambda n: n + 1, range(200))
        assert sum(client.gather(futures)) == 20100
        kept, keys = futures[7], {future.key for future in futures}
        client.loop.add_callback(time.sleep, 0.5)
        del futures
        assert len(client.futures) > 1  # as yet
        context = SimpleNamespace(store_root=tmp_path, store=DirectoryStore(tmp_path))
        assert dask_state.prepare(context) == []
        assert keys & set(dask_state._stored) == {kept.key}
        assert len(list((tmp_path / "sha256").iterdir())) == 1


def test_the_value_of_a_future_that_a_store_has_is_neither_loaded_nor_written_again(tmp_path):
    """The audit noted where it is; another future's value is written."""
    image, here = DirectoryStore(tmp_path / "image"), DirectoryStore(tmp_path / "here")
    there = image.put(b"as the audit stored it")
    loaded = []
    loads = {
        "there": Load(loaded.append, ("there",), "a", there),
        "lost": Load(loaded.append, ("lost",), "b", digest_bytes(b"nowhere")),
        "new": Load(loaded.append, ("new",), "c"),
    }
    with Client(n_workers=1, processes=False, dashboard_address=":0") as client:
        futures = task_virtual.futures(client, loads)
        context = SimpleNamespace(store_root=here.root, store=StackedStore([here, image]))
        assert dask_state.prepare(context) == []
        assert dask_state._stored["there"][1] == there
        assert sorted(loaded) == ["lost", "new"]
        assert len(list(here)) == 1  # both are None
        del futures


def test_to_store_a_value_leaves_what_is_known_to_whoever_asks_for_it(tmp_path):
    """A repeat with one new result among many has workers load none of the others for that."""
    kind = type("Patched", (Client,), {})
    task_client.patch(kind, lambda: None)
    store = DirectoryStore(tmp_path / "here")
    with kind(n_workers=1, processes=False, dashboard_address=":0") as client:
        known = task_virtual.futures(client, {"known": Load(str, (), "name")})
        new = client.submit(abs, -3, key="new")
        # What the notebook itself submits may use what is known.
        assert not task_virtual.has_some(client)
        more = task_virtual.futures(client, {"more": Load(str, (), "name")})
        new.result()
        assert dask_state.prepare(SimpleNamespace(store_root=store.root, store=store)) == []
        assert isinstance(dask_state._stored["new"][1], Digest)
        assert set(task_virtual.loads_of(client)) == {"more"}
        assert "more" not in client.cluster.scheduler.tasks
        del known, more, new


def test_an_edited_cell_keeps_its_loaded_futures_for_the_next_repeat(author, tmp_path, cache):
    """Kept without the image: what is only there is copied."""
    place, _ = author
    edited = [*CELLS[:1], CELLS[1] + "\nprint('edited')", *CELLS[2:]]
    write_notebook(tmp_path / "e.ipynb", *edited)
    argv = ("run", "--engine", "embedded", place / "image", "repeat", "e.ipynb", "--json")
    first, second = (json.loads(run("nbrw", *argv, cwd=tmp_path, **cache).stdout) for _ in range(2))
    tasks = next(c["tasks"] for c in first["cells"] if c["cell"] == 2)
    assert tasks["loaded"] and first["cells"][3]["outputs"] == "equal", first
    assert second["cells"][1]["action"] == "restored", second
    assert second["cells"][3]["outputs"] in ("equal", "restored"), second
    blobs = DirectoryStore(Path(cache["NBRW_CACHE_DIR"]) / "repeats/blobs")
    kept = [
        json.loads(p.read_text())
        for p in Path(cache["NBRW_CACHE_DIR"]).glob("repeats/results/*/*/*.json")
    ]
    futures = {
        f for k in kept for o in k["checkpoint"].get("objects", ()) for f in o.get("futures", ())
    }
    assert futures and all(Digest(text) in blobs for text in futures)


@pytest.mark.skipif(SubprocessCluster is None, reason="this release of Dask has none")
def test_a_cluster_of_programs_comes_back_as_one_of_processes(tmp_path):
    """With its number of workers and threads; a client of it is asked through its scheduler."""
    with (
        SubprocessCluster(
            n_workers=1,
            threads_per_worker=2,
            worker_class="distributed.Worker",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        Event("e").set()
        assert dask_contents.get()["events"] == ("e",)
        assert dask_state.reducer(cluster, None)[1] == (1, 2, True)
        assert dask_state.reducer(client, None) == (dask_state.restore_client, (cluster, None))


@pytest.mark.parametrize(
    "cls, options, shape",
    [
        (Nanny, {"nthreads": 2}, (3, 2, True)),
        (Worker, {"nthreads": 2}, (3, 2, False)),
        (type("SshWorker", (ProcessInterface,), {}), {"kwargs": {"nthreads": 4}}, (3, 4, True)),
        (type("Job", (ProcessInterface,), {}), {"cores": 1}, (3, 1, True)),
    ],
)
def test_the_shape_of_a_cluster_is_that_of_its_workers(cls, options, shape):
    """Of this machine, reached by ssh, or jobs of a batch system: they become processes here."""
    cluster = SpecCluster.__new__(SpecCluster)
    cluster.worker_spec = {n: {"cls": cls, "options": options} for n in range(3)}
    cluster.scheduler_info = {"workers": {}}
    cluster.status = Status.closed
    assert dask_state.reducer(cluster, None) == (dask_state.restore_cluster, shape)


def test_futures_keep_their_places_in_containers(tmp_path):
    """Lists, dictionaries, objects, Delayed, and collections; one future in two places is one."""
    cells = [
        "import dask, dask.array as da\nfrom distributed import Client\n"
        "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
        "class Box:\n    pass\n"
        "a, b = client.map(abs, [-1, -2])\nbox = Box()\nbox.by = {'a': a, 'all': [a, (b, [a])]}\n"
        "pair = [a, a]\nkept = dask.persist(dask.delayed(sum)([a, 5]))[0]\n"
        "lazy = dask.delayed(max)(kept, b)\narray = da.ones(4, chunks=2).persist()\n"
        "both = {'x': array, 'y': array + 1}",
        "n = 1",
    ]
    last = (
        "inner = box.by['all'][1][1][0]\n"
        "print(box.by['a'] is box.by['all'][0] is inner is a, pair[0] is pair[1])\n"
        "print(client.gather(box.by), kept.compute(), lazy.compute())\n"
        "print(float(both['x'].sum().compute()), float(both['y'].sum().compute()))"
    )
    sources = [*cells[:-1], last]
    try:
        recipe, store = audit(tmp_path / "audit", cells)
        disconnect()
        expected = plain_run(tmp_path / "plain" / "work", sources)[-1]
        disconnect()
        found = Repeat(tmp_path / "repeat", recipe, store, sources)
    finally:
        disconnect()
    assert found.outputs[-1] == expected and "True True" in expected[0]["text"]
    assert found.actions == "rrX"
