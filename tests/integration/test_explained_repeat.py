"""`nbrw why` and what a report says of Dask tasks: built, repeated edited, asked."""

from __future__ import annotations

import json

import pytest

from notebook_helper import run, write_notebook

pytestmark = pytest.mark.integration
pytest.importorskip("distributed")

CELLS = (
    "import time\nfrom dask.distributed import Client, LocalCluster\n"
    "cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=':0')\n"
    "client = Client(cluster)",
    "THRESHOLD = 10.0\nAPI_TOKEN = 'a1b2c3'",
    "def prepare(n):\n    time.sleep(0.02)\n    return n * 2\n"
    "def risk_score(n):\n    time.sleep(0.02)\n    return n > THRESHOLD\n"
    "def ask(n):\n    time.sleep(0.02)\n    return len(API_TOKEN) + n\n"
    "parts = client.map(prepare, range(12))\n"
    "scores = client.gather(client.map(risk_score, parts))\n"
    "asked = client.gather(client.map(ask, range(3)))\n"
    "print(sum(scores), asked)",
    "print('done')",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with an image, and a work directory in which it was repeated edited."""
    place = tmp_path_factory.mktemp("why")
    author, work = place / "author", place / "work"
    author.mkdir()
    work.mkdir()
    write_notebook(author / "small.ipynb", *CELLS)
    words = ("small.ipynb", "-o", "../small.tar", "--compression", "none")
    done = run("nbrw-build", *words, cwd=author)
    assert done.returncode == 0, done.stderr
    start, values, tasks, end = CELLS
    edited = values.replace("10.0", "5.0").replace("a1b2c3", "d4e5f6")
    write_notebook(work / "edited.ipynb", start, edited, tasks, end)
    edited = tasks.replace("n * 2", "n * 3 - n")
    write_notebook(work / "other.ipynb", start, values, edited, end)
    return place


@pytest.fixture(scope="module")
def said(place):
    """What a repeat of the edited notebook printed."""
    words = ("run", "--engine", "embedded", "../small.tar", "repeat", "edited.ipynb")
    done = run("nbrw", *words, "--report", "report.json", cwd=place / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def why(place, *words, code=0):
    """What `nbrw why` prints, or says is wrong."""
    done = run("nbrw", "why", "../small.tar", *words, cwd=place / "work")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_the_report_tells_which_tasks_were_edited_and_in_what(place, said):
    """By name and value; nothing that looks private is shown."""
    assert "cell 3: task risk_score (12): global `THRESHOLD`: 10.0 -> 5.0" in said
    assert "cell 3: task ask (3): global `API_TOKEN`: another value, not shown" in said
    assert "cell 3: of its tasks 12 were loaded (" in said and "new or edited (15)" in said
    written = (place / "work/small.repeat.ipynb").read_text()
    report = json.dumps(json.loads(written)["metadata"]["nbrw"]["report"])
    assert "risk_score" in report and "a1b2c3" not in report and "d4e5f6" not in report


def test_why_explains_cells_and_tasks_of_the_last_repeat(place, said):
    """From the notebook that it wrote; by a task's name or key; as JSON, too."""
    text = why(place, 3)
    assert text.startswith("cell 3 ran: ")
    line = "task risk_score: 12 ran, new or edited: global `THRESHOLD`: 10.0 -> 5.0"
    assert line in text and "task prepare: 12 loaded" in text
    for name in ("risk_score", "risk_score-1234abcd", "('risk_score-1234abcd', 3)"):
        text = why(place, 3, name)
        assert line in text and "prepare" not in text
    assert why(place, 4).startswith("cell 4 was restored: ")
    value = json.loads(why(place, 3, "risk_score", "--json"))
    assert (value["format"], value["action"]) == ("nbrw.why", "run")
    (label,) = value["tasks"]["labels"]
    assert (label["run"], label["misses"]) == (12, {"it is new or edited": 12})
    assert json.loads(why(place, 3, "risk_score", "--json", "--report", "report.json")) == value


def test_the_image_explains_itself(place, said):
    """The same command where there is no nbrw."""
    words = ("run", "--engine", "embedded", "../small.tar", "why", "3", "risk_score")
    done = run("nbrw", *words, cwd=place / "work")
    assert done.stdout == why(place, 3, "risk_score")


def test_what_cannot_be_explained_is_said_with_the_remedy(place, said, tmp_path):
    """No such cell, no such task, no report, a file without one."""
    assert "has cells 1 to 4; name one" in why(place, 5, code=2)
    assert "no such task; name one of " in why(place, 3, "nothing", code=2)
    assert "was restored and started no Dask tasks" in why(place, 4, "ask", code=2)
    assert "there is no report in it" in why(place, 1, "--report", "edited.ipynb", code=2)
    assert "run `repeat` in this directory" in why(place, 1, "--work-dir", tmp_path, code=2)


def test_an_edited_function_is_told_by_its_name(place):
    """Tasks that only come after it are not edited; those whose inputs came out equal may hit."""
    words = ("run", "--engine", "embedded", "../small.tar", "repeat", "other.ipynb", "--no-keep")
    done = run("nbrw", *words, cwd=place / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cell 3: task prepare (12): function `prepare`: its code changed" in done.stdout
    assert "task risk_score (" not in done.stdout


def test_inspect_tells_how_many_tasks_were_stored(place):
    """From the recipe, without reading the layers."""
    done = run("nbrw", "inspect", "--json", place / "small.tar")
    tasks = json.loads(done.stdout)["cells"][2]["tasks"]
    assert (tasks["number"], tasks["stored"]) == (27, 27) and tasks["seconds"] > 0
    assert {label["label"]: label["number"] for label in tasks["labels"]} == {
        "prepare": 12, "risk_score": 12, "ask": 3,
    }  # fmt: skip
    assert "cell 3: 27 Dask tasks of " in run("nbrw", "inspect", place / "small.tar").stdout
