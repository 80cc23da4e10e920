"""`repeat --cluster`: what a notebook is promised of its cluster, wherever its tasks run."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess

import pytest
from test_cluster_roles import make_certificates

from cluster_helper import running, said, wait_for
from notebook_helper import command, environment, run, write_notebook

pytest.importorskip("distributed")
pytestmark = pytest.mark.integration

#: The author's, whose cluster is on her machine.
CELLS = (
    "import os\nfrom dask.distributed import Client, LocalCluster\nimport helper\n"
    "os.environ['FACTOR'] = '3'",
    "cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0')\n"
    "client = Client(cluster)\n"
    "print(isinstance(cluster, LocalCluster), client.cluster is cluster)",
    "def scaled(x):\n    return helper.twice(x) * int(os.environ['FACTOR'])\n"
    "futures = client.map(scaled, range(6))\nprint(client.gather(futures))",
    "def size(path):\n    return len(open(path).read())\n"
    "print(client.submit(size, 'in.txt').result())\n"
    "print(client.submit(os.getcwd).result() == os.getcwd())",
    "client.publish_dataset(kept=futures)\n"
    "print(client.list_datasets(), sum(client.gather(futures)))",
    "cluster.scale(2)\ncluster.wait_for_workers(2)\nclient.wait_for_workers(1)\n"
    "print(len(cluster.workers) > 0, cluster.scheduler_address == client.scheduler.address)\n"
    "client.close()\ncluster.close()\nprint(cluster.status.name)",
)
#: A collaborator's: three ways to name a cluster that is not there.
EDITED = {
    "an address": "from dask.distributed import Client\nclient = Client('tcp://10.9.8.7:8786')",
    "a file": "from dask.distributed import Client\nclient = Client(scheduler_file='/none.json')",
    "nothing": "from dask.distributed import Client\nclient = Client(n_workers=4)",
}
LAST = (
    "client.wait_for_workers(1)\nprint(sum(client.gather(client.map(lambda x: x * x, range(9)))))"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An OCI directory of the author's notebook."""
    place = tmp_path_factory.mktemp("author") / "proj"
    place.mkdir()
    (place / "in.txt").write_text("input\n")
    (place / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    write_notebook(place / "tasks.ipynb", *CELLS)
    done = run("nbrw-build", "tasks.ipynb", "-o", "tasks", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "in.txt").unlink()
    (place / "helper.py").unlink()
    return place / "tasks"


@pytest.fixture(scope="module")
def other(image):
    """An image of an edited notebook."""
    place = image.parent.parent / "other"
    place.mkdir()
    write_notebook(place / "tasks.ipynb", "from dask.distributed import Client\nx = 1")
    done = run("nbrw-build", "tasks.ipynb", "-o", "tasks", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "tasks"


@pytest.fixture
def work(tmp_path):
    """Somebody else's empty work directory."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def words(image, *argv):
    return [*command("nbrw"), "run", "--engine", "embedded", str(image), *map(str, argv)]


def started(image, work, *argv):
    """A command of an image, until the block ends; its log is beside the work directory."""
    options = {"cwd": work, "env": environment(), "stdin": subprocess.DEVNULL}
    return running(words(image, *argv), work.parent, argv[0], **options)


def repeat(image, work, *argv, code=0):
    """Run `repeat --json`; returns the report."""
    done = subprocess.run(
        words(image, "repeat", *argv, "--json"), cwd=work, env=environment(), text=True,
        capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


@contextlib.contextmanager
def cluster(kind, image, work):
    """A cluster of two workers; yields the options that name it."""
    if kind == "local":
        yield ["--workers", "2", "--cores", "1"]
        return
    tls = ["--tls", "certs"] if kind == "tls" else []
    if tls:
        if not shutil.which("openssl"):
            pytest.skip("needs openssl")
        make_certificates(work / "certs")
    file = work / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", file.name, *tls)
    with started(image, work, "scheduler", *options) as scheduler:
        address = wait_for(lambda: said(file), scheduler)["address"]
        place = f"scheduler-file:{file.name}" if kind == "file" else address
        with started(image, work, "worker", place, "--workers", 2, "--cores", 1, *tls):
            yield ["--cluster", place, "--workers", "2", *tls]


@pytest.fixture(scope="module", params=["local", "file", "tcp", "tls"])
def given(request, image, tmp_path_factory):
    """A cluster of each kind, in a work directory; all tests of a kind share it."""
    work = tmp_path_factory.mktemp(request.param) / "work"
    work.mkdir()
    with cluster(request.param, image, work) as options:
        yield work, options


def test_a_notebook_of_its_own_cluster_gives_what_the_author_had(image, given):
    """Unmodified: what it sets before, what its tasks import and read, what it asks of the cluster.

    Twice, as a scheduler goes on, and must not remember what an earlier repeat published.
    """
    work, options = given
    for _ in range(2):
        report = repeat(image, work, "--all", "--verify", "--no-keep", *options)
        assert report["equal"], report
        assert [cell["action"] for cell in report["cells"]] == ["run"] * len(CELLS)


@pytest.mark.parametrize("way", EDITED)
def test_clients_of_what_is_not_there_get_the_cluster(image, given, way):
    """By address, by file, or by none."""
    work, options = given
    write_notebook(work / "edited.ipynb", EDITED[way], LAST)
    report = repeat(image, work, "edited.ipynb", "-o", "out.ipynb", "--no-keep", *options)
    outputs = json.loads((work / "out.ipynb").read_text())["cells"][1]["outputs"]
    assert "".join(outputs[0]["text"]) == "204\n", report
    for name in ("edited.ipynb", "out.ipynb"):
        (work / name).unlink()


def test_restored_futures_work_on_the_cluster(image, given):
    """Cells that made client and futures are restored; a later one uses them."""
    work, options = given
    report = repeat(image, work, "--from", 5, "--no-keep", *options)
    assert report["equal"], report
    actions = [cell["action"] for cell in report["cells"]]
    assert actions[4:] == ["run", "run"] and "restored" in actions


TASKS = (
    "from dask.distributed import Client, LocalCluster\nimport time\n"
    "client = Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0'))",
    "def slow(x):\n    time.sleep(0.01)\n    return [x] * 20_000\n"
    "parts = client.map(slow, range(6))\n"
    "def all_of(parts):\n    time.sleep(0.01)\n    return sum(map(sum, parts))\n"
    "print(client.submit(all_of, parts).result())",
)


def test_tasks_are_loaded_from_the_image_by_workers_of_another_scheduler(tmp_path):
    """Those that an edit does not reach; what ran there is not kept, as nobody saw what it read."""
    author, work = tmp_path / "author", tmp_path / "work"
    author.mkdir()
    work.mkdir()
    write_notebook(author / "tasks.ipynb", *TASKS)
    done = run("nbrw-build", "tasks.ipynb", "-o", "../tasks", cwd=author)
    assert done.returncode == 0, done.stderr
    edited = TASKS[1].replace("sum(map(sum, parts))", "-sum(map(sum, parts))")
    write_notebook(work / "edited.ipynb", TASKS[0], edited)
    with cluster("file", tmp_path / "tasks", work) as options:
        for _ in range(2):
            (work / "edited.repeat.ipynb").unlink(missing_ok=True)
            report = repeat(tmp_path / "tasks", work, "edited.ipynb", "-o", "out.ipynb", *options)
            outputs = json.loads((work / "out.ipynb").read_text())["cells"][1]["outputs"]
            assert "".join(outputs[0]["text"]) == "-300000\n", report
            tasks = report["cells"][1]["tasks"]
            assert (tasks["loaded"], tasks["run"]) == (6, 1), report
            assert any("nobody sees what workers" in note for note in report["notes"])


def test_a_scheduler_of_another_image_is_refused_by_the_kernel(image, other, work):
    """The cell that asks for the cluster fails, and the message names both images."""
    with cluster("file", image, work) as options:
        report = repeat(other, work, "--all", code=0)
        write_notebook(work / "edited.ipynb", EDITED["an address"])
        report = repeat(other, work, "edited.ipynb", *options, code=1)
    error = next(cell["error"] for cell in report["cells"] if cell["action"] == "failed")
    assert error.count("sha256:") == 2 and "start both from the same image" in error


def test_as_written_leaves_the_notebooks_cluster(image, work):
    """It runs there, and not where the repeat would have put it."""
    with cluster("tcp", image, work) as options:
        text = f"from dask.distributed import Client\nclient = Client({options[1]!r})"
        write_notebook(
            work / "edited.ipynb", text, "print(client.cluster, client.scheduler.address)"
        )
        repeat(image, work, "edited.ipynb", "-o", "out.ipynb", "--cluster", "as-written")
    outputs = json.loads((work / "out.ipynb").read_text())["cells"][1]["outputs"]
    assert "".join(outputs[0]["text"]) == f"None {options[1]}\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cluster", "tls://127.0.0.1:1"), "--tls"),
        (("--cluster", "tcp://127.0.0.1:1", "--memory", "1GB"), "--memory"),
        (("--walltime", "2h"), "--walltime"),
        (("--cluster", "as-written", "--workers", "2"), "--workers"),
        (("--cluster", "pbs"), "pbs-script"),
    ],
)
def test_options_that_mean_nothing_there_are_refused(image, work, options, words):
    """Nobody asks for a walltime and gets none."""
    assert words in repeat(image, work, *options, code=2)
