"""Audits whose Dask workers run elsewhere: what they use comes back, cell by cell.

Each worker here has a mount namespace in which the directory ``node`` holds files of its own, as
the disk of another machine does; the notebook's kernel sees none of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from notebook_helper import command, environment, run, write_notebook

pytest.importorskip("distributed")
pytestmark = pytest.mark.integration

CELLS = (
    "import os\nfrom dask.distributed import Client\nclient = Client({address!r})\n"
    "def total(path):\n    with open(path) as stream:\n        return sum(map(int, stream))\n"
    "def on(name):\n    return dict(workers=[name], allow_other_workers=True)",
    "sums = [client.submit(total, f'{node}/{{name}}.txt', **on(name)).result()\n"
    "        for name in ('one', 'two', 'plain')]\nprint(sums)",
    "def put(text):\n    for path in ('{node}/out.txt', 'shared.txt'):\n"
    "        with open(path, 'w') as stream:\n            stream.write(text)\n"
    "client.submit(put, str(sum(sums)), **on('one')).result()\n"
    "held = client.submit(pow, 2, 10, **on('two'))\nprint(held.result())",
    "print(client.submit(total, '{node}/out.txt', **on('one')).result())\n"
    "print(client.submit(total, 'late.txt', **on('plain')).result())\n"
    "names = {{info['name']: address for address, info in "
    "client.scheduler_info(n_workers=-1)['workers'].items()}}\n"
    "if 'plain' in names:\n    _ = client.retire_workers([names['plain']])",
    "print(held.result())\n"
    "if 'two' in names:\n    client.run(os._exit, 1, workers=[names['two']], on_error='ignore')",
)


def may_mount():
    """Whether this host lets us have a mount namespace."""
    done = subprocess.run(["unshare", *UNSHARE, "true"], capture_output=True)
    return done.returncode == 0


UNSHARE = ("--mount",) if os.geteuid() == 0 else ("--map-root-user", "--mount")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler, two traced workers and a plain one; yields its address and the directory."""
    if not may_mount():
        pytest.skip("this host gives ordinary users no mount namespaces")
    place = tmp_path_factory.mktemp("author") / "proj"
    (place / "node").mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        address = start_scheduler(stack, place)
        for number, name in enumerate(("one", "two", "plain"), start=1):
            disk = place.parent / f"disk-{name}"
            disk.mkdir()
            (disk / f"{name}.txt").write_text(f"{number}\n{number}\n")
            program = [*command("nbrw"), "worker"]
            if name == "two":  # as dask-jobqueue does, told that this is Python
                program += ["--python", sys.executable, "-m", "distributed.cli.dask_worker"]
            if name == "plain":
                program = [sys.executable, "-m", "distributed.cli.dask_worker"]
            options = ["--name", name, "--nthreads", "1", "--no-dashboard"]
            options += ["--no-nanny"] if name == "two" else []
            mounted = f'mount --bind {disk} {place}/node && exec "$@"'
            argv = ["unshare", *UNSHARE, "sh", "-c", mounted, "sh", *program, address, *options]
            start(stack, place, name, argv)
        yield address, place


def start(stack, place, name, argv):
    """A process that ends with the block."""
    with open(place.parent / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            argv, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
        )

    def stop():
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    stack.callback(stop)


