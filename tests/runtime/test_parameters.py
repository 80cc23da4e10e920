"""Parameters as papermill has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.errors import UsageError
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.parameters import inject, parse_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def notebook(*cells):
    """A notebook of code cells given as (source, tags)."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "code", "id": str(n), "source": s, "metadata": {"tags": list(t)}}
            for n, (s, t) in enumerate(cells)
        ],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.0", 5.0),
        ("true", True),
        ("True", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("'5'", "5"),
        ("some text", "some text"),
        ("nan", "nan"),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_a_word_means_the_value_it_looks_like(text, value):
    """Numbers, truth values and lists are parsed, anything else is text."""
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_the_injected_cell_follows_the_tagged_one():
    """Parameters override the defaults that the tagged cell sets."""
    before = notebook(("a = 1", ()), ("t = 10.0", ("parameters",)), ("print(t)", ()))
    cells = code_cells(inject(before, {"t": 5.0}))
    assert [cell.source for cell in cells] == [
        "a = 1", "t = 10.0", "# Parameters\nt = 5.0", "print(t)",
    ]  # fmt: skip
    assert len(before["cells"]) == 3


def test_without_a_tag_the_cell_goes_to_the_top():
    """As papermill does."""
    cells = code_cells(inject(notebook(("print(t)", ())), {"t": "x"}))
    assert cells[0].source == "# Parameters\nt = 'x'"


def test_an_earlier_injection_is_replaced():
    """A notebook that was parameterised before has one injected cell, the new one."""
    once = inject(notebook(("t = 1", ("parameters",))), {"t": 2})
    twice = inject(once, {"t": 3})
    assert [cell.source for cell in code_cells(twice)] == ["t = 1", "# Parameters\nt = 3"]


def test_no_parameters_change_nothing():
    """Without parameters the notebook is what it was."""
    plain = notebook(("t = 1", ("parameters",)))
    assert inject(plain, {}) == plain


def test_a_name_that_python_cannot_assign_is_refused():
    """Nothing but a name can be set, so no code gets in by a parameter's name."""
    with pytest.raises(UsageError, match="not a Python name"):
        inject(notebook(), {"a; import os": 1})


@given(VALUES)
def test_the_injected_code_gives_the_value(value):
    """What the cell assigns equals what was asked for."""
    source = code_cells(inject(notebook(), {"x": value}))[0].source
    namespace = {}
    exec(source, namespace)
    assert namespace["x"] == value
