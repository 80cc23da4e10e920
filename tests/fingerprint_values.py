"""Rows of the table of fingerprint cases: literals."""

# ruff: noqa: E501
from __future__ import annotations

from fingerprint_table import case


# Literals
def values(name, before, after, want, why, imports="import numpy as np, pandas as pd", **more):
    """Add a case of two literals."""
    case(name, f"{imports}\ntask = {before}", f"{imports}\ntask = {after}", want, why, **more)


UUID = "'run-6ba7b810-9dad-11d1-80b4-00c04fd430c8'"
values("text with a UUID", UUID, UUID.replace("30c8", "30c9"), "different", "weakness 4")
values(
    "text with a hash at its end",
    "'m-0123456789abcdef'",
    "'m-0123456789abcdee'",
    "different",
    "weakness 4",
)
values("1 and 1.0", "[1]", "[1.0]", "different", "results differ in type")
values("1 and True", "[1]", "[True]", "different", "results differ in type")
values("0.0 and -0.0", "[0.0]", "[-0.0]", "different", "1/x differs")
values("nan", "[float('nan')]", "[float('nan')]", "same", "by content, not by ==")
values("text and bytes", "['a']", "[b'a']", "different", "types")
values("list and tuple", "[[1]]", "[(1,)]", "different", "types")
values("nesting", "[[1, 2], [3]]", "[[1], [2, 3]]", "different", "structure")
values("order of a list", "[1, 2]", "[2, 1]", "different", "order counts")
values(
    "order of a dictionary", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", "different", "loops show it"
)
values("order of a set", "{'x', 'yy', 'z'}", "set(['z', 'yy', 'x'])", "same", "it has none")
values("set of tuples", "{('a', 1), ('b', 2)}", "{('b', 2), ('a', 1)}", "same", "it has none")
values("element of a set", "{'x', 'y'}", "{'x', 'z'}", "different", "content")
values("set and frozenset", "{1}", "frozenset({1})", "different", "types")
values(
    "texts that are one object",
    "['ab' * 30] * 2",
    "['ab' * 30, ''.join(['ab'] * 30)]",
    "same",
    "identity of what cannot change is no content",
)
values(
    "lists that are one object",
    "[[1]] * 2",
    "[[1], [1]]",
    "different",
    "a change would show in both",
)
NODES = "import numpy as np\nclass N: pass\na, b, c, d = N(), N(), N(), N()\na.n = {c, 1, 'x'}; b.n = {c}"
values("sets that share", "[a, b, c]", "[a, b, d]", "different", "c is in both", NODES)
values("sets and who is in them", "[{a}, a]", "[{a}, b]", "different", "which one", NODES)
values("frozenset", "[frozenset([a]), a]", "[frozenset([a]), b]", "different", "which", NODES)
values("sets in sets", "[{(c, 1), (c, 2)}]", "[{(c, 1), (d, 2)}]", "different", "one or two", NODES)
TWO = "from dask._task_spec import Task, List\nX = [1]\ndef f(*a): return X\ndef g(*a): return 1"
for name, before, after in (
    ("a list as two arguments", "g, X, X", "g, X, [1]"),
    ("a list as argument and in another", "g, X, k={'a': X}", "g, X, k={'a': [1]}"),
    ("a list as argument and global", "f, X", "f, [1]"),
    (
        "a list as argument and in a task inside",
        "g, X, Task(None, g, X)",
        "g, X, Task(None, g, [1])",
    ),
):
    task = "{{'t': Task('t', {})}}"
    values(name, task.format(before), task.format(after), "different", "a change shows", TWO)
    values(f"{name}, again", task.format(before), task.format(before), "same", "as before", TWO)
