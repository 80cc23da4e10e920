"""Bills of materials, against the published schemas."""

import json
import sys
from pathlib import Path

import pytest

from nbrw_builder.components import components
from nbrw_builder.sbom import FORMATS, NO_TIME, subject_of
from nbrw_builder.sbom_spdx import identifiers
from nbrw_runtime.recipe import write_recipe

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import CONDA_FILES, CONDA_SOFTWARE, FILES, SOFTWARE, recipe  # noqa: E402


def document(kind, created=NO_TIME, again=False):
    software = (*SOFTWARE, *CONDA_SOFTWARE, *(SOFTWARE[:3] if again else ()))
    made = recipe((), software)
    files = {path: text.encode() for path, text in {**FILES, **CONDA_FILES}.items()}
    subject = subject_of(made.title, write_recipe(made), "0.1.0", created)
    return FORMATS[kind].document(subject, components(made, files))


@pytest.mark.parametrize("again", [False, True])
def test_spdx_documents_are_valid(tmp_path, again):
    """The SPDX project's own validator finds nothing, also if a package is there twice."""
    parser = pytest.importorskip("spdx_tools.spdx.parser.parse_anything")
    validator = pytest.importorskip("spdx_tools.spdx.validation.document_validator")
    path = tmp_path / "x.spdx.json"
    path.write_bytes(document("spdx", again=again))
    assert validator.validate_full_spdx_document(parser.parse_file(str(path))) == []


@pytest.mark.parametrize("created", [NO_TIME, "2026-11-21T12:00:00Z"])
def test_cyclonedx_documents_are_valid(created):
    """The published JSON schema of version 1.6, strictly."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(document("cyclonedx", created, again=True).decode()) is None


def test_spdx_tells_what_was_used_from_what_is_packed():
    """Used is a runtime dependency of the image; packed is contained, and needed by another."""
    value = json.loads(document("spdx"))
    related = [
        (r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"])
        for r in value["relationships"]
    ]
    numpy, jinja = "SPDXRef-distribution-numpy-2.1.0", "SPDXRef-distribution-Jinja2-3.1.6"
    image = "SPDXRef-image"
    assert (numpy, "RUNTIME_DEPENDENCY_OF", image) in related
    assert (jinja, "RUNTIME_DEPENDENCY_OF", image) not in related
    assert (image, "CONTAINS", jinja) in related and (numpy, "DEPENDS_ON", jinja) in related
    packages = {package["SPDXID"]: package for package in value["packages"]}
    assert packages[jinja]["comment"] == "packed for numpy, not used in the audit"
    assert packages[numpy]["licenseDeclared"] == "BSD-3-Clause"
    assert packages[numpy]["originator"] == "Person: Travis"
    assert packages[jinja]["licenseComments"].endswith(": BSD License")
    conda = packages["SPDXRef-conda-hdf5-1.14.3"]
    assert conda["supplier"] == "Organization: conda-forge"
    assert conda["checksums"] == [{"algorithm": "SHA256", "checksumValue": "ab" * 32}]


def test_cyclonedx_tells_what_was_used_from_what_is_packed():
    """By a property, and by what hangs below what."""
    value = json.loads(document("cyclonedx"))
    use = {
        component["bom-ref"]: {p["name"]: p["value"] for p in component["properties"]}
        for component in value["components"]
    }
    numpy, jinja = "distribution-numpy-2.1.0", "distribution-Jinja2-3.1.6"
    assert use[numpy]["io.github.nbrw:use"] == "used"
    assert use[numpy]["io.github.nbrw:cells"] == "1,2"
    assert use[jinja]["io.github.nbrw:use"] == "packed"
    below = {found["ref"]: found["dependsOn"] for found in value["dependencies"]}
    assert numpy in below["image"] and jinja not in below["image"]
    assert below[numpy] == [jinja]
    # Nothing is out of reach of who walks from the image.
    assert {ref for found in below.values() for ref in found} == set(use)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_equal_images_have_equal_documents(kind):
    """Identifiers come from the recipe; another time is another document."""
    assert document(kind) == document(kind)
    assert document(kind) != document(kind, "2026-11-21T12:00:00Z")
    assert document(kind) != document(kind, again=True)


def test_a_package_that_is_there_twice_has_two_identifiers():
    """As with two environments' copies."""
    made = components(recipe((), (*SOFTWARE, *SOFTWARE)), {})
    names = identifiers(made)
    assert len(set(names)) == len(names) == len(made)
