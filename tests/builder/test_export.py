"""`nbrw export`: lock files, binder directories, and what the command does with places."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nbrw_builder.cli import main
from nbrw_builder.export import Export

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import (  # noqa: E402
    CONDA_FILES,
    CONDA_SOFTWARE,
    SOFTWARE,
    write_provenance,
)

REQUIREMENTS = """\
# What climate was audited with, Python 3.11.7
fromgit @ git+https://example.org/fromgit.git@abc123  # used in cell 2 by worker
jinja2==3.1.6  # packed for numpy, not used in the audit
# mine 1.0: from local files, used in cell 1 by kernel
numpy==2.1.0  # used in cells 1, 2 by kernel
"""
EXPLICIT = f"""\
# What climate was audited with
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/hdf5-1.14.3-h1.conda#{"ab" * 32}
# from pip:
#   numpy==2.1.0
"""
ENVIRONMENT = """\
channels:
  - 'conda-forge'
dependencies:
  - 'hdf5=1.14.3=h1'
  - pip
  - pip:
    - 'numpy==2.1.0'
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An OCI directory."""
    place = tmp_path_factory.mktemp("image")
    write_provenance(place / "climate", place / "cache")
    return place / "climate"


@pytest.fixture(scope="module")
def conda_image(tmp_path_factory):
    """One whose environment is conda's."""
    place = tmp_path_factory.mktemp("conda")
    software = (*CONDA_SOFTWARE, SOFTWARE[2])
    write_provenance(place / "climate", place / "cache", CONDA_FILES, software)
    return place / "climate"


def test_a_lock_file_pins_what_the_image_holds(image):
    """By version or by address; what no index has is said, and not asked of pip."""
    assert Export(image).lock().decode() == REQUIREMENTS


def test_pip_reads_the_lock_file(image, tmp_path):
    """Every line that is no comment is a requirement as pip understands it."""
    pytest.importorskip("pip")
    (tmp_path / "r.txt").write_bytes(Export(image).lock())
    script = (
        "import sys\nfrom pip._internal.network.session import PipSession\n"
        "from pip._internal.req import parse_requirements\n"
        "print([r.requirement for r in parse_requirements(sys.argv[1], PipSession())])"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "r.txt")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said == (
        "['fromgit @ git+https://example.org/fromgit.git@abc123', 'jinja2==3.1.6', "
        "'numpy==2.1.0']\n"
    )


def test_a_conda_environment_is_locked_by_addresses_and_checksums(conda_image):
    """As `conda create --file` takes them."""
    assert Export(conda_image).lock().decode() == EXPLICIT


def test_a_binder_directory_has_what_repo2docker_asks_for(image, conda_image):
    """Debian's packages only where the notebook used them, and every Ubuntu has not."""
    found = Export(image).binder()
    assert {name: data.decode() for name, data in found.items()} == {
        "requirements.txt": REQUIREMENTS,
        "runtime.txt": "python-3.11\n",
        "apt.txt": "graphviz\n",
    }
    found = Export(conda_image).binder()
    assert {name: data.decode() for name, data in found.items()} == {"environment.yml": ENVIRONMENT}


def test_everything_is_written_at_once_and_told_as_json(image, tmp_path, capsys):
    """One reading of the image for all documents."""
    assert (
        main(
            [
                "export", str(image), "--json", "--sbom", f"spdx={tmp_path}/s.json", "--sbom",
                f"cyclonedx={tmp_path}/c.json", "--ro-crate", f"{tmp_path}/crate",
                "--binder", f"{tmp_path}/binder", "--lock", f"{tmp_path}/r.txt",
            ]
        )
        == 0
    )  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert (said["format"], said["version"]) == ("nbrw.export", 1)
    assert [found["kind"] for found in said["written"]] == [
        "spdx", "cyclonedx", "ro-crate", "binder", "lock",
    ]  # fmt: skip
    assert said["written"][2]["files"] == ["climate.ipynb", "ro-crate-metadata.json"]
    assert json.loads((tmp_path / "s.json").read_text())["spdxVersion"] == "SPDX-2.3"
    assert json.loads((tmp_path / "c.json").read_text())["specVersion"] == "1.6"
    assert (tmp_path / "r.txt").read_text() == REQUIREMENTS
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "binder", "c.json", "crate", "r.txt", "s.json",
    ]  # fmt: skip


def test_without_a_file_the_document_is_printed(image, tmp_path, capsys):
    """As syft does; the same bytes."""
    assert main(["export", str(image), "--sbom", "spdx"]) == 0
    assert capsys.readouterr().out.encode() == Export(image).sbom("spdx")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what"),
        (["--sbom", "swid"], "spdx, cyclonedx"),
        (["--sbom", "spdx="], "FORMAT=FILE"),
        (["--sbom", "spdx", "--sbom", "cyclonedx"], "at most"),
        (["--sbom", "spdx", "--json"], "at most"),
        (["--lock", "r.txt", "--agent", "Bob"], "--ro-crate"),
        (["--lock", "no/such/r.txt"], "there is no directory"),
        (["--lock", "full"], "is in the way"),
        (["--binder", "full"], "not empty"),
        (["--lock", "r.txt", "--ro-crate", "full"], "not empty"),
        (["--lock", "r.txt", "--created", "yesterday"], "2026-11-21T12:00:00Z"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is(
    image, tmp_path, monkeypatch, capsys, words, said
):
    """Exit code 2, and nothing new in the directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert main(["export", str(image), *words]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_empty_directory_may_be_there(image, tmp_path):
    """As with `git clone`."""
    (tmp_path / "binder").mkdir()
    assert main(["export", str(image), "--binder", str(tmp_path / "binder")]) == 0
    assert (tmp_path / "binder/runtime.txt").is_file()
