"""Rows of the table of fingerprint cases: graphs, what draws from outside, what is refused."""

# ruff: noqa: E501
from __future__ import annotations

from fingerprint_table import case, edit

# Graphs
W = """
from dask import delayed
import dask, dask.array as da, dask.bag as db
def m(x):
    return x + 1
def g(a, b):
    return a - b
"""
case(
    "delayed graph again",
    W + "task = delayed(g)(delayed(m)(1), delayed(m)(2))",
    "",
    "same",
    "keys are drawn anew, and say nothing",
)
case(
    "order of inputs",
    W + "a, b = delayed(m)(1), delayed(m)(2)\ntask = delayed(g)(a, b)",
    W + "a, b = delayed(m)(1), delayed(m)(2)\ntask = delayed(g)(b, a)",
    "different",
    "weakness 3",
)
case(
    "two inputs made by one function",
    W + "task = delayed(g)(delayed(m)(1), delayed(m)(2))",
    W + "task = delayed(g)(delayed(m)(1), delayed(m)(3))",
    "different",
    "weakness 3",
)
case(
    "one input twice",
    W + "a = delayed(m)(1)\ntask = delayed(g)(a, a)",
    W + "task = delayed(g)(delayed(m)(1), delayed(m)(2))",
    "different",
    "weakness 3",
)
case(
    "literal far above",
    W + "task = delayed(m)(delayed(m)(delayed(m)(1)))",
    W + "task = delayed(m)(delayed(m)(delayed(m)(2)))",
    "different",
    "it reaches all below",
)
case(
    "keyword argument",
    W + "task = delayed(g)(1, b=delayed(m)(1))",
    W + "task = delayed(g)(1, b=delayed(m)(2))",
    "different",
    "input by keyword",
)
case(
    "input in a container",
    W + "task = delayed(g)([delayed(m)(1), 5], {'a': delayed(m)(2)})",
    W + "task = delayed(g)([delayed(m)(1), 5], {'a': delayed(m)(3)})",
    "different",
    "nested",
)
case(
    "bag again",
    W + "task = db.from_sequence(range(9), npartitions=3).map(m).filter(bool).sum()",
    "",
    "same",
    "keys say nothing",
)
BAG = W + "task = db.from_sequence(range(9), npartitions=3).map(m).sum()"
edit("function of a bag", BAG, "x + 1", "x + 2", "different", "weakness 1")
case(
    "array again",
    W + "task = (da.ones((8, 8), chunks=4) + 1).map_blocks(m).sum()",
    "",
    "same",
    "keys say nothing",
)
ARRAY = W + "task = (da.arange(8, chunks=4) + 1).map_blocks(m)"
edit("function of an array", ARRAY, "x + 1", "x + 2", "different", "weakness 1")
edit("operand of an array", ARRAY, ") + 1).", ") + 2).", "different", "literal")
edit(
    "seed of a random array",
    W + "task = da.random.default_rng(5).random((4, 4), chunks=2)",
    "(5)",
    "(6)",
    "different",
    "the seed is in the tasks",
)
edit(
    "random array again",
    W + "task = da.random.default_rng(5).random((4, 4), chunks=2)",
    "m",
    "m",
    "same",
    "seeded",
)
FRAME = """
import pandas as pd, dask.dataframe as dd
LIMIT = 1
def m(part):
    return part[part.a > LIMIT]
task = dd.from_pandas(pd.DataFrame({'a': range(6), 'b': list('xyzxyz')}), npartitions=2)
task = task.map_partitions(m)
task = task.groupby('b').a.sum()
"""
edit("frame graph again", FRAME, "task", "task", "same", "keys say nothing")
edit("function of a frame", FRAME, "part.a >", "part.a >=", "different", "weakness 1")
edit("global of a frame's function", FRAME, "LIMIT = 1", "LIMIT = 2", "different", "weakness 2")
edit("data of a frame", FRAME, "range(6)", "range(1, 7)", "different", "literal")
FUSED = """
from dask._task_spec import Task, TaskRef, Alias
def m(x):
    return x + 1
def n(x, y):
    return x * y
a, b, c = Task('a', m, 1), Task('b', m, TaskRef('a')), Task('c', n, TaskRef('b'), 7)
"""
case(
    "fused and not",
    FUSED + "task = {'c': Task.fuse(a, b, c)}",
    FUSED + "task = {'a': a, 'b': b, 'c': c}\n",
    "same",
    "fusing changes no result",
)
case(
    "inside of a fused task",
    FUSED + "task = {'c': Task.fuse(a, b, c)}",
    FUSED.replace("x + 1", "x + 2") + "task = {'c': Task.fuse(a, b, c)}",
    "different",
    "it is run",
)

