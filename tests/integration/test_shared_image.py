"""From a notebook to a registry and back: whole, and only what a repeat from a cell needs."""

from __future__ import annotations

import json
import shlex

import pytest

from notebook_helper import run, write_notebook
from registry_helper import registry

pytestmark = pytest.mark.integration
CELLS = (
    "import os\nraw = open('data.bin', 'rb').read()\nprint('read', len(raw))",
    "total = len(raw)\nprint('total', total)",
    "print(total)",
    "print(total + 1)",
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An image that was built right into a registry: its name, and the build's JSON."""
    place = tmp_path_factory.mktemp("shared")
    (place / "author").mkdir()
    (place / "author/data.bin").write_bytes(bytes(range(256)) * 4000)
    write_notebook(place / "author/nb.ipynb", *CELLS)
    with registry(place / "registry") as server:
        name = f"docker://{server.host}/team/nb:v1"
        words = ("nb.ipynb", "-o", name, "--plain-http", "--json", "--compression", "zstd")
        cache = {"XDG_CACHE_HOME": str(place / "cache"), "NBRW_CACHE_DIR": ""}
        done = run("nbrw-build", *words, cwd=place / "author", **cache)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in (place / "author").iterdir()) == [
            "data.bin", "nb.ipynb",
        ]  # fmt: skip
        assert not list((place / "cache/nbrw").glob(".push*"))
        yield name, json.loads(done.stdout), place


@pytest.fixture
def reader(tmp_path, shared):
    """Runs commands as a reader elsewhere, whose unpacked images all tests share."""
    cache = {"XDG_CACHE_HOME": str(shared[2] / "reader"), "NBRW_CACHE_DIR": ""}
    (tmp_path / "w").mkdir()
    return lambda *words: run("nbrw", *words, cwd=tmp_path / "w", **cache)


def outputs(path):
    cells = json.loads(path.read_text())["cells"]
    return ["".join(out.get("text", "") for out in cell["outputs"]) for cell in cells]


def test_a_build_may_end_in_a_registry(shared):
    """It says the name and what travelled."""
    name, value, _ = shared
    assert value["image"]["path"] == name
    assert value["push"]["digest"] == value["image"]["digest"]
    assert {blob["state"] for blob in value["push"]["blobs"]} == {"sent"}


def test_the_entrypoint_is_not_what_apptainer_puts_its_own_script_in_place_of(
    tmp_path, shared, reader
):
    """Else `apptainer run docker://...` would start itself for ever."""
    reader("pull", "--plain-http", shared[0], "nb")
    blobs = tmp_path / "w/nb/blobs/sha256"
    index = json.loads((tmp_path / "w/nb/index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())
    (entrypoint,) = config["config"]["Entrypoint"]
    assert not entrypoint.startswith("/.singularity.d/")
    assert "usage" in reader("run", "--engine", "embedded", "nb", "exec", entrypoint).stdout.lower()


def test_a_build_asks_the_registry_before_the_notebook_runs(tmp_path):
    """A registry that is not there costs no run."""
    write_notebook(tmp_path / "nb.ipynb", "open('ran', 'w').close()")
    words = ("nb.ipynb", "-o", "docker://localhost:1/nb", "--plain-http")
    done = run("nbrw-build", *words, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 5 and "is not reached" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_repeat_of_a_partial_image_is_that_of_the_whole(tmp_path, shared, reader):
    """Only later layers are fetched; outputs of the cells before are shown all the same; what it
    lacks is named, and the command that is named brings it.
    """
    name = shared[0]
    done = reader("pull", "--plain-http", "--from", "3", "--json", name, "nb")
    assert done.returncode == 0, done.stderr
    states = {blob["name"]: blob["state"] for blob in json.loads(done.stdout)["blobs"]}
    left = {name for name, state in states.items() if state == "left"}
    assert left == {"data", "cell:1", "cell:3", "cell:4"}  # the last two run, and only print

    done = reader("run", "nb", "repeat", "--from", "3")
    assert done.returncode == 0, done.stderr
    assert "2 restored, 2 run" in done.stdout and "equal the author's" in done.stdout
    expected = ["read 1024000\n", "total 1024000\n", "1024000\n", "1024001\n"]
    assert outputs(tmp_path / "w/nb.repeat.ipynb") == expected
    assert "all digests hold (of what is there" in reader("verify", "nb").stdout

    done = reader("run", "nb", "repeat", "--from", "1")
    assert done.returncode == 3
    command = done.stderr.split("`")[-2]
    assert command.startswith("nbrw pull --plain-http docker://")
    for words, said in (
        (("run", "--engine", "podman", "nb", "repeat"), "only the embedded engine"),
        (("push", "nb", "docker://localhost:1/a"), "were left behind"),
    ):
        done = reader(*words)
        assert done.returncode == 2 and said in done.stderr and command in done.stderr

    done = reader(*shlex.split(command)[1:], "--json")
    assert done.returncode == 0, done.stderr
    states = {blob["name"]: blob["state"] for blob in json.loads(done.stdout)["blobs"]}
    assert {name for name, state in states.items() if state == "fetched"} == left
    done = reader("pull", "--plain-http", "--from", "3", "--json", name, "nb")
    assert {blob["state"] for blob in json.loads(done.stdout)["blobs"]} == {"present"}
    assert "all digests hold\n" in reader("verify", "nb").stdout
    done = reader("run", "--engine", "embedded", "nb", "repeat", "--from", "1")
    assert done.returncode == 0, done.stderr
    assert "4 run" in done.stdout and outputs(tmp_path / "w/nb.repeat.ipynb") == expected
