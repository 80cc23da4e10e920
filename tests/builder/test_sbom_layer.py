"""Bills of materials in images and beside them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbrw_builder import sif
from nbrw_builder.engine import RunRequest
from nbrw_builder.engine_apptainer import command
from nbrw_builder.export import Export
from nbrw_builder.image_file import open_image
from nbrw_builder.oci_load import config_digest, docker_archive, manifest_digest
from nbrw_builder.oci_read import DirectoryBlobs
from nbrw_builder.oci_referrers import referrers
from nbrw_runtime.errors import FormatError

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import write_provenance  # noqa: E402

BOTH = ("spdx", "cyclonedx")
needs_squashfs = pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs squashfs-tools")
KINDS = ["image", "i.tar", pytest.param("i.sif", marks=needs_squashfs)]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_in_the_image_is_what_export_makes_of_it(tmp_path, name):
    """To the byte, beside the recipe, under names that scanners look for."""
    write_provenance(tmp_path / name, tmp_path / "cache", sbom=BOTH)
    image = open_image(tmp_path / name)
    image.verify()
    export = Export(tmp_path / name)
    assert image.members(["/nbrw.recipe/sbom.*.json"]) == {
        "/nbrw.recipe/sbom.spdx.json": export.sbom("spdx"),
        "/nbrw.recipe/sbom.cdx.json": export.sbom("cyclonedx"),
    }


@pytest.mark.parametrize("name", KINDS)
def test_without_them_the_image_is_what_it_was(tmp_path, name):
    """Asking for none changes no byte of any file."""
    for place, options in (("a", {}), ("b", {"sbom": ()})):
        (tmp_path / place).mkdir()
        write_provenance(tmp_path / place / name, tmp_path / "cache", **options)
    argv = ["diff", "-r", str(tmp_path / "a"), str(tmp_path / "b")]
    assert subprocess.run(argv, stdout=subprocess.DEVNULL).returncode == 0
    assert not open_image(tmp_path / "a" / name).members(["/nbrw.recipe/sbom.*"])


@needs_squashfs
def test_a_sif_has_them_as_objects_of_their_own_type(tmp_path):
    """`sif list` shows them with their format (sylabs/sif: 4 SPDX, 1 CycloneDX)."""
    path = tmp_path / "i.sif"
    write_provenance(path, tmp_path / "cache", sbom=BOTH)
    with open(path, "rb") as stream:
        objects = sif.decode(stream, path.stat().st_size, "it")[1]
        stream.seek(4096)
        rows = list(sif._DESCRIPTOR.iter_unpack(stream.read(48 * 585)))
        found = {item.name: item for item in objects if item.kind == 0x4009}
        assert sorted(found) == ["sbom.cdx.json", "sbom.spdx.json"]
        stream.seek(found["sbom.spdx.json"].offset)
        assert stream.read(found["sbom.spdx.json"].size) == Export(path).sbom("spdx")
    formats = {row[12].rstrip(b"\0").decode(): row[13][:4] for row in rows if row[0] == 0x4009}
    assert formats == {"sbom.spdx.json": b"\4\0\0\0", "sbom.cdx.json": b"\1\0\0\0"}


def test_an_oci_directory_names_them_as_referrers(tmp_path):
    """Manifests with a subject and an artifactType in the index, as OCI 1.1 has them."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache", sbom=BOTH)
    index = json.loads((root / "index.json").read_text())
    image, *others = index["manifests"]
    assert "artifactType" not in image
    kinds = {entry["artifactType"]: entry for entry in others}
    assert sorted(kinds) == ["application/spdx+json", "application/vnd.cyclonedx+json"]
    name = kinds["application/spdx+json"]["digest"].removeprefix("sha256:")
    manifest = json.loads((root / "blobs/sha256" / name).read_text())
    assert manifest["subject"] == {key: image[key] for key in ("mediaType", "digest", "size")}
    assert manifest["artifactType"] == "application/spdx+json"
    (layer,) = manifest["layers"]
    assert layer["annotations"] == {"org.opencontainers.image.title": "sbom.spdx.json"}
    data = (root / "blobs/sha256" / layer["digest"].removeprefix("sha256:")).read_bytes()
    assert data == Export(root).sbom("spdx")


def test_the_image_in_a_layout_with_referrers_is_still_found(tmp_path):
    """By all that nbrw does with layouts."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache", sbom=BOTH)
    index = json.loads((root / "index.json").read_text())
    assert str(manifest_digest(DirectoryBlobs(root), "")) == index["manifests"][0]["digest"]
    manifest = json.loads(
        (root / "blobs/sha256" / manifest_digest(DirectoryBlobs(root), "").hex).read_text()
    )
    assert str(config_digest(root, "oci-dir")) == manifest["config"]["digest"]
    assert sum(map(len, docker_archive(root, "oci-dir"))) > 0
    # Whatever the order: who pushes and pulls may write another.
    index["manifests"].reverse()
    (root / "index.json").write_text(json.dumps(index))
    open_image(root).verify()
    open_image(root).extract(tmp_path / "root")
    assert (tmp_path / "root/nbrw.recipe/recipe.json").is_file()


def test_a_layout_of_two_images_is_refused(tmp_path):
    """Which one is meant nobody can tell."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache")
    index = json.loads((root / "index.json").read_text())
    index["manifests"] *= 2
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match="2 images"):
        open_image(root).verify()
    with pytest.raises(FormatError, match="2 images"):
        manifest_digest(DirectoryBlobs(root), "")


def test_apptainer_is_told_the_tag_where_there_are_several_manifests(tmp_path):
    """It refuses to choose."""
    for sbom, name in (((), "image"), (BOTH, "image:v1")):
        write_provenance(tmp_path / "image", tmp_path / "cache", sbom=sbom)
        argv = command("apptainer", RunRequest(open_image(tmp_path / "image"), (), tmp_path))
        assert argv[-1] == f"oci:{tmp_path}/{name}"


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
def test_skopeo_reads_the_image_by_its_tag(tmp_path):
    """And its digest is the manifest's."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache", sbom=BOTH)
    argv = ["skopeo", "inspect", f"oci:{root}:v1"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["Digest"] == str(manifest_digest(DirectoryBlobs(root), ""))


def test_an_image_that_is_written_again_keeps_what_others_said_of_it(tmp_path):
    """As long as it is the very same; what is said of another goes, and old blobs with it."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache", sbom=("spdx",))
    before = {path.name for path in root.rglob("*")}
    assert len(referrers(DirectoryBlobs(root), "")) == 1
    write_provenance(root, tmp_path / "cache", sbom=("spdx",))
    assert {path.name for path in root.rglob("*")} == before
    write_provenance(root, tmp_path / "cache")
    assert referrers(DirectoryBlobs(root), "") == ()
    index = json.loads((root / "index.json").read_text())
    assert len(index["manifests"]) == 1
