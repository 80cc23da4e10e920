"""Whether a worker elsewhere has the notebook's software."""

import numpy as np
import pytest

from nbrw_runtime.distributions import normal_name
from nbrw_runtime.task_outbox import software
from nbrw_runtime.worker_software import difference, loaded, required

OURS = {"Python": "CPython 3.11.7", "numpy": "2.1", "bottleneck": "1.4", "ipykernel": "7.0"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, ""),
        ({"numpy": "1.26"}, "numpy, 1.26 there, 2.1 here"),
        ({"Python": "CPython 3.11.2"}, "Python, CPython 3.11.2 there, CPython 3.11.7 here"),
        ({"numba": "0.60"}, "numba, 0.60 there, none here"),
        ({"bottleneck": None}, "bottleneck, none there, 1.4 here"),
        ({"ipykernel": None}, ""),
        ({"ipykernel": "6.0"}, "ipykernel, 6.0 there, 7.0 here"),
    ],
)
def test_what_differs_is_named(change, found):
    """What a worker lacks counts if the notebook has it loaded; all else in any case."""
    theirs = {name: version for name, version in (OURS | change).items() if version is not None}
    assert difference(theirs, OURS, {"numpy", "bottleneck"}) == found


def test_versions_are_those_of_metadata_and_names_are_normal():
    """However a distribution spells its name."""
    assert software()["numpy"] == np.__version__
    assert normal_name("Zope.Interface__x") == "zope-interface-x"
    assert all(name == normal_name(name) for name in software().keys() - {"Python"})


def test_jupyter_is_the_kernels_alone():
    """A worker need not have it; what the notebook imports it must have."""
    import ipykernel  # noqa: F401

    assert "numpy" in loaded()
    assert {"ipykernel", "ipython", "traitlets"} <= required("ipykernel")
    assert not loaded() & required("ipykernel")
