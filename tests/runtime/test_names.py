"""Which names a cell may use."""

from __future__ import annotations

import pytest

from nbrw_runtime.names import names_of


def test_reads_writes_and_nested_uses_are_all_found():
    """Functions, comprehensions, imports and globals count."""
    names = names_of("import a.b as c\ndef f(x):\n    global g\n    return h(x)\n[k for k in m]")
    assert {"c", "f", "g", "h", "m"} <= names.used
    assert not names.dynamic


@pytest.mark.parametrize(
    "source",
    ["exec('x')", "from os import *", "%%time\nx", "%run a.py", "globals()", "import __main__"],
)
def test_source_that_may_use_any_name_says_so(source):
    """The plan then takes every name for used."""
    assert names_of(source).dynamic


def test_magics_use_every_identifier_in_their_text():
    """A shell line may interpolate a variable."""
    names = names_of("!ls $folder\n%time run(x)")
    assert {"folder", "run", "x"} <= names.used
