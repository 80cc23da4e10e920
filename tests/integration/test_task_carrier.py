"""Results of tasks are fetched from workers that are none of the kernel's, and checked."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
from test_task_cache import START, WAYS, Kernel

from nbrw_runtime import task_carrier
from nbrw_runtime.errors import StorageError
from nbrw_runtime.task_carrier import TaskCarrier
from notebook_helper import environment

pytestmark = pytest.mark.integration
distributed = pytest.importorskip("distributed")

ONE = "def one(x):\n    return [x, 1]\n"
#: Large enough to be a blob of its own.
LARGE = (
    "import time, numpy as np\n"
    "def large(x):\n    time.sleep(0.1)\n    return np.arange(x * 10_000)\n"
)


class Cluster:
    """A scheduler and workers, each started by hand."""

    def __init__(self, place, stack):
        self.place, self._stack = place, stack
        self.port = 0
        self.file = place / "scheduler.json"

    def process(self, module, *words, **variables):
        """It ends with the test."""
        log = open(self.place / f"{len(list(self.place.iterdir()))}.log", "wb")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words, "--no-dashboard"],
            cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment(**variables),
        )  # fmt: skip
        self._stack.callback(log.close)
        self._stack.callback(stop, process)
        return process

    def scheduler(self):
        """At the port of the one before, if there was one."""
        self.file.unlink(missing_ok=True)
        words = ("--port", str(self.port), "--host", "127.0.0.1")
        self.running = self.process(
            "dask_scheduler", *words, "--scheduler-file", str(self.file)
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(self.file.read_text())["address"]
                self.port = self.address.rpartition(":")[2]
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def worker(self, name, NBRW_WORKER_TRACE="a trace", **variables):  # noqa: N803
        """One without nanny; its directory has its name. It takes itself for a traced one."""
        variables["NBRW_WORKER_TRACE"] = NBRW_WORKER_TRACE
        options = ("--no-nanny", "--nthreads", "1", "--name", name)
        place = ("--local-directory", str(self.place / name))
        return self.process("dask_worker", self.address, *options, *place, **variables)

    def left(self):
        """What waits to be fetched, on whichever worker."""
        return list(self.place.rglob("nbrw-results-*"))


def stop(process):
    """End it, and wait."""
    process.send_signal(signal.SIGTERM)
    process.wait(30)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A scheduler, no worker yet. To all of them this process is no kernel that started them."""
    monkeypatch.setattr(task_carrier, "identity", lambda: ["another machine", "", 0])
    place = tmp_path / "cluster"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        found = Cluster(place, stack)
        found.scheduler()
        yield found


@pytest.fixture
def client(cluster):
    """Of a cluster with two workers."""
    for name in ("a", "b"):
        cluster.worker(name)
    with distributed.Client(cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


class Auditor(Kernel):
    """An audit whose workers are elsewhere."""

    def __init__(self, place, client):
        place.mkdir(exist_ok=True)
        super().__init__(place, client)
        self.cache.carry(self.store)

    def run(self, *sources):
        """A cell; others may follow."""
        self.namespace |= {"__name__": "__main__", "client": self.client}
        return super().run(*sources)

    def settled(self):
        if self.cache.is_shipped(self.client):
            workers = list(self.client.scheduler_info(n_workers=-1)["workers"])
            self.cache.carrier.fetch(self.client, dict.fromkeys(workers, ""))


def waiting(cluster):
    """Kinds of files that workers have something in."""
    paths = [path for place in cluster.left() for path in place.rglob("*") if path.is_file()]
    return sorted(path.suffix for path in paths if path.stat().st_size)


def results(kernel):
    """How many results are stored."""
    return sum(r.is_stored for r in kernel.index_of(kernel.known())) if kernel.found else 0


def test_all_ways_into_dask_on_workers_elsewhere(tmp_path, cluster, client):
    """What comes back is what a cluster of the notebook's own would have stored."""
    with distributed.LocalCluster(n_workers=1, dashboard_address=":0") as own:
        for number, way in enumerate(WAYS.values()):
            audit = Auditor(tmp_path / f"{number}", client)
            value = audit.run(START, way)
            assert not audit.cache.notes
            with distributed.Client(own) as near:
                again = Kernel(tmp_path / f"{number}", near, audit.known())
                assert str(again.run(START, way)) == str(value)
                assert not again.cache.notes
                assert again.cache.counts.run == 0, way
            audit.cache.carrier.leave(client)
    assert not cluster.left()


def test_results_that_come_in_many_parts(tmp_path, client, monkeypatch):
    """Pickles, lines and large buffers; what is here already is not sent."""
    monkeypatch.setattr(task_carrier, "_LIMIT", 1000)
    monkeypatch.setattr(task_carrier, "_FILES", 2)
    audit = Auditor(tmp_path, client)
    audit.run(ONE + LARGE + "out = client.gather(client.map(one, range(50)))")
    assert results(audit) == 50
    monkeypatch.setattr(task_carrier, "_LIMIT", 50_000)
    audit.run(
        LARGE + "many = [client.submit(large, x) for x in (1, 2, 3)]\nout = client.gather(many)"
    )
    found = audit.index_of(audit.known())
    assert all(blob in audit.store for record in found for blob in record.buffers)
    assert sum(len(record.buffers) for record in found) == 3
    assert not audit.cache.notes


def test_a_worker_that_reaches_the_store_writes_large_buffers_there(tmp_path, cluster, client):
    """Only the rest waits to be fetched."""
    audit = Auditor(tmp_path, client)
    audit.store.root.mkdir()
    fetch, audit.settled = audit.settled, lambda: None
    audit.run(LARGE + "out = client.submit(large, 4).result()")
    assert waiting(cluster) == [".jsonl", ".seg"]
    assert audit.found is None and len(list(audit.store)) == 1
    fetch()
    assert len(audit.collector.collect(audit.store)[1]) == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"other-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"},
         "it has other software: other, 1.0 there, none here"),
        ({"sitecustomize.py": "import brought", "brought.py": "x = 1"},
         "its module brought is not the notebook's"),
        ({"sitecustomize.py": "import brought, os; os.utime(brought.__file__)", "brought.py": ""},
         "its file of the module brought may have changed since it was loaded"),
    ],
    ids=["another distribution", "a module that the notebook lacks", "a module that has changed"],
)  # fmt: skip
def test_a_worker_with_other_software_is_not_relied_on(tmp_path, cluster, files, said):
    """A fingerprint has what the kernel's would do. The difference is named, and tasks run."""
    place = cluster.place / "path"
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    time.sleep(0.1)  # what was written just before a worker began may have changed since
    cluster.worker("a", PYTHONPATH=str(place))
    with distributed.Client(cluster.address) as client:
        audit = Auditor(tmp_path, client)
        assert audit.run(ONE + "out = client.submit(one, 5).result()") == [5, 1]
        assert results(audit) == 0
        (note,) = audit.cache.notes
        assert note.startswith("results of tasks on tcp://") and note.endswith(f"not kept: {said}")
        # What was refused is not offered again.
        assert not waiting(cluster)


