"""Objects of a notebook to bytes and back."""

import functools
import gc
import io
import sqlite3
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime import codec_identity
from nbrw_runtime.codec import Dump, LoadContext, Omit, SaveContext, StatePickler, dump, load
from nbrw_runtime.store import DirectoryStore, MemoryStore

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    ATOMS | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.frozensets(ATOMS, max_size=3)
    ),
    max_leaves=20,
)


def ran(source):
    """The namespace of a notebook in which this code ran."""
    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


def again(objects, namespace=None, target=None, views=frozenset()):
    """Dump names together and load them into another namespace."""
    found = dump(
        objects, SaveContext(namespace if namespace is not None else {}, MemoryStore()), views
    )
    assert isinstance(found, Dump), found
    target = {"__name__": "__main__"} if target is None else target
    buffers = [bytearray(part) for part in found.buffers]
    target.update(load(found.payload, buffers, found.codec, LoadContext(target, MemoryStore())))
    return target


def omitted(value):
    """Why a value cannot be stored."""
    found = dump({"x": value}, SaveContext({}, MemoryStore()))
    assert isinstance(found, Omit), found
    return found.reason


@given(VALUES)
def test_what_comes_back_equals_what_was_stored(value):
    """For values nested in any way."""
    assert again({"x": value})["x"] == value


@given(VALUES)
def test_equal_states_have_equal_identities(value):
    """Storing the same object twice gives the same digest: it has not changed."""
    context = SaveContext({}, MemoryStore())
    assert dump({"x": value}, context).identity() == dump({"x": value}, context).identity()


def test_names_that_share_an_object_share_it_afterwards():
    """A list under two names is one list."""
    shared = [1]
    back = again({"a": shared, "b": {"inner": shared}})
    back["a"].append(2)
    assert back["b"]["inner"] == [1, 2]


def test_a_function_sees_the_globals_of_the_restored_notebook():
    """Not a copy of those it had: after K = 100 it uses the new K."""
    before = ran("K = 1\ndef f(x):\n    return x + K")
    back = again({"f": before["f"]}, before)
    back["K"] = 100
    assert back["f"](1) == 101


def test_functions_keep_closures_defaults_decorators_and_recursion():
    """All that a function is made of comes back."""
    before = ran(
        "import functools\n"
        "def make(n):\n    def inner(x, y=3, *, z=4):\n"
        "        return n + x + y + z\n    return inner\n"
        "closed = make(10)\n"
        "def double(g):\n    @functools.wraps(g)\n    def h(*a):\n"
        "        return 2 * g(*a)\n    return h\n"
        "@double\ndef one():\n    return 1\n"
        "def fact(n):\n    return n * fact(n - 1) if n else 1\n"
        "squares = lambda xs: [x * x for x in xs]\n"
    )
    names = ("closed", "one", "fact", "squares", "double")
    back = again({name: before[name] for name in names}, before)
    assert back["closed"](1) == 18
    assert (back["one"](), back["one"].__name__) == (2, "one")
    assert back["fact"](5) == 120
    assert back["squares"]([2, 3]) == [4, 9]


def test_classes_of_cells_and_their_instances_stay_together():
    """An instance is of the class that the name means, and methods see live globals."""
    before = ran(
        "import dataclasses, enum\nS = 2\n"
        "class A:\n    def __init__(self):\n        self.x = 1\n    def scaled(self):\n"
        "        return self.x * S\n"
        "@dataclasses.dataclass\nclass P:\n    x: int\n"
        "class E(enum.Enum):\n    ONE = 1\n"
        "a = A()\np = P(3)\ne = E.ONE\n"
    )
    back = again({n: before[n] for n in ("A", "P", "E", "a", "p", "e")}, before)
    back["S"] = 5
    assert isinstance(back["a"], back["A"])
    assert back["a"].scaled() == 5
    assert back["p"] == back["P"](3)
    assert back["e"] is back["E"].ONE


def test_arrays_come_back_whatever_their_layout():
    """Contiguous or not, any type, writable."""
    base = np.arange(5000.0)
    arrays = {
        "plain": base, "fortran": np.asfortranarray(np.arange(6000).reshape(60, 100)),
        "steps": base[::3], "reverse": base[::-1], "dates": base.astype("datetime64[s]"),
        "objects": np.array([[1], "a", None], dtype=object), "empty": np.empty((0, 3)),
        "scalar": np.array(3.5), "record": np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
    }  # fmt: skip
    for name, array in arrays.items():
        back = again({name: array})[name]
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype
        back[...] = back  # writable


def test_views_share_memory_afterwards_when_asked_to():
    """Writing to the base changes the view, as before."""
    base = np.arange(10000.0)
    objects = {"a": base, "b": base[::2], "c": base.reshape(100, 100)[3:5, ::-1]}
    back = again(objects, views=frozenset({id(base)}))
    back["a"][:] = 7
    assert (back["b"] == 7).all() and (back["c"] == 7).all()
    back["b"][0] = -1
    assert back["a"][0] == -1