# From outside
for asks in (
    "import os\ndef task(p):\n    return os.path.exists(p)",
    "from os.path import getsize as size\ndef task(p):\n    return size(p)",
    "from pathlib import Path\ndef task(p):\n    return Path(p).is_file()",
    "import os\ndef ask(p):\n    return os.stat(p).st_size\ndef task(p):\n    return ask(p)",
):
    case(f"asks of a file: {asks[-22:]!r}", asks, asks, "same", "nobody sees it", outside="files")
for told, calls in {
    "files": (
        "os.path.realpath('latest')", "os.readlink(x)", "os.path.islink(x)", "os.path.getctime(x)",
        "pathlib.Path('latest').resolve()", "shutil.which('ls')", "glob.glob('run_*/result.csv')",
        "list(pathlib.Path(x).glob('*/a/*.csv'))",
    ),
    "!files": ("glob.glob('data/*.csv')", "glob.glob('*/*.csv')", "os.path.basename(x)"),
    "environment": (
        "os.path.expandvars('$D/x')", "os.path.expanduser('~')", "pathlib.Path.home()",
        "pathlib.Path(x).expanduser()",
    ),
    "clock": (
        "time.strftime('%H')", "time.strftime(x)", "np.datetime64('now')", "np.datetime64('now', 's')",
        "pd.Timestamp('now')", "pd.Timestamp('now', tz='UTC')", "pd.to_datetime('today')",
        "datetime64('today')", "Timestamp('today')",
    ),
    "!clock": (
        "time.strftime('%H', x)", "np.datetime64('2020')", "pd.Timestamp(x)",
        "pd.to_datetime(x, unit='s')",
    ),
    "chance": (
        "np.random.default_rng(None)", "np.random.default_rng(seed=None)", "random.Random(None)",
    ),
    "changes": (
        "np.set_printoptions(precision=2)", "pd.set_option('display.width', 9)",
    ),
    "!changes": ("pd.option_context('display.width', 9)", "math.pi", "A().k"),
    "!chance": ("np.random.default_rng(5)", "np.random.default_rng(x)", "random.Random(x)"),
}.items():  # fmt: skip
    for call in calls:
        asks = (
            "import os, time, math, pathlib, shutil, glob, random, numpy as np, pandas as pd\n"
            "from numpy import datetime64\nfrom pandas import Timestamp\nclass A:\n    k = 1\n"
            f"def task(x):\n    return {call}"
        )
        case(f"{told}: {call}", asks, "", "same", "whether it is seen", outside=told)
for line in ("math.K = x", "math.K += x", "del math.K", "A.k = x", "pd.options.display.width = x"):
    for told, body in (
        ("changes", f"def task(x):\n    {line}"),
        ("changes", f"def task(x):\n    import math\n    {line}"),
        ("!changes", f"def task(x):\n    math = A = pd = A()\n    {line}"),
    ):
        asks = f"import math, pandas as pd\nclass A:\n    k = 1\n{body}"
        case(f"{told}: {body[13:]}", asks, "", "same", "others would see it", outside=told)
