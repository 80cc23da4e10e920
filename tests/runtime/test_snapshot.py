"""Whether plain data are what they were, told by the objects inside."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.snapshot import snapshot

LEAVES = (
    st.integers() | st.text(max_size=5) | st.none() | st.booleans() | st.floats(allow_nan=False)
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def containers(data):
    """All lists and dicts inside."""
    if type(data) in (list, dict):
        yield data
    for part in data.values() if type(data) is dict else data:
        if type(part) in (list, dict, tuple):
            yield from containers(part)


CHANGES = {
    "append": lambda c: c.append(None) if type(c) is list else c.update({"new": None}),
    "replace": lambda c: (
        c.__setitem__(0, object()) if type(c) is list else c.__setitem__(next(iter(c)), object())
    ),
    "remove": lambda c: c.pop() if type(c) is list else c.popitem(),
    "equal": lambda c: (
        c.__setitem__(0, copy.deepcopy([c[0]])[0])
        if type(c) is list
        else c.update({k: copy.deepcopy([v])[0] for k, v in c.items()})
    ),
    "order": lambda c: (
        c.reverse() if type(c) is list else c.update([(k, c.pop(k)) for k in list(c)[:1]])
    ),
}


@given(
    data=st.lists(DATA, min_size=1, max_size=4),
    change=st.sampled_from(sorted(CHANGES)),
    n=st.integers(0),
)
def test_any_change_anywhere_is_noticed(data, change, n):
    """It may say that something changed that is only equal; never the contrary."""
    taken = snapshot([data])
    assert taken.holds([data])
    before = repr(data)
    found = list(containers(data))
    place = found[n % len(found)]
    touched = bool(place)
    if touched:
        CHANGES[change](place)
    if repr(data) != before:
        assert not taken.holds([data])
    if not touched:
        assert taken.holds([data])


def test_equal_values_of_another_type_are_a_change():
    """1, 1.0 and True are equal, and keys of a dict, too."""
    data = [{1: "a"}, 1]
    taken = snapshot([data])
    data[1] = True
    assert not taken.holds([data])
    data[1] = 1
    assert taken.holds([data])
    data[0].clear()
    data[0][True] = "a"
    assert not taken.holds([data])


def test_other_objects_are_not_those_it_is_of():
    """Also if they are equal, or some are missing."""
    data = [1, [2]]
    taken = snapshot([data, data[1]])
    assert taken.holds([data, data[1]])
    assert not taken.holds([data])
    assert not taken.holds([copy.deepcopy(data), data[1]])


@pytest.mark.parametrize(
    "value", [{1}, np.zeros(3), object(), lambda: 1, bytearray(b"x"), frozenset(), np.float64(1)]
)
def test_what_may_change_otherwise_has_no_snapshot(value):
    """Wherever it is."""
    assert snapshot([value]) is None
    assert snapshot([[1, {"a": (value,)}]]) is None


def test_it_tells_the_containers_that_can_be_shared():
    """By their ids; a cycle is no trouble."""
    inner = [Path("a"), datetime.date(2026, 1, 1)]
    data = {"a": (inner, inner)}
    inner.append(data)
    taken = snapshot([data])
    assert taken.mutables() == {id(inner): inner, id(data): data}
    assert taken.holds([data])
