"""Which distributions a module is from, without looking for their files."""

from __future__ import annotations

import sys
from importlib import metadata

from nbrw_runtime.distributions import modules_of, names_of_distributions


def test_loaded_modules_are_from_the_distributions_that_python_says():
    """Those that are installed, and those that are not."""
    known = metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in sys.modules} | {"not_a_module"}
    assert "pytest" in tops
    for top in tops - set(sys.stdlib_module_names):
        assert names_of_distributions(top) == sorted(set(known.get(top, ()))), top


def test_modules_are_told_by_their_code():
    """Packages, modules, and modules in C; not data, scripts and metadata."""
    paths = [
        "package/__init__.py", "package/data.csv", "one.py", "fast.abi3.so", "share/doc.html",
        "../../../bin/tool", "numpy.libs/libx.so", "one-1.0.dist-info/RECORD", "name_space/x/y.py",
        "-bad/x.py",
    ]  # fmt: skip
    assert modules_of(paths) == {"package", "one", "fast", "name_space"}
