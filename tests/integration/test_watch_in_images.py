"""In the image, by every engine: kernels can be watched, and what is kept is found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from notebook_helper import run, write_notebook

pytestmark = pytest.mark.integration

PROGRAM = (Path(__file__).parents[1] / "tracees/watched_kernel.py").read_text()
SEEN = {
    "store": "", "notes": [], "watch": "", "error": None, "unseen": [],
    "read": ["input.txt", "missing"], "missing": ["missing"], "written": ["output.txt"],
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A small notebook's image of both kinds."""
    place = tmp_path_factory.mktemp("author")
    write_notebook(place / "small.ipynb", "x = 1")
    for name in ("small.tar", "small.sif"):
        if name == "small.tar" or shutil.which("mksquashfs"):
            done = run("nbrw-build", "small.ipynb", "-o", name, cwd=place)
            assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def work(tmp_path):
    """A work directory with an input."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work/input.txt").write_text("input\n")
    return tmp_path / "work"


def watched(engine, images, work, **changes):
    """What a kernel in the image was seen to use."""
    words = ("run", "--engine", engine, images / "small.tar", "exec", "python", "-c", PROGRAM)
    done = run("nbrw", *words, cwd=work, **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_with_the_embedded_engine(images, work, tmp_path):
    """Where there is nothing but Linux."""
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert watched("embedded", images, work, **variables) == {**SEEN, "found": 0}
    assert watched("embedded", images, work, **variables)["found"] == 1


@pytest.mark.docker
def test_with_docker_and_its_usual_filter(images, work, tmp_path, docker_host):
    """The engine's own seccomp filter lies above; the cache is shown from outside."""
    variables = {"DOCKER_HOST": docker_host, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert watched("docker", images, work, **variables) == {**SEEN, "found": 0}
    assert watched("docker", images, work, **variables)["found"] == 1


@pytest.mark.site
def test_with_apptainer_as_an_ordinary_user(images, site, tmp_path):
    """At a cluster: no root, a user namespace, the home directory shown by Apptainer."""
    place = site.share / "watch"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    place.chmod(0o777)
    shutil.copy(images / "small.sif", place)
    (place / "program.py").write_text(PROGRAM)
    start = 'apptainer run /share/watch/small.sif exec python -c "$(cat /share/watch/program.py)"'
    job = f"rm -rf w && mkdir w && cd w && echo input > input.txt && {start}"
    site.run("rm", "-rf", ".cache/nbrw/repeats")
    assert json.loads(site.run("sh", "-c", job).stdout) == {**SEEN, "found": 0}
    assert json.loads(site.run("sh", "-c", job).stdout)["found"] == 1
