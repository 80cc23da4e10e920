"""Crates of audits and repeats, against the profiles they conform to."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from crate_check import problems
from nbrw_builder.export import CrateRequest, Export, write_files
from nbrw_builder.ro_crate import Graph, Person
from nbrw_runtime.digest import digest_bytes, digest_file
from nbrw_runtime.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import INPUT, NOTEBOOK, OUTPUT, write_provenance  # noqa: E402


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An OCI directory."""
    place = tmp_path_factory.mktemp("image")
    write_provenance(place / "climate", place / "cache")
    return place / "climate"


def repeat_notebook(path, actions, source=None):
    """What a repeat writes: the executed notebook with its report."""
    notebook = json.loads(json.dumps(NOTEBOOK))
    if source:
        notebook["cells"][1]["source"] = source
    cells = [
        {"cell": number, "action": action, "reason": "because", "seconds": 1.0, "outputs": "equal"}
        for number, action in enumerate(actions, 1)
    ]
    report = {"format": "nbrw.report", "image": "climate", "created_by": "nbrw", "cells": cells}
    notebook["metadata"]["nbrw"] = {"report": report}
    path.write_text(json.dumps(notebook))
    return path


def crate(image, **request):
    made = Export(image).crate(CrateRequest(**request))
    entities = json.loads(made["ro-crate-metadata.json"])["@graph"]
    return made, {entity["@id"]: entity for entity in entities}


@pytest.mark.parametrize("profile", ["provenance-run-crate-0.5", "workflow-run-crate-0.5"])
def test_crates_conform_to_the_profiles(monkeypatch, tmp_path, image, profile):
    """The community's validator finds all that is required: of an audit whose last cell failed, of
    its repeat, of one whose notebook was edited, and of one that restored every cell.
    """
    reports = (
        repeat_notebook(tmp_path / "a.ipynb", ["restored", "run", "failed"]),
        repeat_notebook(tmp_path / "b.ipynb", ["restored", "run", "skipped"], "edited = 1"),
        repeat_notebook(tmp_path / "c.ipynb", ["restored"] * 3),
    )
    files, _ = crate(image, reports=reports, author=Person("Ada"), agent=Person("Bob"))
    write_files(tmp_path / "crate", files)
    assert problems(monkeypatch, tmp_path / "crate", profile) == []


def test_the_validator_would_find_what_is_missing(monkeypatch, tmp_path, image):
    """So that the test above can fail."""
    files, entities = crate(image)
    for entity in entities.values():
        entity.pop("instrument", None)
    value = {**json.loads(files["ro-crate-metadata.json"]), "@graph": list(entities.values())}
    files["ro-crate-metadata.json"] = json.dumps(value).encode()
    write_files(tmp_path / "crate", files)
    found = problems(monkeypatch, tmp_path / "crate", "provenance-run-crate-0.5")
    assert any("instrument" in text for text in found)


def test_crates_are_read_by_ro_crate_py(tmp_path, image):
    """The notebook is the main entity, and lies in the crate as the recipe has it."""
    reader = pytest.importorskip("rocrate.rocrate")
    files, _ = crate(image)
    write_files(tmp_path / "crate", files)
    found = reader.ROCrate(str(tmp_path / "crate"))
    assert found.mainEntity.id == "climate.ipynb"
    assert json.loads((tmp_path / "crate/climate.ipynb").read_text()) == NOTEBOOK
    assert found.mainEntity["sha256"] == digest_file(tmp_path / "crate/climate.ipynb")[0].hex


def test_the_audit_says_what_each_cell_read_and_wrote(image):
    """By content, with the author's name of the file; what was looked for in vain is none."""
    _, entities = crate(image)
    read = entities["#audit-cell-1"]["object"]["@id"]
    written = entities["#audit-cell-2"]["result"]["@id"]
    assert entities[read]["sha256"] == digest_bytes(INPUT).hex
    assert entities[read]["alternateName"] == "/home/ada/proj/in.csv"
    assert entities[written]["sha256"] == digest_bytes(OUTPUT).hex
    assert "none.csv" not in json.dumps(list(entities.values()))
    assert entities["#audit"]["object"] == [{"@id": read}, {"@id": "#value-threshold"}]
    assert entities["#audit-cell-3"]["actionStatus"].endswith("FailedActionStatus")
    assert entities["#audit"]["actionStatus"].endswith("FailedActionStatus")


