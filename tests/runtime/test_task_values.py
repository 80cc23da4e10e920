"""A property of literals: equal content has one digest, however made; other content another."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from dask._task_spec import Task
from hypothesis import given, settings
from hypothesis import strategies as st

from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
HASHABLE = st.one_of(st.integers(), st.text(max_size=5), st.tuples(st.integers(), st.text()))
ARRAYS = st.builds(
    lambda values, kind: np.array(values, dtype=kind),
    st.lists(st.integers(0, 100), min_size=1, max_size=12),
    st.sampled_from(["i4", "f8", "u1", ">i2"]),
)
VALUES = st.recursive(
    st.one_of(ATOMS, ARRAYS, st.sets(HASHABLE, max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
    ),
    max_leaves=10,
)


def digest(value):
    """The digest of a task with this argument."""
    found = Fingerprinter({}, "/nowhere").fingerprints({"k": Task("k", len, value)}, {})["k"]
    assert isinstance(found, Fingerprint), found
    return found.digest


def rebuilt(value):
    """The same content: other objects, other insertion into sets, views in place of arrays."""
    if isinstance(value, np.ndarray):
        wide = np.zeros(2 * len(value), dtype=value.dtype)
        wide[::2] = value
        return wide[::2]
    if isinstance(value, set):
        made = set()
        for item in sorted(map(rebuilt, value), key=repr, reverse=True):
            made.add(item)
        return made
    if isinstance(value, dict):
        return {rebuilt(key): rebuilt(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(rebuilt, value))
    if isinstance(value, str):
        return "".join(list(value))
    return copy.deepcopy(value)


def changed(value, choice):
    """Other content, at a place that ``choice`` selects."""
    if isinstance(value, np.ndarray):
        other = value.copy()
        other[choice % len(other)] += 1
        return other
    if isinstance(value, set):
        return value ^ {"a new one"}
    if isinstance(value, (list, tuple)) and len(value):
        place = choice % len(value)
        items = [changed(v, choice) if n == place else v for n, v in enumerate(value)]
        return type(value)(items)
    if isinstance(value, dict) and value:
        place = list(value)[choice % len(value)]
        return {k: changed(v, choice) if k == place else v for k, v in value.items()}
    return ("changed", value)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_equal_content_has_one_digest(value):
    """Copies, views and other ways to build the same change nothing."""
    assert digest([value]) == digest([rebuilt(value)])


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(0, 1000))
def test_a_change_anywhere_gives_another_digest(value, choice):
    """No part of a value is left out."""
    assert digest([value]) != digest([changed(value, choice)])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.text(max_size=3)), min_size=1, max_size=8),
    st.integers(0, 1000),
)
def test_frames_are_their_content(rows, choice):
    """Not how pandas holds it: built by column, by row, or cut from a larger one."""
    frame = pd.DataFrame(rows, columns=["a", "b"])
    by_column = pd.DataFrame({"a": [a for a, _ in rows]})
    by_column["b"] = [b for _, b in rows]
    cut = pd.concat([frame, frame], ignore_index=True).iloc[: len(rows)]
    assert digest(frame) == digest(by_column) == digest(cut)
    other = frame.copy()
    other.loc[choice % len(rows), "a"] += 1
    assert digest(other) != digest(frame)


@pytest.mark.parametrize("value", [[], (), {}, set(), "", b"", None, 0, 0.0, False, np.zeros(0)])
def test_empty_values_are_told_apart(value):
    """Each kind of nothing is one of its own."""
    others = [[], (), {}, set(), frozenset(), "", b"", bytearray(), None, 0, 0.0, False, 0j]
    same = [other for other in others if digest([other]) == digest([value])]
    assert len(same) == (0 if isinstance(value, np.ndarray) else 1)
