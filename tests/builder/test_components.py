"""What recipe and metadata together say of the software in an image."""

import shutil
import sys
from email.parser import HeaderParser
from pathlib import Path

import pytest

from nbrw_builder import licences
from nbrw_builder.components import components, wanted
from nbrw_builder.image_file import open_image
from nbrw_builder.image_members import matcher
from nbrw_builder.purl import purl
from nbrw_runtime.recipe import read_recipe

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import (  # noqa: E402
    CONDA_FILES,
    CONDA_SOFTWARE,
    FILES,
    SOFTWARE,
    recipe,
    write_provenance,
)

needs_squashfs = pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs squashfs-tools")


def by_name(files=FILES, software=SOFTWARE):
    data = {path: text.encode() for path, text in files.items()}
    return {found.name: found for found in components(recipe((), software), data)}


@pytest.mark.parametrize(
    ("name", "purl"),
    [
        ("numpy", "pkg:pypi/numpy@2.1.0"),
        ("Jinja2", "pkg:pypi/jinja2@3.1.6"),
        (
            "fromgit",
            "pkg:pypi/fromgit@0.1%2Blocal?vcs_url=git%2Bhttps://example.org/fromgit.git%40abc123",
        ),
        ("mine", ""),
        ("libstdc++6", "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?distro=debian-12"),
        ("zlib", "pkg:rpm/debian/zlib@1.3-1?distro=debian-12"),
        ("python", "pkg:generic/python@3.11.7"),
        ("/usr/lib/libown.so", ""),
        ("nbrw", "pkg:pypi/nbrw@0.1.0"),
    ],
)
def test_every_kind_of_software_has_the_package_url_that_scanners_look_up(name, purl):
    """What no index has (local source, files nobody owns) has none."""
    assert by_name()[name].purl == purl


def test_conda_packages_are_known_by_their_own_metadata():
    """Channel, build and checksum are in conda-meta."""
    found = by_name(CONDA_FILES, CONDA_SOFTWARE)["hdf5"]
    assert found.purl == ("pkg:conda/hdf5@1.14.3?build=h1&channel=conda-forge&subdir=linux-64")
    assert (found.licence, found.digest) == ("BSD-3-Clause", "ab" * 32)


def test_what_was_used_is_told_from_what_is_only_packed():
    """By whom and in which cells, or for whose sake."""
    found = by_name()
    assert found["numpy"].used and found["numpy"].use == "used in cells 1, 2 by kernel"
    assert found["python"].use == "used at the start by kernel"
    assert not found["Jinja2"].used
    assert found["Jinja2"].use == "packed for numpy, not used in the audit"
    assert not found["nbrw"].used


def test_without_metadata_nothing_is_made_up():
    """Name and version come from the recipe alone."""
    found = by_name({})
    assert {c.licence + c.licence_name + c.author + c.digest for c in found.values()} == {
        "", "PSF-2.0", "Apache-2.0",
    }  # fmt: skip
    assert found["libstdc++6"].purl == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("License-Expression: mit OR apache-2.0", ("MIT OR Apache-2.0", "")),
        ("License: MIT", ("MIT", "")),
        ("License: BSD 3-Clause License", ("BSD-3-Clause", "")),
        ("License: BSD", ("", "BSD")),
        ("License: UNKNOWN", ("", "")),
        ("License: a long text\n over two lines", ("", "")),
        ("Classifier: License :: OSI Approved :: MIT License", ("MIT", "")),
        ("Classifier: License :: OSI Approved :: BSD License", ("", "BSD License")),
        (
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: Python Software Foundation License",
            ("", "MIT License, Python Software Foundation License"),
        ),
        ("License-Expression: no such licence", ("", "no such licence")),
    ],
)
def test_a_licence_is_an_expression_only_where_that_is_certain(head, found):
    """`BSD License` may be one of several: it stays a name."""
    assert licences.of_distribution(HeaderParser().parsestr(head + "\n")) == found


def test_a_debian_copyright_file_that_machines_do_not_read_says_nothing():
    """Words in prose are no names of licences."""
    text = FILES["/usr/share/doc/libstdc++6/copyright"]
    assert licences.of_debian(text) == "Expat, GPL-3+"
    assert licences.of_debian("This is libx.\nLicense: see below\n") == ""


@pytest.mark.parametrize("kind", ["oci-dir", "oci-tar", pytest.param("sif", marks=needs_squashfs)])
def test_all_kinds_of_images_have_the_same_files(tmp_path, kind):
    """A SIF is asked by unsquashfs, OCI images by reading their layers."""
    out = tmp_path / {"oci-dir": "image", "oci-tar": "i.tar", "sif": "i.sif"}[kind]
    write_provenance(out, tmp_path / "cache")
    image = open_image(out)
    found = image.members(wanted(read_recipe(image.recipe_bytes())))
    assert {path: data.decode() for path, data in found.items()} == FILES


@needs_squashfs
def test_an_image_without_a_wanted_file_has_none(tmp_path):
    """Nothing is found and nothing fails, also with characters that are special in patterns."""
    write_provenance(tmp_path / "i.sif", tmp_path / "cache", {"/usr/a[b": "1", "/usr/ab": "2"})
    image = open_image(tmp_path / "i.sif")
    assert image.members(["/nothing/*"]) == {}
    assert image.members([]) == {}
    assert image.members(["/usr/a[[]b"]) == {"/usr/a[b": b"1"}


def test_a_star_stays_within_a_name():
    """Unlike in fnmatch."""
    matches = matcher(["/a/*.dist-info/METADATA"])
    assert matches("/a/x.dist-info/METADATA")
    assert not matches("/a/b/x.dist-info/METADATA") and not matches("/a/x.dist-info/METADATA/y")


def test_package_urls_are_those_of_the_reference_implementation():
    """In every part that needs quoting."""
    reference = pytest.importorskip("packageurl").PackageURL
    for parts in (
        ("deb", "debian", "libstdc++6", "1:2.0~rc1+b1", {"distro": "debian-12"}),
        ("pypi", "", "a-b", "1.0+local", {"vcs_url": "git+https://e.org/a.git@ab", "x": ""}),
        ("conda", "", "a", "1!2", {"channel": "a/b c"}),
        ("generic", "", "python", "3.11.7", {}),
    ):
        kind, namespace, name, version, qualifiers = parts
        made = purl(kind, name, version, namespace, qualifiers)
        assert made == reference(kind, namespace or None, name, version, qualifiers).to_string()
