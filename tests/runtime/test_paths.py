"""Where the author's paths are in the image."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.paths import (
    RELOCATED_ROOT,
    SYSTEM_DIRECTORIES,
    image_path,
    is_system,
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


@given(PATHS, PATHS)
def test_no_two_paths_have_one_place(path, other):
    """Unless one is in /nbrw already, which no author's host has."""
    assert is_system(path) == (image_path(path) == path)
    if path != other and not any(p.startswith(RELOCATED_ROOT + "/") for p in (path, other)):
        assert image_path(path) != image_path(other)


def test_system_directories_are_absolute_and_normalised():
    """They are compared as text."""
    assert all(posixpath.normpath(path) == path for path in SYSTEM_DIRECTORIES)
    assert "/" not in SYSTEM_DIRECTORIES
