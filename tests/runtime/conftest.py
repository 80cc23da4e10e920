"""What the tests of this folder share: kernels in this very process."""

from __future__ import annotations

import gc

import pytest

from nbrw_runtime import own_files
from notebook_helper import ROOT


@pytest.fixture(autouse=True, scope="module")
def this_checkout_is_installed():
    """A notebook's process has nothing of nbrw loaded; in this one hundreds of modules are, which
    kernels would take for the notebook's own, and read.
    """
    patch = pytest.MonkeyPatch()
    roots = (*own_files._roots(), f"{ROOT}/")
    patch.setattr(own_files, "_roots", lambda: roots)
    own_files.is_own_file.cache_clear()
    yield
    patch.undo()
    own_files.is_own_file.cache_clear()


@pytest.fixture(autouse=True)
def thawed():
    """What cells have frozen for the garbage collector would be frozen for every later test."""
    yield
    if gc.get_freeze_count():
        gc.unfreeze()