def test_a_worker_that_is_not_traced_keeps_nothing(tmp_path, cluster):
    """What its tasks read nobody would know."""
    cluster.worker("a", NBRW_WORKER_TRACE="")
    with distributed.Client(cluster.address) as client:
        audit = Auditor(tmp_path, client)
        assert audit.run(ONE + "out = client.submit(one, 5).result()") == [5, 1]
        assert audit.found is None and not audit.cache.notes and not cluster.left()


def test_results_that_do_not_count_are_dropped(tmp_path, cluster, client):
    """The reason is said."""
    audit = Auditor(tmp_path, client)
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    doubts = dict.fromkeys(workers, "it read what is not here")
    audit.settled = lambda: audit.cache.carrier.fetch(client, doubts)
    audit.run(ONE + "out = client.gather(client.map(one, range(20)))")
    assert audit.found is None and not waiting(cluster)
    assert {note.rpartition(": ")[2] for note in audit.cache.notes} == {"it read what is not here"}


def test_a_scheduler_of_another_release_is_left_alone(tmp_path, client, monkeypatch):
    """It would not find its way in our functions; the notebook runs as usual."""
    from distributed import versions

    usual = versions.get_versions

    def newer(packages=None):
        found = usual(packages)
        return {**found, "packages": {**found["packages"], "dask": "3000.1"}}

    monkeypatch.setattr(versions, "get_versions", newer)
    audit = Auditor(tmp_path, client)
    assert audit.run(ONE + "out = client.submit(one, 5).result()") == [5, 1]
    assert audit.found is None
    assert len(audit.cache.notes) == 1, audit.cache.notes
    (note,) = audit.cache.notes
    assert note.startswith("results of tasks are not kept: its scheduler has dask ")
    assert note.endswith(", the notebook 3000.1")


def test_a_scheduler_that_is_started_anew_is_told_again(tmp_path, cluster, client):
    """The client connects to it by itself; so do new workers."""
    audit = Auditor(tmp_path, client)
    assert audit.run(ONE + "out = client.submit(one, 5).result()") == [5, 1]
    cluster.running.kill()
    cluster.running.wait()
    cluster.scheduler()
    cluster.worker("c")
    client.wait_for_workers(1, timeout=60)
    assert audit.run(ONE + "out = client.submit(one, 6).result()") == [6, 1]
    assert results(audit) == 1 and not audit.cache.notes


def test_two_audits_on_one_cluster_do_not_mix(tmp_path, cluster, client):
    """Each has its own results, and none of the other's; one ends before the other."""
    with distributed.Client(cluster.address) as other:
        first, second = Auditor(tmp_path / "1", client), Auditor(tmp_path / "2", other)
        skipped, first.settled = first.settled, lambda: None
        first.run(ONE + "out = client.gather(client.map(one, range(7)))")
        second.run(ONE + "out = client.gather(client.map(one, range(10, 13)))")
        assert results(second) == 3
        second.cache.carrier.leave(other)
        first.settled = skipped
        first.run(ONE + "out = client.gather(client.map(one, range(20, 24)))")
        assert results(first) == 7 + 4, first.index_of(first.known())
        first.cache.carrier.leave(client)
    assert not cluster.left()


def test_a_worker_without_room_loses_results_and_nothing_else(tmp_path, cluster, client):
    """The notebook has what its tasks gave."""
    audit = Auditor(tmp_path, client)
    audit.cache.ship(client)
    for place in cluster.left():
        place.rmdir()
        place.write_text("no directory")
    assert audit.run(ONE + "out = client.gather(client.map(one, range(4)))") == [
        [x, 1] for x in range(4)
    ]
    assert audit.found is None


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("../1-0123456789ab.seg", b"", "it is none of its results"),
        ("blobs/sha256/../x", b"", "it is none of its results"),
        (f"blobs/sha256/{'0' * 64}", b"data", "its content has digest"),
    ],
)
def test_what_is_none_of_a_workers_results_is_refused(tmp_path, name, data, said):
    """Names that lead elsewhere, contents that are not what the name says."""
    kernel = Kernel(tmp_path, None)
    carrier = TaskCarrier(kernel.store, kernel.cache.orders, lambda name: "", print)
    with pytest.raises(StorageError, match=said):
        carrier.put(name, 0, data, len(data), "m")
    assert not list(tmp_path.glob("*.seg")) and not (tmp_path / "x").exists()