case(
    "global generator",
    "import numpy as np\ndef task(n):\n    return np.random.rand(n)",
    "",
    "same",
    "the caller is told",
    outside="chance",
)
case(
    "seeded inside",
    "import numpy as np\ndef task(n):\n    np.random.seed(1)\n    return np.random.rand(n)",
    "",
    "same",
    "it draws the same",
    outside="!chance",
)
case(
    "clock",
    "import time\ndef task(n):\n    return time.time()",
    "",
    "same",
    "told",
    outside="clock",
)
case(
    "clock in a helper",
    "from time import time as now\ndef h(): return now()\ndef task(n):\n    return h()",
    "",
    "same",
    "told",
    outside="clock",
)
case(
    "clock imported inside",
    "def task(n):\n    import time\n    return time.time()",
    "",
    "same",
    "told",
    outside="clock",
)
case(
    "library function that draws",
    "import random\ntask = random.random",
    "",
    "same",
    "told",
    outside="chance",
)
case(
    "global that is assigned",
    "N = 0\ndef task(x):\n    global N\n    N += 1\n    return N",
    "",
    "same",
    "its result depends on what ran before",
    outside="assigns",
)


# Refused
def refused(name, source, want):
    """Add a case without fingerprint."""
    case(name, source, "", want, "two of them cannot be told apart")


for line in (
    "return task.__globals__['K']",
    "return inspect.stack()[0].frame.f_globals['K']",
    "return sys.modules['__main__'].K",
    "import __main__\n    return __main__.K",
):
    asks = f"import inspect, sys\nK = 1\ndef task(x):\n    {line}"
    refused(f"global by another way: {line[-24:]}", asks, "its function `task` uses")
refused(
    "generator as an argument", "task = (i for i in range(3))", "its argument `obj` is a generator"
)
refused("iterator as an argument", "task = iter([1])", "its argument `obj` is an iterator")
refused(
    "open file", "import os\ntask = [open(os.devnull)]", "its argument `obj` holds an open file"
)
refused("lock", "import threading\ntask = [threading.Lock()]", "its argument `obj` holds a lock")
refused(
    "lock in a global",
    "import threading\nL = threading.Lock()\ndef task(x):\n    return L",
    "its function `task` uses the global `L`, which is a lock",
)
refused(
    "generator in a closure",
    "def f(g):\n    return lambda x: g\ntask = f(i for i in ())",
    "its function `<lambda>` uses the variable `g`, which is a generator",
)
refused(
    "connection to a database",
    "import sqlite3\ntask = [sqlite3.connect(':memory:')]",
    "its argument `obj` holds a connection to a database",
)
refused(
    "pickled as a name of the notebook",
    "class T:\n    def __reduce__(self):\n        return 'x'\nx = T()\ntask = [x]",
    "its argument `obj` holds of type `T`, known by a name of the notebook",
)
refused(
    "eval", "def task(x):\n    return eval('x + 1')", "its function `task` uses code that may use"
)
refused("collection as a literal", W + "task = [delayed(m)(1)]", "its argument `obj` holds a Dask")
refused(
    "below what is refused", W + "task = delayed(m)(delayed(m)(i for i in ()))", "it depends on `"
)
refused(
    "text that names a global",
    "from dask._task_spec import Task\nT = 1\ndef f(df, text):\n    "
    "return df.query(text)\ntask = {'t': Task('t', f, 1, 'a > @T')}",
    "it is code that may look up `T`",
)
refused(
    "P2P shuffle",
    "from distributed.shuffle._shuffle import shuffle_transfer as task",
    "its function `shuffle_transfer` uses part of a P2P shuffle",
)
refused(
    "unknown kind of task",
    "from dask._task_spec import Task\nclass Odd(Task):\n    pass\n"
    "task = {'t': Odd('t', len, [1])}",
    "it is a task of a kind that is unknown here (`Odd`)",
)

case(
    "environment variable",
    "import os\ndef task(n):\n    return os.environ.get('HOME')",
    "",
    "same",
    "told",
    outside="environment",
)
refused(
    "text that names a global, passed on with the function",
    "from dask._task_spec import Task\nT = 1\ndef f(df, text):\n    return df.query(text)\n"
    "def call(g, *args):\n    return g(*args)\n"
    "task = {'t': Task('t', call, f, 1, ['a > @T'])}",
    "it is code that may look up `T`",
)
refused(
    "reference inside a literal",
    "from dask._task_spec import Task, TaskRef\ntask = {'t': Task('t', len, ([TaskRef('a')],))}",
    "its argument `obj` holds an unresolved reference",
)
refused(
    "caller's frame",
    "import sys\ndef task(x):\n    return sys._getframe(1)",
    "its function `task` uses code that looks",
)
