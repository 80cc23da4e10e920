"""What two names would notice that they share."""

import collections
import datetime
import functools
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.codec import SaveContext, dump
from nbrw_runtime.mutables import inside_containers, is_leaf, is_mutable
from nbrw_runtime.store import DirectoryStore

KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.integers(), st.text()))
PLAIN = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.booleans(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(KEYS, inner), st.tuples(inner, inner), st.sets(KEYS),
        st.builds(bytearray, st.binary()), st.frozensets(KEYS),
    ),
    max_leaves=20,
)  # fmt: skip


def met(value):
    """The mutable objects that Python's own pickler meets."""
    import pickle

    class Pickler(pickle._Pickler):
        def memoize(self, obj):
            super().memoize(obj)
            found[id(obj)] = obj

    found = {}
    Pickler(io.BytesIO(), 5).dump(value)
    return {key for key, obj in found.items() if is_mutable(obj)}


@given(st.lists(PLAIN), st.randoms())
def test_containers_are_those_that_a_pickler_meets(values, random):
    """Shared ones too, and one that holds itself."""
    values += [random.choice(values) for _ in range(3) if values]
    values.append([values, {"a": values}])
    assert set(inside_containers([values])) == met(values)


@pytest.mark.parametrize(
    ("value", "leaf"),
    [
        (np.zeros(3), True), (np.float64(1), True), (np.array([[]], object), False),
        (np.dtype("i8"), True), (np.zeros(2, [("a", object)]), False), (datetime.date.min, True),
        (re.compile("a"), True), (len, True), (dict, True), (functools.reduce, True),
        (lambda: 0, False), (collections.Counter(), False), (type("T", (), {}), False),
        (functools.partial(len), False),
    ],
)  # fmt: skip
def test_a_leaf_has_nothing_inside(value, leaf):
    """Whatever is in doubt is none."""
    if getattr(value, "__module__", "") == __name__:
        value.__module__ = "__main__"
    assert is_leaf(value) is leaf


def test_what_a_dump_met_is_told_with_and_without_the_memo(tmp_path):
    """Lists inside objects, arrays inside lists."""
    inner, array = [1], np.zeros(3)
    context = SaveContext({}, DirectoryStore(tmp_path), tmp_path)
    plain = {"a": [inner, {"k": (array, inner)}], "b": "text"}
    found = set(dump(plain, context).mutables())
    assert found >= {id(inner), id(array), id(plain["a"]), id(plain["a"][1])}
    odd = {"a": collections.deque([inner]), "b": functools.partial(len, array)}
    assert set(dump(odd, context).mutables()) >= {id(inner), id(array), id(odd["a"]), id(odd["b"])}
