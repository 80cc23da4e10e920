"""Images that live in a Docker Engine: built into it, run, inspected and exported from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from notebook_helper import command, environment, run, write_notebook

sys.path.insert(0, str(Path(__file__).parent.parent / "builder"))

from images import CONFIG, cell, finish, system  # noqa: E402

from nbrw_builder.build_image import write_image  # noqa: E402
from nbrw_builder.entry import Entry, LayerPlan  # noqa: E402
from nbrw_builder.errors import BuildError  # noqa: E402
from nbrw_builder.image import RUNSCRIPT  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.docker]
CELLS = (
    "rows = [float(line) for line in open('in.csv')]",
    "total = sum(rows)\nprint(total)",
    "open('out.csv', 'w').write(repr(total))",
)
NAME = "docker-daemon:nbrw-test/sums:v1"


@pytest.fixture(scope="module")
def built(docker_host, tmp_path_factory):
    """A real notebook's image in the engine, and what the build said of it."""
    place = tmp_path_factory.mktemp("author")
    (place / "in.csv").write_text("1.5\n2.5\n")
    write_notebook(place / "sums.ipynb", *CELLS)
    cache = str(tmp_path_factory.mktemp("cache"))
    argv = ("sums.ipynb", "-o", NAME, "--json", "--sbom", "spdx")
    done = run("nbrw-build", *argv, cwd=place, DOCKER_HOST=docker_host, XDG_CACHE_HOME=cache)
    assert done.returncode == 0, done.stderr
    # Neither a tar nor compressed layers were written on the way.
    assert not (Path(cache) / "nbrw/blobs").exists()
    assert sorted(p.name for p in place.iterdir()) == ["in.csv", "out.csv", "sums.ipynb"]
    return json.loads(done.stdout)


