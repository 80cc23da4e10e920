"""The example from the tracer to the target site: built once, repeated by others elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from author import may_mount

from nbrw_builder.registry.client import Access
from nbrw_builder.registry.push import push
from nbrw_builder.registry.reference import parse_reference
from notebook_helper import run
from registry_helper import registry

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not may_mount(), reason="makes mount namespaces, which needs root"),
]


@pytest.fixture(scope="module")
def author(climate_author):
    """Ada, with her project."""
    return climate_author[0]


@pytest.fixture(scope="module")
def built(climate_author):
    """Her image as a SIF; what nbrw-build said of it."""
    return climate_author[1]


@pytest.fixture(scope="module")
def archive(author, built):
    """The same audit as an OCI tar."""
    author.build("climate.tar")
    return author.home / "proj/climate.tar"


@pytest.fixture(scope="module")
def edited(author, built, archive):
    """What nbrw-build said of an OCI tar of the notebook with another last cell."""
    author.edit_last_cell()
    return author.build("edited.tar")


def report(text):
    """The report that `repeat --json` printed."""
    value = json.loads(text[text.index("{") :])
    assert value["format"] == "nbrw.report"
    return value


def check(value, restored=(1, 2)):
    """Cells 1 and 2 were restored, the others run, and all outputs equal the author's."""
    actions = {cell["cell"]: cell["action"] for cell in value["cells"]}
    assert actions == {n: "restored" if n in restored else "run" for n in range(1, 6)}
    assert value["equal"], value
    outputs = {cell.get("outputs") for cell in value["cells"] if cell["action"] == "run"}
    assert outputs == {"equal"}


def test_two_builds_of_one_audit_give_the_same_bytes(author, built):
    """Every layer, the manifest and the SIF file: the second build runs nothing."""
    again = author.build("again.sif")
    assert again["image"]["digest"] == built["image"]["digest"]
    assert again["image"]["layers"] == built["image"]["layers"]
    layouts = [author.build(name)["image"]["digest"] for name in ("one", "two")]
    assert layouts[0] == layouts[1]
    sif, other = author.home / "proj/climate.sif", author.home / "proj/again.sif"
    assert sif.read_bytes() == other.read_bytes()
    other.unlink()
    for name in ("one", "two"):
        shutil.rmtree(author.home / "proj" / name)


def test_the_image_says_what_it_needs(author, built):
    """Python, Dask by kernel and workers, 24 files of data, and nothing of her home beside."""
    done = run("nbrw", "inspect", "--json", author.home / "proj/climate.sif")
    value = json.loads(done.stdout)
    software = {item["name"]: item for item in value["software"]}
    assert {"dask", "distributed", "pandas", "pyarrow", "numpy"} <= set(software)
    assert {"kernel", "worker"} <= set(software["distributed"]["roles"])
    read = [item for item in value["data"] if item["state"] == "read"]
    assert len(read) == 24
    assert all(item["path"].startswith("/home/ada/proj/data/climate/") for item in read)
    assert any("worker" in item["roles"] for item in read)
    written = [item["path"] for item in value["data"] if item["state"] == "written"]
    assert written == ["/home/ada/proj/high_risk.parquet"]


@pytest.mark.site
@pytest.mark.parametrize("user", ["alice", "bob", "ada"])
def test_users_of_the_site_repeat_from_cell_3(author, built, site, user):
    """With Apptainer alone: no Python there, no root; ada's home has the author's path."""
    target = site.share / "climate.sif"
    if (
        not target.exists()
        or target.stat().st_size != (author.home / "proj/climate.sif").stat().st_size
    ):
        shutil.copy(author.home / "proj/climate.sif", target)
    job = "rm -rf w && mkdir w && cd w && apptainer run /share/climate.sif repeat --from 3 --json"
    check(report(site.run("sh", "-c", job, user=user).stdout))
    names = site.run("sh", "-c", "ls w", user=user).stdout.split()
    assert names == ["climate.repeat.ipynb", "high_risk.parquet"]


@pytest.mark.site
def test_it_repeats_in_the_shared_folder_and_in_the_authors_own_directory(author, built, site):
    """From /share, and from /home/ada/proj, where ada has other files, which stay."""
    shutil.copy(author.home / "proj/climate.sif", site.share / "climate.sif")
    job = "rm -rf /share/w && mkdir /share/w && cd /share/w && apptainer run /share/climate.sif "
    check(report(site.run("sh", "-c", job + "repeat --from 3 --json").stdout))
    job = "mkdir -p proj && cd proj && echo mine > file && apptainer run /share/climate.sif "
    done = site.run("sh", "-c", job + "repeat --from 3 --json; cat file", user="ada")
    assert done.stdout.endswith("mine\n")
    check(report(done.stdout[: -len("mine\n")]))


