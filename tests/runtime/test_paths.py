"""Where the author's paths are in the image."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.paths import (
    RELOCATED_ROOT,
    SYSTEM_DIRECTORIES,
    author_path,
    image_path,
    is_system,
    link_point,
)

NAMES = st.sampled_from(
    ["home", "Users", "var", "usr", "opt", "scratch", "nbrw", "ada", "env", "x"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/usr/lib/x.so", "/usr/lib/x.so"),
        ("/usr", "/usr"),
        ("/usrlocal/x", "/nbrw/root/usrlocal/x"),
        ("/home/ada/env/bin/python", "/nbrw/root/home/ada/env/bin/python"),
        ("/root/data.csv", "/nbrw/root/root/data.csv"),
        ("/tmp/x", "/nbrw/root/tmp/x"),
        ("/opt/conda/bin/python", "/opt/conda/bin/python"),
        ("/nbrw/runtime", "/nbrw/runtime"),
    ],
)
def test_system_files_keep_their_place_and_others_are_relocated(path, there):
    """What a caller's mounts may hide is moved to where they cannot."""
    assert image_path(path) == there
    assert author_path(there) == path


@given(PATHS)
def test_every_path_comes_back(path):
    """Unless it is in /nbrw already, which no author's host has."""
    there = image_path(path)
    assert is_system(path) == (there == path)
    if not path.startswith(RELOCATED_ROOT + "/"):
        assert author_path(there) == path


@given(PATHS)
def test_a_link_is_at_the_path_or_above_it_and_never_at_the_top(path):
    """The first component stays a directory, so the caller's mounts find it."""
    link = link_point(path)
    assert path == link or path.startswith(link + "/")
    if path.count("/") > 1:
        assert link.count("/") > 1


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/home/ada/env/bin/python", "/home/ada/env"),
        ("/home/ada", "/home/ada"),
        ("/scratch/x/y/z", "/scratch/x"),
        ("/var/lib/data/a", "/var/lib/data"),
        ("/mnt/disk/a/b", "/mnt/disk/a"),
        ("/data", "/data"),
    ],
)
def test_links_are_below_homes_and_mount_points(path, link):
    """Homes are mounted by name, so links are one deeper there."""
    assert link_point(path) == link


def test_system_directories_are_absolute_and_normalised():
    """They are compared as text."""
    assert all(posixpath.normpath(path) == path for path in SYSTEM_DIRECTORIES)
    assert "/" not in SYSTEM_DIRECTORIES
