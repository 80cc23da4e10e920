"""A real audit and its repeats, told in the formats of others; what repeats say of signatures."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from crate_check import problems
from notebook_helper import run, write_notebook

pytestmark = pytest.mark.integration
CELLS = (
    "import csv\nrows = [float(row[0]) for row in csv.reader(open('in.csv'))]",
    "total = sum(rows)\nprint(total)",
    "open('out.csv', 'w').write(repr(total))",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with an image, with bills of materials in it, as OCI directory and as SIF."""
    root = tmp_path_factory.mktemp("provenance")
    author = root / "author"
    author.mkdir()
    (author / "in.csv").write_text("1.5\n2.5\n")
    write_notebook(author / "sums.ipynb", *CELLS)
    names = ["sums"] + ["sums.sif"] * bool(shutil.which("mksquashfs"))
    for name in names:
        words = ("sums.ipynb", "-o", f"../{name}", "--sbom", "spdx", "--sbom", "cyclonedx", "-q")
        done = run("nbrw-build", *words, cwd=author, XDG_CACHE_HOME=str(root / "cache"))
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(author)
    return root


def repeat(place, image, work, *words, engine_words=()):
    """The report of a repeat by the embedded engine."""
    work.mkdir(exist_ok=True)
    argv = ("run", "--engine", "embedded", *engine_words, place / image, "repeat", "--json", *words)
    done = run("nbrw", *argv, cwd=work, XDG_CACHE_HOME=str(place / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_audit_and_its_repeats_are_a_crate(monkeypatch, place, tmp_path):
    """Inputs and outputs of a real run, and which cells a repeat ran; the profile holds."""
    repeat(place, "sums", tmp_path / "work", "--from", "2", "--no-keep")
    report = tmp_path / "work/sums.repeat.ipynb"
    crate = tmp_path / "crate"
    argv = ("export", place / "sums", "--ro-crate", crate, "--report", report, "--agent", "Bob")
    done = run("nbrw", *argv)
    assert done.returncode == 0, done.stderr
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    read = entities[entities["#audit-cell-1"]["object"]["@id"]]
    assert read["name"] == "in.csv" and read["contentSize"] == "8"
    assert entities[entities["#audit-cell-3"]["result"]["@id"]]["name"] == "out.csv"
    assert [i for i in entities if i.startswith("#repeat-1-cell-") and "dur" not in i] == [
        "#repeat-1-cell-2", "#repeat-1-cell-3",
    ]  # fmt: skip
    assert problems(monkeypatch, crate, "provenance-run-crate-0.5") == []


def test_a_repeat_of_another_image_of_the_same_title_is_no_part_of_the_crate(place, tmp_path):
    """The report names its image's recipe."""
    report = tmp_path / "report.json"
    value = repeat(place, "sums", tmp_path / "work", "--report", report)
    report.write_text(json.dumps({**value, "recipe": "sha256:" + "0" * 64}))
    argv = ("export", place / "sums", "--ro-crate", tmp_path / "crate", "--report", report)
    done = run("nbrw", *argv)
    assert done.returncode == 2 and "another image of this title" in done.stderr
    assert not (tmp_path / "crate").exists()


def test_bills_of_materials_in_the_image_are_those_that_export_writes(place):
    """The same bytes in the OCI directory and in the SIF, which share the recipe."""
    said = {}
    for path in sorted(place.glob("sums*")):
        done = run("nbrw", "export", path, "--sbom", "spdx")
        assert done.returncode == 0, done.stderr
        said[path.name] = done.stdout
        words = ("run", "--engine", "embedded", path, "exec", "cat", "/nbrw.recipe/sbom.spdx.json")
        inside = run("nbrw", *words, cwd=place, XDG_CACHE_HOME=str(place / "cache"))
        assert inside.stdout == done.stdout
    assert len(set(said.values())) == 1
    packages = {found["name"]: found for found in json.loads(said["sums"])["packages"]}
    assert packages["ipykernel"]["comment"].startswith("used")


@pytest.mark.parametrize("name", ["sums", "sums.sif"])
def test_a_repeat_says_whether_its_image_is_signed(place, tmp_path, name):
    """Not signed; signed, but nobody checked; checked with a key that the caller gave."""
    pytest.importorskip("cryptography")
    if not (place / name).exists():
        pytest.skip("needs mksquashfs (squashfs-tools)")
    image = tmp_path / name
    (shutil.copytree if name == "sums" else shutil.copy)(place / name, image)
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    argv = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)]
    subprocess.run(argv, check=True, capture_output=True)
    argv = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(argv, check=True, capture_output=True)

    def said(*engine_words):
        report = repeat(tmp_path, name, tmp_path / "work", engine_words=engine_words)
        return report["signature"]

    assert said() == "the image is not signed"
    done = run("nbrw", "sign", image, "--key", private)
    assert done.returncode == 0, done.stderr
    assert "not checked" in said()
    checked = said("--key", public)
    assert checked.startswith(f"signed by the key {public}") and checked.endswith("checked")
    words = ("run", "--engine", "embedded", "--key", private, image, "repeat")
    assert run("nbrw", *words, cwd=tmp_path).returncode == 2


def test_without_nbrw_run_a_repeat_does_not_know(place, tmp_path):
    """What is in the image cannot see the image's file, and says so."""
    (tmp_path / "work").mkdir()
    script = "unset NBRW_SIGNATURE; exec /.singularity.d/runscript repeat"
    words = ("run", "--engine", "embedded", place / "sums", "exec", "sh", "-c", script)
    done = run("nbrw", *words, cwd=tmp_path / "work", XDG_CACHE_HOME=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    assert "signature: not checked: only `nbrw run`" in done.stdout