values("large integer", "[10**30]", "[10**30 + 1]", "different", "content")
values("array dtype", "np.arange(4, dtype='i4')", "np.arange(4, dtype='i8')", "different", "type")
values("array shape", "np.zeros((2, 3))", "np.zeros((3, 2))", "different", "shape")
values("array element", "np.array([1., 2.])", "np.array([1., 3.])", "different", "content")
values("array view and copy", "np.arange(10)[2:6]", "np.arange(10)[2:6].copy()", "same", "content")
values("array with steps", "np.arange(10)[::2]", "np.arange(10)[::2].copy()", "same", "content")
values("endianness", "np.arange(3, dtype='<i4')", "np.arange(3, dtype='>i4')", "different", "dtype")
values(
    "Fortran order",
    "np.ones((2, 3))",
    "np.asfortranarray(np.ones((2, 3)))",
    "different",
    "sums are rounded in another order: in doubt",
)
values(
    "array of objects",
    "np.array(['a', None], dtype=object)",
    "np.array(['a', 1], dtype=object)",
    "different",
    "content",
)
values(
    "structured array",
    "np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8')])",
    "np.zeros(2, dtype=[('a', 'i4'), ('c', 'f8')])",
    "different",
    "names of fields",
)
values("scalar of numpy", "[np.float64(1)]", "[np.float32(1)]", "different", "type")
values(
    "masked array",
    "np.ma.array([1, 2], mask=[0, 1])",
    "np.ma.array([1, 2], mask=[1, 0])",
    "different",
    "mask",
)
values(
    "datetime64 unit",
    "np.array(['2020-01-01'], 'M8[s]')",
    "np.array(['2020-01-01'], 'M8[ms]')",
    "different",
    "dtype",
)
values(
    "frame again",
    "pd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
    "pd.DataFrame({'b': ['x', None], 'a': [1, 2]})[['a', 'b']]",
    "same",
    "content",
)
values(
    "frame content", "pd.DataFrame({'a': [1, 2]})", "pd.DataFrame({'a': [1, 3]})", "different", ""
)
values(
    "frame index",
    "pd.DataFrame({'a': [1, 2]})",
    "pd.DataFrame({'a': [1, 2]}, index=[0, 2])",
    "different",
    "index",
)
values("column name", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'b': [1]})", "different", "names")
values(
    "categorical",
    "pd.Series(['a', 'b'], dtype='category')",
    "pd.Series(['a', 'b'], dtype=pd.CategoricalDtype(['b', 'a']))",
    "different",
    "categories",
)
values(
    "Arrow text",
    "pd.Series(['a', 'bb'], dtype='string[pyarrow]')",
    "pd.Series(['a', 'bc'], dtype='string[pyarrow]')",
    "different",
    "content",
)
values(
    "slice of Arrow text",
    "pd.Series(list('xyzab'), dtype='string[pyarrow]')[1:3].reset_index(drop=True)",
    "pd.Series(list('yz'), dtype='string[pyarrow]')",
    "same",
    "content, not buffers",
)
values(
    "time zone",
    "pd.Series(pd.to_datetime(['2020-01-01'], utc=True))",
    "pd.Series(pd.to_datetime(['2020-01-01']).tz_localize('Asia/Tokyo'))",
    "different",
    "zone",
)
values(
    "Arrow table slice",
    "pa.table({'a': [1, 2, 3]}).slice(1)",
    "pa.table({'a': [2, 3]})",
    "same",
    "content",
    imports="import pyarrow as pa",
)
values(
    "generator of numpy",
    "np.random.default_rng(1)",
    "np.random.default_rng(2)",
    "different",
    "seed",
)
values(
    "state of a generator",
    "np.random.default_rng(1)",
    "(lambda r: (r.random(), r)[1])(np.random.default_rng(1))",
    "different",
    "it has drawn",
)
values(
    "old generator of numpy",
    "np.random.RandomState(3)",
    "np.random.RandomState(3)",
    "same",
    "state",
)
values(
    "path",
    "pathlib.Path('a.csv')",
    "pathlib.Path('b.csv')",
    "different",
    "content",
    imports="import pathlib",
)
values(
    "date",
    "datetime.date(2020, 1, 1)",
    "datetime.date(2020, 1, 2)",
    "different",
    "content",
    imports="import datetime",
)
values(
    "regular expression",
    "re.compile('a')",
    "re.compile('a', re.I)",
    "different",
    "flags",
    imports="import re",
)
values(
    "list that holds itself",
    "(lambda a: (a.append(a), a)[1])([1])",
    "(lambda a: (a.append(a), a)[1])([1])",
    "same",
    "cycles end",
)
values(
    "lock that Dask can ship",
    "[SerializableLock()]",
    "[SerializableLock()]",
    "same",
    "its token is drawn anew, and is no content",
    imports="from dask.utils import SerializableLock",
)
