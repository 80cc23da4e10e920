"""What goes wrong while tasks are stored or loaded: results are those of a run without the cache.

Workers are processes of a real cluster; each test audits a notebook, repeats it with an edit, and
compares with Dask left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.task_record import read_tasks
from notebook_helper import command, environment, run, write_notebook
from repeat_harness import Repeat, audit, disconnect, plain_run

pytestmark = pytest.mark.integration
pytest.importorskip("distributed")

CLIENT = (
    "import os, time\nimport numpy as np\nfrom distributed import Client\n"
    "client = Client(n_workers=2, threads_per_worker=1, dashboard_address=':0')"
)


@pytest.fixture(autouse=True)
def _alone():
    """Clusters end with their test."""
    yield
    disconnect()


def plain(place, sources):
    """The output of the last cell without any cache."""
    try:
        return plain_run(place / "plain" / "work", sources)[-1]
    finally:
        disconnect()


def made(place, sources):
    """An audit: recipe and store. Its last cell's output is that of a plain run."""
    try:
        recipe, store = audit(place / "audit", sources)
    finally:
        disconnect()
    return recipe, store


def repeat(place, known, sources, **options):
    """A repeat of what was audited, with its cluster gone."""
    try:
        return Repeat(place, *known, sources, **options)
    finally:
        disconnect()


def outputs_of(known, cell):
    """What the author saw of a cell."""
    recipe, store = known
    return json.loads(store.get(recipe.checkpoint(cell).outputs))


def records_of(known):
    """All records of tasks."""
    recipe, store = known
    documents = [c.tasks for c in recipe.checkpoints if c.tasks is not None]
    return [r for found in documents for r in read_tasks(store.get(found), "test")]


def counted(found):
    """How many tasks of the last cell were loaded, and how many ran."""
    counts = found.tasks[max(found.tasks, key=int)]
    return counts["loaded"], counts["run"]


# -- a worker is killed while it stores ------------------------------------------------------------

STORING = (
    "class Slow:\n"
    "    def __init__(self, n):\n        self.n = n\n"
    "    def __reduce__(self):\n"
    "        try:\n            os.rename({armed!r}, {storing!r})\n"
    "        except OSError:\n            return Slow, (self.n,)\n"
    "        with open({storing!r}, 'w') as stream:\n            stream.write(str(os.getpid()))\n"
    "        time.sleep(120)\n"
    "        return Slow, (self.n,)\n"
    "def make(n):\n    time.sleep(0.02)\n"
    "    return [np.full(20_000, n), Slow(n) if n == 3 else n]\n"
    "def of(x):\n    time.sleep(0.02)\n    return float(x[0].sum())\n"
    "parts = client.map(make, range(6))\nsums = client.map(of, parts)"
)


def test_a_worker_that_is_killed_while_it_stores_a_result(tmp_path):
    """Dask runs its tasks again; what it left is no result, or the right one."""
    armed, storing = str(tmp_path / "armed"), tmp_path / "storing"
    cells = [
        CLIENT,
        STORING.format(armed=armed, storing=str(storing)),
        "print(client.gather(sums))",
    ]
    expected = plain(tmp_path, cells)
    Path(armed).touch()
    killed = []

    def kill():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            text = storing.read_text() if storing.exists() else ""
            if text:
                os.kill(int(text), signal.SIGKILL)
                killed.append(int(text))
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    known = made(tmp_path, cells)
    killer.join()
    assert killed and outputs_of(known, 3) == expected
    assert {r.label for r in records_of(known) if r.unsafe} == set()
    edited = [cells[0], cells[1].replace("sums = ", "n = 1\nsums = "), cells[2]]
    found = repeat(tmp_path / "repeat", known, edited)
    assert found.outputs[-1] == expected and found.actions == "rXX"


# -- the scheduler is restarted --------------------------------------------------------------------

RESTARTED = (
    "def make(n):\n    time.sleep(0.02)\n    return n * FACTOR\n"
    "def add(a):\n    time.sleep(0.02)\n    return a + 1\n"
    "first = client.map(make, range(4))\nsums = client.gather(client.map(add, first))\n"
    "running = client.submit(time.sleep, 60)\n"
    "client.restart()\n"
    "states = [f.status for f in (*first, running)]\n"
    "again = client.gather(client.map(add, client.map(make, range(6))))\n"
    "try:\n    lost = first[0].result(timeout=10)\nexcept BaseException as e:\n"
    "    lost = type(e).__name__\n"
    "del first, running"
)


