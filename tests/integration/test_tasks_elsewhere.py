"""Audits whose Dask workers run elsewhere: results of tasks come back, if they can be relied on.

Of two traced workers one sees the audit's store; for the other the place is empty, as on the disk
of another machine. Neither is a process that the notebook has started.
"""

from __future__ import annotations

import contextlib
import json

import pytest
from test_traced_workers import UNSHARE, may_mount, start, start_scheduler

from notebook_helper import command, run, write_notebook

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not may_mount(), reason="this host gives ordinary users no mount namespaces"
    ),
]

WORKERS = ("near", "far")
CELLS = (
    "import time, numpy as np\nimport brought\nfrom dask.distributed import Client\n"
    "client = Client({address!r})\nclient.wait_for_workers(2, timeout=60)\n"
    "def slow(x):\n    time.sleep(0.05)\n    return x * 3\n"
    "def large(x):\n    time.sleep(0.5)\n    return np.full(5_000_000 // 8, x, dtype='i8')\n"
    "def on(name):\n    return dict(workers=[name], allow_other_workers=True)",
    "parts = client.map(slow, range(8))\nprint(client.submit(sum, parts).result())\ndel parts",
    "for name in ('near', 'far'):\n"
    "    a = client.submit(large, len(name), **on(name))\n"
    "    print(client.submit(np.sum, a, **on(name)).result())\n    del a",
    "with Client({address!r}) as other:\n    print(other.submit(slow, 70, **on('far')).result())",
    "print(client.submit(brought.twice, 8, **on('far')).result())",
)
#: Tasks of each cell.
COUNTS = [0, 9, 4, 1, 1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The author's directory; what her store has is in another."""
    place = tmp_path_factory.mktemp("author") / "proj"
    place.mkdir()
    (place.parent / "cache").mkdir()
    (place.parent / "empty").mkdir()
    (place / "brought.py").write_text("def twice(x):\n    return 2 * x\n")
    return place


@pytest.fixture(scope="module")
def cluster(place):
    """The address of a scheduler with both workers."""
    with contextlib.ExitStack() as stack:
        address = start_scheduler(stack, place)
        for name in WORKERS:
            program = [*command("nbrw"), "worker", address, "--name", name, "--nthreads", "1"]
            program += ["--no-dashboard", "--local-directory", str(place.parent / name)]
            hide = f"mount --bind {place.parent}/empty {place.parent}/cache && "
            line = f'{hide if name == "far" else ""}exec "$@"'
            start(stack, place, name, ["unshare", *UNSHARE, "sh", "-c", line, "sh", *program])
        yield address


def build(place, name, address, **variables):
    """Build an image of the notebook; what was said, and its description."""
    cells = [cell.format(address=address) for cell in CELLS]
    write_notebook(place / f"{name}.ipynb", *cells)
    done = run(
        "nbrw-build", f"{name}.ipynb", "-o", name, "--compression", "none", cwd=place,
        XDG_CACHE_HOME=str(place.parent / "cache"), **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr, json.loads(
        run("nbrw", "inspect", "--json", place / name).stdout
    )


@pytest.fixture(scope="module")
def built(place, cluster):
    """The image, and what the build said."""
    return build(place, "tasks", cluster)


def repeated(image, work, *argv):
    """The report of a repeat."""
    work.mkdir()
    done = run(
        "nbrw", "run", "--engine", "embedded", image, "repeat", *argv, "--json", cwd=work,
        XDG_CACHE_HOME=str(work / ".cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def counts(report, what):
    """Of each cell, how many of its tasks were loaded, or run."""
    return [(cell.get("tasks") or {}).get(what, 0) for cell in report["cells"]]


def test_results_come_back_from_workers_that_reach_the_store_or_do_not(place, built, tmp_path):
    """Of clients that the notebook closes, too. All of them are loaded, and no task runs."""
    report = repeated(place / "tasks", tmp_path / "w", "--from", "2")
    assert report["equal"], report
    assert (counts(report, "loaded"), counts(report, "run")) == (COUNTS, [0] * 5), built[0]


def test_only_what_an_edit_reaches_runs(place, built, tmp_path):
    """One function; results of another are loaded, from whichever worker they came."""
    notebook = json.loads((place / "tasks.ipynb").read_text())
    first = notebook["cells"][0]
    first["source"] = "".join(first["source"]).replace("return x * 3", "return x * 5")
    (place / "edited.ipynb").write_text(json.dumps(notebook))
    report = repeated(place / "tasks", tmp_path / "w", place / "edited.ipynb")
    assert counts(report, "run") == [0, 9, 0, 1, 0]
    assert counts(report, "loaded") == [0, 0, 4, 0, 1]


def test_what_is_fetched_is_no_file_of_the_notebooks(place, built):
    """Neither the store, nor where results wait; nothing is left there afterwards."""
    said, described = built
    assert "gap" not in said and "results of tasks" not in said
    near = f"{place.parent}/"
    paths = {data["path"] for data in described["data"] if data["path"].startswith(near)}
    assert paths <= {str(place), str(place / "brought.py")}
    for name in WORKERS:
        assert not list((place.parent / name).rglob("nbrw-results-*"))
    assert not any((place.parent / "empty").iterdir())