@pytest.fixture
def work(monkeypatch, docker_host):
    """A work directory that an ordinary user can be given; the engine is ours."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    with tempfile.TemporaryDirectory(prefix="nbrw-work-") as place:
        monkeypatch.setenv("XDG_CACHE_HOME", f"{place}/cache")
        yield Path(place)


def docker(*argv):
    """What the docker command says of our engine."""
    words = ["docker", "-H", os.environ["DOCKER_HOST"], *argv]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def test_an_image_is_built_into_the_engine_under_its_name(built, work):
    """Its id there is the digest that the build tells."""
    assert built["image"]["kind"] == "docker-daemon" and built["image"]["path"] == NAME
    found = json.loads(docker("image", "inspect", "nbrw-test/sums:v1"))[0]
    assert found["Id"] == built["image"]["digest"]
    layers = [layer["diff_id"] for layer in built["image"]["layers"]]
    assert found["RootFS"]["Layers"] == layers


def test_it_repeats_in_the_work_directory(built, work):
    """Cells are restored and run, results are there, no container stays."""
    done = run("nbrw", "run", NAME, "repeat", "--from", "2", "--json", cwd=work)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [found["action"] for found in report["cells"]] == ["restored", "run", "run"]
    assert report["signature"] == "not checked: a Docker Engine keeps no signatures"
    assert (work / "out.csv").read_text() == "4.0"
    assert docker("ps", "--all", "--quiet") == ""


def test_an_ordinary_users_repeat_writes_as_that_user(built, work, docker_host):
    """To the work directory, and to the store of what repeats keep, which a second one uses."""
    uid = 12345
    socket = Path(docker_host.removeprefix("unix://"))
    socket.parent.chmod(0o755)
    socket.chmod(0o666)
    (work / "cache").mkdir()
    for path in (work, work / "cache"):
        os.chown(path, uid, uid)
    edited = "total = sum(rows) + 1\nprint(total)"
    write_notebook(work / "edited.ipynb", CELLS[0], edited, CELLS[2])
    prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    python = [*prefix, sys.executable, "-c", "import nbrw_builder.cli"]
    if subprocess.run(python, cwd=work, env=environment(), capture_output=True).returncode:
        pytest.skip(f"{sys.executable} cannot be run by an ordinary user")
    argv = [*prefix, *command("nbrw")]
    argv += ["run", "--engine", "docker", NAME, "repeat", "edited.ipynb", "--json"]
    actions = []
    for _ in range(2):
        done = subprocess.run(
            argv, cwd=work, env=environment(HOME=str(work)), capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        actions.append([found["action"] for found in json.loads(done.stdout)["cells"]])
    assert actions[0] == ["restored", "run", "run"]
    # The second one has from the first what that wrote: its file.
    assert actions[1][2] == "restored"
    assert any(path.is_file() for path in (work / "cache/nbrw/repeats/results").rglob("*"))
    assert (work / "out.csv").read_text() == "5.0"
    owners = {path.stat().st_uid for path in work.rglob("*") if path.name != "edited.ipynb"}
    assert owners == {uid}


def test_it_is_read_without_being_run(built, work):
    """inspect, verify, export: the same as of a directory that was built from the same audit."""
    described = json.loads(run("nbrw", "inspect", "--json", NAME).stdout)
    assert described["image"]["kind"] == "docker-daemon" and len(described["cells"]) == 3
    done = run("nbrw", "verify", NAME)
    assert done.returncode == 0 and "all digests hold" in done.stdout, done.stderr
    exported = run("nbrw", "export", NAME, "--sbom", "spdx")
    words = ("run", NAME, "exec", "cat", "/nbrw.recipe/sbom.spdx.json")
    assert exported.stdout == run("nbrw", *words, cwd=work).stdout != ""
    done = run("nbrw", "export", NAME, "--ro-crate", work / "crate")
    assert done.returncode == 0, done.stderr
    assert docker("ps", "--all", "--quiet") == ""


def test_what_is_not_there_is_said(built, work):
    """No such image, no such name, no other engine."""
    for words, said in (
        (("inspect", "docker-daemon:nbrw-test/none"), "has no image nbrw-test/none:latest"),
        (("run", "docker-daemon:nbrw-test/none", "help"), "no such image"),
        (("inspect", "docker-daemon:Not A Name"), "small letters"),
        (("run", "--engine", "embedded", NAME, "help"), "does not read images in a Docker Engine"),
        (("sign", NAME), "keeps no signatures"),
    ):
        done = run("nbrw", *words, cwd=work)
        assert done.returncode in (2, 5) and said in done.stderr, done.stderr
    words = ("run", "--engine", "docker", "--key", "/dev/null", NAME, "help")
    assert run("nbrw", *words, cwd=work).returncode != 0


def test_a_build_that_fails_on_the_way_leaves_no_image(work, tmp_path):
    """A file that changes while it is sent: the engine has nothing of that name."""
    big = tmp_path / "big"
    big.write_bytes(b"1" * 5_000_000)

    def spoil(layers):
        big.write_bytes(b"2" * 5_000_001)
        return finish(layers)

    plans = [system(Entry("/big", source=big)), cell(1, b"one" * 1000)]
    out = Path("docker-daemon:nbrw-test/spoilt:v1")
    with pytest.raises(BuildError, match="big"):
        write_image(plans, out, config=CONFIG, finish=spoil, cache=tmp_path / "cache")
    assert docker("images", "--quiet", "nbrw-test/spoilt") == ""


def test_an_image_that_nbrw_did_not_make_is_refused(work, tmp_path):
    """It has no recipe."""
    plans = [LayerPlan("system", (Entry(RUNSCRIPT, 0o755, data=b"#!/bin/sh\n"),))]
    write_image(
        plans, Path("docker-daemon:nbrw-test/other:v1"), config=CONFIG, cache=tmp_path / "cache"
    )
    done = run("nbrw", "inspect", "docker-daemon:nbrw-test/other:v1")
    assert done.returncode == 3 and "nbrw did not make this image" in done.stderr


def test_without_an_engine_a_build_ends_before_the_notebook_runs(tmp_path, monkeypatch):
    """So that no hours are lost; so it is for who may not use the socket."""
    (tmp_path / "a.ipynb").write_text("no notebook at all")
    nowhere = f"unix://{tmp_path}/none"
    done = run("nbrw-build", "a.ipynb", "-o", NAME, cwd=tmp_path, DOCKER_HOST=nowhere)
    assert done.returncode == 5 and "no Docker Engine answers" in done.stderr
    assert shutil.which("docker")  # what needs the engine is marked so