def test_the_scheduler_is_restarted_in_the_middle_of_a_cell(tmp_path):
    """Futures before are cancelled as without us; tasks after run or are loaded."""
    show = "print(sums, states, again, lost)"
    cells = [CLIENT, "FACTOR = 3", RESTARTED, show]
    expected = plain(tmp_path, cells)
    known = made(tmp_path, cells)
    assert outputs_of(known, 4) == expected
    again = repeat(tmp_path / "again", known, [*cells[:2], RESTARTED + "\nn = 1", show])
    assert again.outputs[-1] == expected and counted(again)[0] > 0
    sources = [CLIENT, "FACTOR = 4", RESTARTED, show]
    edited = repeat(tmp_path / "edited", known, sources)
    assert edited.outputs[-1] == plain(tmp_path / "other", sources) != expected


# -- the disk is full ------------------------------------------------------------------------------

FILLING = (
    "def make(n):\n    time.sleep(0.02)\n"
    "    return np.random.default_rng(n).random(40_000) + SHIFT\n"
    "def of(x):\n    time.sleep(0.02)\n    return float(x.sum())\n"
    "parts = client.map(make, range(12))\nsums = client.map(of, parts)\n"
    "total = client.gather(sums)\ndel parts, sums"
)
LIMIT = (
    "def limit():\n    import resource\n"
    "    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    "limited = client.run(limit)"
)


def test_workers_that_cannot_write_what_is_large(tmp_path):
    """As on a full disk: small results are stored, the others are computed again."""
    show = "print(total)"
    cells = [CLIENT, "SHIFT = 1", LIMIT, FILLING, show]
    expected = plain(tmp_path, cells)
    known = made(tmp_path, cells)
    assert outputs_of(known, 5) == expected
    large = [r for r in records_of(known) if r.label == "make"]
    assert large and all(r.refused and not r.digest for r in large)
    for shift in (1, 2):
        sources = [CLIENT, f"SHIFT = {shift}", LIMIT, FILLING + "\nn = 1", show]
        found = repeat(tmp_path / f"repeat {shift}", known, sources)
        assert found.outputs[-1] == plain(tmp_path / str(shift), sources)


def can_mount():
    return os.geteuid() == 0 and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