def start_scheduler(stack, place):
    """Its address."""
    file = place.parent / "scheduler.json"
    words = ["--port", "0", "--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", str(file)]
    start(
        stack, place, "scheduler", [sys.executable, "-m", "distributed.cli.dask_scheduler", *words]
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(file.read_text())["address"]
        time.sleep(0.1)
    raise AssertionError((place.parent / "scheduler.log").read_text())


@pytest.fixture(scope="module")
def built(cluster):
    """The image of a notebook that used the cluster, and what the build said."""
    address, place = cluster
    (place / "late.txt").write_text("7\n")
    cells = [cell.format(address=address, node=place / "node") for cell in CELLS]
    write_notebook(place / "far.ipynb", *cells)
    wait = "client.wait_for_workers(3, timeout=60)"
    (place / "ready.py").write_text(
        f"from dask.distributed import Client\nclient = Client({address!r})\n{wait}"
    )
    subprocess.run([sys.executable, "ready.py"], cwd=place, check=True, timeout=90)
    done = run(
        "nbrw-build", "far.ipynb", "-o", "far", "--minimal", "--compression", "none", cwd=place
    )
    assert done.returncode == 0, done.stdout + done.stderr
    described = json.loads(run("nbrw", "inspect", "--json", place / "far").stdout)
    return place, described, done.stdout + done.stderr


def data_of(built):
    """By name: the state, the cells and the roles of each data path."""
    place, described, _ = built
    found = {}
    for data in described["data"]:
        if data["path"].startswith(f"{place}/"):
            name = data["path"].removeprefix(f"{place}/")
            found.setdefault(name, []).append((data["state"], data["cells"], data["roles"]))
    return found


def test_what_only_workers_read_belongs_to_the_cell_that_asked_for_it(built):
    """Of traced workers and of one that tells what its Python sees; nobody else read it."""
    found = data_of(built)
    for name in ("one", "two", "plain"):
        assert found[f"node/{name}.txt"] == [("read", [2], ["worker"])]
    # A worker that ended in the cell left word of it.
    assert found["late.txt"] == [("read", [4], ["worker"])]


def test_what_workers_write_is_a_result_of_the_cell(built):
    """On their own disk and on the one that all see; that a later cell reads it is no input."""
    found = data_of(built)
    assert found["shared.txt"] == [("written", [3], ["kernel", "worker"])]
    assert "read" not in [state for state, _, _ in found.get("node/out.txt", ())]


def test_what_was_not_seen_is_said(built):
    """A worker that is not traced, and one that was killed before it was asked."""
    _, _, said = built
    assert "is not traced (`nbrw worker` did not start it)" in said
    assert "ended in cell 5 before it said what it had used there" in said
    assert said.count("has a gap") == 2, said


def test_software_is_that_of_the_workers_too(built):
    """What only they load is in the image; Dask's own addresses are not counted as network."""
    _, described, _ = built
    names = {found["name"] for found in described["software"]}
    assert {"distributed", "dask", "zict"} <= names
    assert described["network"] == []


@pytest.mark.parametrize("first", [1, 3])
def test_the_image_repeats_where_none_of_the_files_are(built, tmp_path, first):
    """On a cluster whose workers have other names; what the author's workers wrote is restored."""
    place, _, _ = built
    hidden = place.parent / "gone"
    place.rename(hidden)
    try:
        work = tmp_path / "work"
        work.mkdir()
        done = run(
            "nbrw", "run", "--engine", "embedded", hidden / "far", "repeat", "--from", first,
            "--json", cwd=work, XDG_CACHE_HOME=str(place.parent / "cache"),
        )  # fmt: skip
        report = json.loads(done.stdout)
        assert report["equal"], done.stdout + done.stderr
        actions = [cell["action"] for cell in report["cells"]]
        assert actions == ["restored"] * (first - 1) + ["run"] * (6 - first)
    finally:
        place.parent.joinpath("gone").rename(place)


def test_a_worker_leaves_nothing_on_its_machine(cluster, tmp_path):
    """The trace goes with the worker that it is of."""
    address, place = cluster
    argv = [*command("nbrw"), "worker", address, "--name", "brief", "--no-nanny"]
    log = tmp_path / "log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            argv, cwd=place, env=environment(TMPDIR=str(tmp_path)), stdin=subprocess.DEVNULL,
            stdout=stream, stderr=stream,
        )  # fmt: skip
    deadline = time.monotonic() + 60
    while "Registered to" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("nbrw-worker-*/0001.jsonl")), log.read_text()
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    while list(tmp_path.glob("nbrw-worker-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(tmp_path.glob("nbrw-worker-*"))


def test_there_must_be_a_python(tmp_path):
    """The message names it and the option."""
    done = run("nbrw", "worker", "--python", tmp_path / "python", "tcp://127.0.0.1:1")
    assert done.returncode == 5
    assert "--python" in done.stderr and str(tmp_path / "python") in done.stderr