@pytest.mark.site
@pytest.mark.parametrize(
    ("cell", "old", "new"),
    [(2, "np.exp(-2.0", "np.exp(-3.0"), (3, "threshold = 10.0", "threshold = 5.0")],
)
def test_an_edit_runs_only_the_tasks_that_it_reaches(author, built, site, cell, old, new):
    """Reading and the means of each day are loaded, or not needed; the report says what ran."""
    text = (author.home / "proj/climate.ipynb").read_text()
    assert text.count(old) == 1
    shutil.copy(author.home / "proj/climate.sif", site.share / "climate.sif")
    (site.share / "edited.ipynb").write_text(text.replace(old, new))
    # Of what an earlier run of this test kept cells would be restored.
    job = "rm -rf w ~/.cache/nbrw && mkdir w && cd w && cp /share/edited.ipynb . && apptainer run "
    words = "/share/climate.sif repeat edited.ipynb --json"
    done = site.run("sh", "-c", job + words, user="alice")
    cells = {found["cell"]: found for found in report(done.stdout)["cells"]}
    assert [n for n in cells if cells[n]["action"] == "run"] == list(range(cell, 6))
    tasks = cells[cell]["tasks"]
    assert tasks["run"] == sum(tasks["misses"].values())
    if cell == 2:
        partitions = tasks["misses"].pop("it is new or edited")
        assert tasks["loaded"] >= partitions and tasks["saved"] > 0
        assert {why.partition(":")[0] for why in tasks["misses"]} <= {
            "a task above it runs", "its result was not stored",
            "a future that it uses is not what it was, or is not known",
        }  # fmt: skip
    else:
        assert {why.partition(":")[0] for why in tasks["misses"]} <= {
            "it is new or edited", "a task above it runs", "its result was not stored",
        }  # fmt: skip
    assert tasks["run"] < 20


@pytest.mark.site
def test_nothing_of_the_callers_python_leaks_in(author, built, site):
    """Variables that steer Python, packages of the user: all without effect."""
    shutil.copy(author.home / "proj/climate.sif", site.share / "climate.sif")
    code = "import sys, os; print(sys.path); print(sorted(os.environ)); import numpy"
    job = (
        "mkdir -p ~/.local/lib/python3.11/site-packages/numpy ~/bad && "
        "echo 'raise SystemExit(9)' | tee ~/.local/lib/python3.11/site-packages/numpy/__init__.py "
        "> ~/bad/numpy.py && cd ~ && PYTHONPATH=~/bad PYTHONHOME=/nowhere "
        f'apptainer exec /share/climate.sif /nbrw/bin/python -c "{code}"; code=$?; '
        "rm -rf ~/.local ~/bad; exit $code"
    )
    done = site.run("sh", "-c", job)
    assert "/home/alice" not in done.stdout.splitlines()[0]
    assert "PYTHONPATH" not in done.stdout.splitlines()[1]


@pytest.mark.docker
def test_docker_repeats_the_image_loaded_from_the_tar(archive, docker_host, tmp_path):
    """`docker load`, then `docker run IMAGE repeat --from 3` with the work directory mounted."""
    docker = ["docker", "-H", docker_host]
    subprocess.run([*docker, "load", "--quiet", "-i", str(archive)], check=True)
    work = tmp_path / "work"
    work.mkdir()
    argv = [*docker, "run", "--rm", "--network", "host", "-v", f"{work}:/nbrw/work", "climate"]
    done = subprocess.run(
        [*argv, "repeat", "--from", "3", "--json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(report(done.stdout))
    assert (work / "high_risk.parquet").exists()


def test_an_edit_of_the_last_cell_runs_and_packs_only_that(built, edited):
    """Cells 1 to 4 are not run again; only the last cell's layer and the recipe are new."""
    before = {layer["name"]: layer["diff_id"] for layer in built["image"]["layers"]}
    after = {layer["name"]: layer["diff_id"] for layer in edited["image"]["layers"]}
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} == {"cell:5", "recipe"}
    seconds = {cell["number"]: cell["seconds"] for cell in built["cells"]}
    again = {cell["number"]: cell["seconds"] for cell in edited["cells"]}
    assert [n for n in seconds if seconds[n] != again[n]] == [5]


def test_after_an_edit_of_the_last_cell_two_percent_travel_at_most(
    author, archive, edited, tmp_path, monkeypatch
):
    """To a registry that has the image of before: that cell's layer, recipe and configuration."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with registry(tmp_path / "registry") as server:
        target = parse_reference(f"docker://{server.host}/team/climate:v1")
        plain = Access(plain_http=True)
        first = push(archive, target, plain)
        second = push(author.home / "proj/edited.tar", target, plain)
    assert second.digest == edited["image"]["digest"] != first.digest
    travelled = {found.blob.name for found in second.moved if found.travelled}
    assert travelled == {"", "cell:5", "recipe"}
    assert 0 < second.travelled <= 0.02 * first.travelled


def test_the_image_is_small(author, built):
    """At most 40 % of the uncompressed files in it."""
    size = sum(layer["size"] for layer in built["image"]["layers"])
    assert (author.home / "proj/climate.sif").stat().st_size <= 0.4 * size