@contextlib.contextmanager
def small_disk(place):
    """A directory of its own with room for 2 MB."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_the_disk_is_full_in_an_audit(tmp_path):
    """The notebook goes on; of what did not fit it is known that it is not there."""
    show = "print(total)"
    cells = [CLIENT, "SHIFT = 1", FILLING, show]
    expected = plain(tmp_path, cells)
    with small_disk(tmp_path / "audit" / "store"):
        known = made(tmp_path, cells)
        assert outputs_of(known, 4) == expected
        reasons = [r.refused for r in records_of(known) if r.label == "make"]
        assert len(reasons) == 12 and any("No space left" in reason for reason in reasons)
        for shift in (1, 2):
            sources = [CLIENT, f"SHIFT = {shift}", FILLING + "\nn = 1", show]
            found = repeat(tmp_path / f"repeat {shift}", known, sources)
            assert found.outputs[-1] == plain(tmp_path / str(shift), sources)


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_the_disk_is_full_in_a_repeat(tmp_path):
    """Where results would be kept; those of the audit are used all the same."""
    show = "print(total)"
    cells = [CLIENT, "SHIFT = 1", FILLING, show]
    known = made(tmp_path, cells)
    with small_disk(tmp_path / "small"):
        for number, source in enumerate(("SHIFT = 2", "SHIFT = 1\nn = 1", "SHIFT = 2\nn = 1")):
            sources = [CLIENT, source, FILLING + f"\nm = {number}", show]
            place = tmp_path / f"repeat {number}"
            found = repeat(place, known, sources, cache=tmp_path / "small")
            assert found.outputs[-1] == plain(tmp_path / str(number), sources)


# -- what was stored is corrupt --------------------------------------------------------------------

STORED = (
    "def make(n):\n    time.sleep(0.02)\n    return np.full(20_000, float(n)) * FACTOR\n"
    "def small(n):\n    time.sleep(0.02)\n    return [n, 'text']\n"
    "def of(x, y):\n    time.sleep(0.02)\n    return float(x.sum()) + y[0]\n"
    "parts = [client.submit(make, 1), client.submit(make, 2)]\n"
    "others = [client.submit(small, 1), client.submit(small, 2)]\n"
    "total = client.gather(parts + others)\n"
    "del parts, others"
)


@pytest.mark.parametrize("what", ["document", "segment", "buffer", "no segment", "no buffer"])
def test_a_blob_is_corrupt_or_gone(tmp_path, what):
    """Nothing of it is used."""
    show = "print([float(t.sum()) if hasattr(t, 'sum') else t for t in total])"
    cells = [CLIENT, "FACTOR = 3", STORED, show]
    known = made(tmp_path, cells)
    recipe, store = known
    records = {record.label: record for record in records_of(known)}
    assert {"make", "small"} <= records.keys()
    blob = {
        "document": recipe.checkpoint(3).tasks,
        "segment": records["small"].segment,
        "buffer": next(iter(records["make"].buffers)),
    }[what.removeprefix("no ")]
    path = store.path(blob)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    if what.startswith("no "):
        path.unlink()
    else:
        # The payloads of a segment have many bytes that mean something.
        middle = records["small"].offset + 5 if what == "segment" else len(data) // 2
        data[middle] ^= 1
        path.write_bytes(data)
    sources = [CLIENT, "FACTOR = 3", STORED + "\nn = 1", show]
    found = repeat(tmp_path / "repeat", known, sources)
    assert found.outputs[-1] == plain(tmp_path, sources)
    # Small results, and the pickles of others, are one blob.
    assert counted(found) == ((3, 1) if what.endswith("buffer") else (0, 4))
    said = str(found.tasks) + str(found.task_notes)
    assert ("no tasks are loaded" if what == "document" else "lost") in said, said


# -- two repeats share a store ---------------------------------------------------------------------

SHARED = (
    "import time\nimport numpy as np\nfrom dask.distributed import Client\n"
    "client = Client(n_workers=2, threads_per_worker=1, dashboard_address=':0')",
    "SHIFT = 1",
    "def make(n):\n    time.sleep(0.05)\n    return np.full(20_000, n) + SHIFT\n"
    "def of(x):\n    time.sleep(0.05)\n    return float(x.sum())\n"
    "sums = client.gather(client.map(of, client.map(make, range(20))))",
    "print(sums)",
)


def test_two_repeats_share_a_store_at_the_same_time(tmp_path):
    """Both are right, and what they leave serves a third."""
    author = tmp_path / "author"
    author.mkdir()
    write_notebook(author / "s.ipynb", *SHARED)
    done = run("nbrw-build", "s.ipynb", "-o", "image", cwd=author)
    assert done.returncode == 0, done.stderr
    cache = environment(NBRW_CACHE_DIR=str(tmp_path / "cache"))

    def start(name, *cells):
        place = tmp_path / name
        place.mkdir()
        write_notebook(place / "e.ipynb", *cells)
        argv = ("run", "--engine", "embedded", author / "image", "repeat", "e.ipynb")
        argv = (*argv, "-o", "out.ipynb", "--json")
        return subprocess.Popen(
            [*command("nbrw"), *map(str, argv)], cwd=place, env=cache, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def end(name, child, shift):
        output, errors = child.communicate(timeout=300)
        assert child.returncode == 0, output + errors
        made = json.loads((tmp_path / name / "out.ipynb").read_text())
        text = "".join(made["cells"][3]["outputs"][0]["text"])
        assert text == f"{[20_000.0 * (n + shift) for n in range(20)]}\n"
        return {cell["cell"]: cell.get("tasks", {}) for cell in json.loads(output)["cells"]}

    edited = [SHARED[0], "SHIFT = 2", *SHARED[2:]]
    for number, child in enumerate([start("0", *edited), start("1", *edited)]):
        end(str(number), child, 2)
    # Another cell, of the same tasks.
    third = [*edited[:2], edited[2] + "\nn = 1", edited[3]]
    tasks = end("third", start("third", *third), 2)[3]
    assert (tasks["loaded"], tasks["run"]) == (40, 0), tasks
    blobs = [p for p in (tmp_path / "cache").rglob("sha256/*") if p.is_file()]
    assert blobs and all(digest_bytes(p.read_bytes()).hex == p.name for p in blobs)