def test_only_repeats_ran_in_the_image(tmp_path, image):
    """The audit ran on the author's machine; the image is known by its digest."""
    report = repeat_notebook(tmp_path / "a.ipynb", ["restored", "run", "run"])
    _, entities = crate(image, reports=(report,))
    index = json.loads((image / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    assert entities["#image"]["sha256"] == digest
    assert "containerImage" not in entities["#audit"]
    assert entities["#repeat-1"]["containerImage"] == {"@id": "#image"}
    assert "#repeat-1-cell-1" not in entities
    assert entities["#repeat-1-cell-2"]["containerImage"] == {"@id": "#image"}


def test_an_edited_notebook_is_a_workflow_of_its_own(tmp_path, image):
    """Based on the author's; what it restored is the author's code."""
    report = repeat_notebook(tmp_path / "a.ipynb", ["restored", "run", "skipped"], "edited = 1")
    _, entities = crate(image, reports=(report,))
    assert entities["#repeat-1"]["instrument"] == {"@id": "climate.repeat-1.ipynb"}
    assert entities["climate.repeat-1.ipynb"]["isBasedOn"] == {"@id": "climate.ipynb"}
    parts = [part["@id"] for part in entities["climate.repeat-1.ipynb"]["hasPart"]]
    assert parts == ["climate.ipynb#cell-1", "climate.repeat-1.ipynb#cell-2"]
    assert entities["climate.repeat-1.ipynb#cell-2"]["text"] == "edited = 1"


def test_an_edited_notebook_that_ran_as_a_whole_is_no_repeat_of_the_authors(tmp_path, image):
    """The author's notebook is the instrument only of runs of its own cells."""
    same = repeat_notebook(tmp_path / "a.ipynb", ["run"] * 3)
    _, entities = crate(image, reports=(same,))
    assert entities["#repeat-1"]["instrument"] == {"@id": "climate.ipynb"}
    assert entities["#repeat-1"]["result"] == {"@id": "climate.repeat-1.ipynb"}


def test_people_are_named_only_if_they_were_given(image):
    """Nobody is guessed."""
    _, entities = crate(image)
    assert not [e for e in entities.values() if e["@type"] == "Person"]
    assert not [e for e in entities.values() if "agent" in e]
    _, entities = crate(image, author=Person.parse("Ada L. <https://orcid.org/0000-0001>"))
    assert entities["https://orcid.org/0000-0001"]["name"] == "Ada L."
    assert entities["#audit"]["agent"] == {"@id": "https://orcid.org/0000-0001"}


def test_equal_images_have_equal_crates(tmp_path, image):
    """Wherever they lie."""
    shutil.copytree(image, tmp_path / "climate")
    assert Export(image).crate(CrateRequest()) == Export(tmp_path / "climate").crate(CrateRequest())


@pytest.mark.parametrize("what", ["another image", "other cells", "no notebook"])
def test_a_report_that_says_nothing_of_this_image_is_refused(tmp_path, image, what):
    """Rather than tell of a run that was not."""
    path = repeat_notebook(tmp_path / "a.ipynb", ["run"] * (2 if what == "other cells" else 3))
    value = json.loads(path.read_text())
    report = value["metadata"]["nbrw"]["report"]
    if what == "another image":
        report["image"] = "weather"
    if what == "no notebook":
        value = {**report, "notebook": str(tmp_path / "gone.ipynb")}
    path.write_text(json.dumps(value))
    with pytest.raises(UsageError, match="--report|as it wrote it"):
        Export(image).crate(CrateRequest((path,)))


def test_a_name_with_spaces_is_written_as_addresses_have_it(monkeypatch, tmp_path):
    """The file has its own name, the entity the quoted one."""
    write_provenance(tmp_path / "i.tar", tmp_path / "cache", title="my notes #1")
    files, entities = crate(tmp_path / "i.tar")
    assert "my notes #1.ipynb" in files and "my%20notes%20%231.ipynb" in entities
    write_files(tmp_path / "crate", files)
    assert problems(monkeypatch, tmp_path / "crate", "provenance-run-crate-0.5") == []


def test_files_of_equal_content_are_one_entity_with_both_names():
    """As content is their identity."""
    graph = Graph()
    first = graph.content("/a/x.csv", digest_bytes(b"1"), 1)
    assert graph.content("/b/y.csv", digest_bytes(b"1"), 1) == first
    assert graph.entities[first]["alternateName"] == ["/a/x.csv", "/b/y.csv"]
    assert first.startswith("ni:///sha-256;") and "=" not in first