def test_frames_come_back_with_all_kinds_of_columns():
    """pandas, Arrow strings, categories and dates too."""
    frame = pd.DataFrame(
        {
            "i": np.arange(2000), "f": np.linspace(0, 1, 2000), "s": ["ä", "b"] * 1000,
            "c": pd.Categorical(["x", "y"] * 1000), "o": [[1], None] * 1000,
            "t": pd.date_range("2024", periods=2000, freq="h"),
        },
        index=pd.Index(range(2000), name="n"),
    )  # fmt: skip
    back = again({"x": frame, "y": frame["i"]})
    pd.testing.assert_frame_equal(back["x"], frame)
    back["x"].loc[0, "i"] = -5
    assert back["y"][0] == 0  # copy on write, as before


FRAMES = [
    "s = pd.Series(np.arange(3000.))\nt = s.rename('t')",
    "s = pd.Series(['a', 'b'], dtype=object)\nt = s.rename('t')",
    "s = pd.Series([1, None], dtype='Int64')\nt = s.rename('t')",
    "s = pd.Series(pd.date_range('2024', periods=2))\nt = s.rename('t')",
    "f = pd.DataFrame({'a': np.arange(3000.), 'b': 1.0})\ns = f['a']\nt = f.rename(index=abs)",
    "s = pd.Series(np.arange(3000.))\nt = pd.Index(s)",
    "s = pd.Series(np.arange(3000.))\nt = pd.DataFrame({'x': s}, copy=False)",
]


@pytest.mark.parametrize("source", FRAMES)
@pytest.mark.parametrize("together", [True, False])
def test_to_write_to_one_frame_changes_no_other(source, together):
    """Frames that shared their memory until one is written to: pandas copies, or is told to."""
    before = {"pd": pd, "np": np}
    exec(source, before)
    names = [name for name in ("f", "s", "t") if name in before]
    objects = {name: before[name] for name in names}
    if together:
        found = dump(objects, SaveContext({}, MemoryStore()))
        back = again(objects, views=frozenset(found.roots))
    else:
        back = {name: again({name: before[name]})[name] for name in names}
    kept = {name: back[name].copy(deep=True) for name in names}
    back["s"].iloc[0] = back["s"].iloc[1]
    for name in set(names) - {"s"}:
        assert back[name].equals(kept[name])
    assert not back["s"].equals(kept["s"])


def test_large_buffers_are_not_copied_into_the_pickle():
    """They are blobs of their own, to be mapped."""
    found = dump({"x": np.zeros(1_000_000)}, SaveContext({}, MemoryStore()))
    assert len(found.payload) < 1000
    assert [part.nbytes for part in found.buffers] == [8_000_000]


def test_many_small_arrays_are_one_blob_and_compared_like_a_few():
    """A file for each would cost more than to read what is not wanted; texts still do not show."""

    def identity(*texts):
        tables = [{"text": text, "x": np.arange(2000.0) + n} for n, text in enumerate(texts * 200)]
        found = dump({"tables": tables}, SaveContext({}, MemoryStore()))
        assert not found.buffers and len(found.payload) > codec_identity._LARGE
        return found.identity()

    word = "".join(["wo", "rd"])
    assert identity("word", "word") == identity("word", word) != identity("word", "lord")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: (n for n in [1]), "generator"),
        (lambda: open("/dev/null"), "open file"),
        (lambda: sqlite3.connect(":memory:"), "database"),
        (lambda: threading.Thread(), "thread"),
        (lambda: __import__("socket").socket(), "network"),
        (lambda: __import__("concurrent.futures").futures.ThreadPoolExecutor(1), "pool"),
        (lambda: __import__("tempfile").TemporaryDirectory(), "temporary"),
    ],
)
def test_what_means_nothing_later_is_refused_with_a_reason(make, word):
    """Alone and inside other objects; never stored as something that fails on use."""
    value = make()
    assert word in omitted(value)
    assert word in omitted({"inner": [value]})


def test_a_held_lock_is_refused():
    """Nobody would ever release it."""
    lock = threading.Lock()
    with lock:
        assert omitted([lock])


def test_in_memory_files_partials_and_modules_are_stored():
    """What has a meaning of its own comes back."""
    back = again({"b": io.BytesIO(b"x"), "p": functools.partial(int, base=2), "m": np})
    assert back["b"].read() == b"x"
    assert back["p"]("11") == 3
    assert back["m"] is np


def test_what_a_function_refers_to_is_noted():
    """So that the plan knows which names a cell reaches through it."""
    namespace = ran("K = 1\ndef f():\n    def g():\n        return K\n    return g()")
    found = dump({"f": namespace["f"]}, SaveContext(namespace, MemoryStore()))
    assert "K" in found.refers


def test_a_dump_leaves_nothing_to_the_garbage_collector(tmp_path):
    """It may crash on memory views in cycles."""
    context = SaveContext({}, DirectoryStore(tmp_path), tmp_path)
    gc.collect()
    gc.disable()
    try:
        found = dump({"a": np.zeros(10_000), "f": lambda: 0, "s": {1, "b"}}, context)
        assert found.mutables() and found.identity() and found.buffers
        del found
        assert [obj for obj in gc.get_objects() if isinstance(obj, StatePickler)] == []
    finally:
        gc.enable()
