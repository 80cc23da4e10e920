"""Rows of the table of fingerprint cases: functions, classes and modules."""

# ruff: noqa: E501
from __future__ import annotations

from fingerprint_table import case, edit

F = """
THRESHOLD = 10.0
NAMES = ["a", "b"]
def deep(x):
    return x * 2
def clean(x):
    # by twice
    return deep(x) + 1
def risk_score(x, limit=3, *, strict=False):
    '''How bad.'''
    kept = clean(x)
    if x > THRESHOLD:
        return kept, limit, strict
    return len(NAMES)
task = risk_score
"""

# Functions
edit("the same cell", F, "task", "task", "same", "nothing changed")
edit("function body", F, "len(NAMES)", "len(NAMES) + 1", "different", "weakness 1: the code runs")
edit("constant in the body", F, "* 2", "* 2.0", "different", "2 is not 2.0")
edit("comment", F, "# by twice", "# doubled, and\n    # one more", "same", "a comment does nothing")
edit("docstring", F, "'''How bad.'''", "'''How very bad.'''", "same", "nothing reads it")
edit("docstring removed", F, "    '''How bad.'''\n", "", "same", "nothing reads it")
edit("lines moved", F, "def clean", "\n\n\ndef clean", "same", "where it stands is no part")
edit(
    "blank lines and pass", F, "    if x >", "\n    pass\n    if x >", "same", "`pass` does nothing"
)
edit("local variable renamed", F, "kept", "left", "different", "locals() would show it: in doubt")
edit("function renamed", F, "risk_score", "score", "different", "`__name__` shows: in doubt")
edit("default", F, "limit=3", "limit=4", "different", "weakness 2: defaults are used")
edit("keyword default", F, "strict=False", "strict=True", "different", "weakness 2")
edit("helper", F, "+ 1", "+ 2", "different", "weakness 2: helpers are called")
edit("helper of a helper", F, "x * 2", "x * 3", "different", "weakness 2, recursively")
edit("comment in a helper", F, "# by twice", "# twice", "same", "a comment does nothing")
edit("global", F, "10.0", "5.0", "different", "weakness 2: it is read")
edit("global of another type", F, "10.0", "10", "different", "10 is not 10.0")
edit("content of a global list", F, '"b"]', '"c"]', "different", "weakness 2: by content")
edit(
    "global list changed in place", F, "task =", "NAMES.append('z')\ntask =", "different", "content"
)
edit("global that is not read", F, "task =", "OTHER = 5\ntask =", "same", "nothing reads it")
edit(
    "global that is absent appears",
    F.replace("THRESHOLD = 10.0", ""),
    "NAMES =",
    "THRESHOLD = 1\nNAMES =",
    "different",
    "it raised NameError before",
)
edit(
    "built-in hidden by a global", F, "NAMES =", "len = max\nNAMES =", "different", "another `len`"
)
edit("annotation", F, "limit=3", "limit: int = 3", "different", "code may read it: in doubt")
case(
    "docstring that is used too",
    "def task(x):\n    'a'\n    return 'a'",
    "def task(x):\n    'b'\n    return 'b'",
    "different",
    "the constant is returned",
)
case(
    "closure value",
    "def make(k):\n    return lambda x: x + k\ntask = make(1)",
    "def make(k):\n    return lambda x: x + k\ntask = make(2)",
    "different",
    "weakness 2",
)
case("lambda", "task = lambda x: x + 1", "task = lambda x: x + 2", "different", "weakness 1")
case(
    "lambda elsewhere",
    "task = lambda x: x + 1",
    "y = 3\n\ntask = (\n    lambda x: x + 1)",
    "same",
    "where it stands is no part",
)
D = """
import functools
def twice(function):
    @functools.wraps(function)
    def inner(x):
        return 2 * function(x)
    return inner
@twice
def task(x):
    return x
"""
edit("decorator", D, "2 *", "3 *", "different", "it is run")
edit("decorator taken away", D, "@twice\n", "", "different", "it is run")
edit("decorated function", D, "return x\n", "return -x\n", "different", "it is run")
P = "from functools import partial\ndef f(a, x):\n    return a, x\ntask = partial(f, 1)"
edit("partial argument", P, "f, 1", "f, 2", "different", "it is passed on")
edit("partial function", P, "a, x\n", "x, a\n", "different", "it is called")
edit("partial made anew", P, "task =", "other = partial(f, 1)\ntask =", "same", "content counts")
C = """
class Base:
    rate = 2
    def get(self, x):
        return x * self.rate
class Model(Base):
    '''A model.'''
    def __init__(self, k):
        self.k = k
    def __call__(self, x):
        return self.get(x) + self.k
    @property
    def extra(self):
        return 1
    @staticmethod
    def still(x):
        return x
task = Model(3)
"""
edit("callable instance", C, "Model(3)", "Model(3)", "same", "made anew with equal content")
edit("state of a callable instance", C, "Model(3)", "Model(4)", "different", "it is used")
edit("method of a cell's class", C, "+ self.k", "- self.k", "different", "it is called")
edit("base class in a cell", C, "x * self.rate", "x / self.rate", "different", "it is inherited")
edit("class attribute", C, "rate = 2", "rate = 3", "different", "it is read")
edit("property", C, "return 1", "return 2", "different", "it may be read")
edit("static method", C, "return x\ntask", "return -x\ntask", "different", "it may be called")
edit("docstring of a class", C, "'''A model.'''", "'''The model.'''", "same", "nothing reads it")
edit("bound method", C, "Model(3)", "Model(3).get", "different", "another function of it")
case(
    "dataclass field default",
    "import dataclasses\n@dataclasses.dataclass\nclass P:\n    a: int = 1\ntask = lambda x: P()",
    "import dataclasses\n@dataclasses.dataclass\nclass P:\n    a: int = 2\ntask = lambda x: P()",
    "different",
    "it is what P() holds",
)
case(
    "dataclass again",
    "import dataclasses\n@dataclasses.dataclass\nclass P:\n    a: int = 1\ntask = [P(5), P()]",
    "",
    "same",
    "made anew with equal content",
)
E = "import enum\nclass Kind(enum.Enum):\n    LOW = 1\n    HIGH = 2\n"
edit(
    "enum value", E + "task = lambda x: Kind(x)", "HIGH = 2", "HIGH = 3", "different", "by content"
)
edit(
    "enum member as an argument",
    E + "task = Kind.LOW",
    "Kind.LOW",
    "Kind.HIGH",
    "different",
    "other",
)
edit("enum again", E + "task = Kind.LOW", "\n", "\n", "same", "made anew with equal content")
case(
    "named tuple",
    "from collections import namedtuple\nP = namedtuple('P', 'a b')\ntask = P(1, 2)",
    "from collections import namedtuple\nP = namedtuple('P', 'a c')\ntask = P(1, 2)",
    "different",
    "field names are read",
)
R = "def task(n):\n    return n * task(n - 1) if n else 1\n"
edit("recursion", R, "else 1", "else 2", "different", "its own code; and it ends")
M = """
def even(n):
    return n == 0 or odd(n - 1)
def odd(n):
    return n != 0 and even(n - 1)
task = even
"""
edit("mutual recursion", M, "n != 0", "n > 0", "different", "the other function is called")
edit("mutual recursion again", M, "task", "\n\ntask", "same", "cycles end")
edit("mutual recursion from the other side", M, "task = even", "task = odd", "different", "other")
L = "import functools\n@functools.lru_cache(maxsize=4)\ndef task(x):\n    return x + 1\n"
edit("lru_cache", L, "x + 1", "x + 2", "different", "the function inside is run")
edit(
    "lru_cache that was used",
    L,
    "x + 1\n",
    "x + 1\ntask(7)\n",
    "same",
    "its cache is of no account",
)
case(
    "default object of a cell's class",
    C + "def task(x, m=Model(1)):\n    return m(x)",
    C + "def task(x, m=Model(2)):\n    return m(x)",
    "different",
    "weakness 2",
)
case(
    "function in a list of functions",
    "def a(x): return x\ndef b(x): return -x\nSTEPS = [a, b]\ntask = lambda x: STEPS",
    "def a(x): return x\ndef b(x): return +x\nSTEPS = [a, b]\ntask = lambda x: STEPS",
    "different",
    "weakness 2, through a container",
)
case(
    "function in a dictionary of classes",
    C + "KINDS = {'m': Model}\ntask = lambda x: KINDS",
    C.replace("+ self.k", "* self.k") + "KINDS = {'m': Model}\ntask = lambda x: KINDS",
    "different",
    "weakness 2, through a container",
)
case(
    "text that pandas looks names up by",
    "T = 1\ndef task(df):\n    return df.query('a > @T')",
    "T = 2\ndef task(df):\n    return df.query('a > @T')",
    "different",
    "query reads `T`",
)
case(
    "setting of a module",
    "import math\nmath.LIMIT = 1\ntask = lambda x: math.LIMIT",
    "import math\nmath.LIMIT = 2\ntask = lambda x: math.LIMIT",
    "different",
    "read as a global is",
)

# Modules
OWN = {
    "tools_of_mine.py": "import more_of_mine\nK = 1\ndef f(x):\n    return more_of_mine.g(x)\n",
    "more_of_mine.py": "def g(x):\n    return x\n",
}
G = "import tools_of_mine\ntask = lambda x: tools_of_mine.f(x)"
case("local module again", G, "", "same", "content, not place", files=OWN)
case(
    "local module edited",
    G,
    "",
    "different",
    "by content",
    files=OWN,
    files_after={**OWN, "tools_of_mine.py": OWN["tools_of_mine.py"].replace("K = 1", "K = 2")},
)
case(
    "import of a local module edited",
    G,
    "",
    "different",
    "it is called",
    files=OWN,
    files_after={**OWN, "more_of_mine.py": "def g(x):\n    return -x\n"},
)
case(
    "comment in a local module",
    G,
    "",
    "different",
    "by content of the file: in doubt",
    files=OWN,
    files_after={**OWN, "more_of_mine.py": "# new\n" + OWN["more_of_mine.py"]},
)
case(
    "function of a local module",
    "from tools_of_mine import f as task",
    "",
    "different",
    "content",
    files=OWN,
    files_after={**OWN, "more_of_mine.py": "def g(x):\n    return -x\n"},
)
case(
    "local module imported in a function",
    "def task(x):\n    import tools_of_mine\n    return x",
    "",
    "different",
    "by content, though not loaded",
    files=OWN,
    files_after={**OWN, "more_of_mine.py": "def g(x):\n    return -x\n"},
)
case(
    "module in a local package",
    "from kit.part import f as task",
    "",
    "different",
    "by content",
    files={
        "kit/__init__.py": "",
        "kit/part.py": "from . import base\ndef f(x): return base.K\n",
        "kit/base.py": "K = 1\n",
    },
    files_after={
        "kit/__init__.py": "",
        "kit/base.py": "K = 2\n",
        "kit/part.py": "from . import base\ndef f(x): return base.K\n",
    },
)
for words, source in {
    "imported": "def task(x):\n    import tools_of_mine as t\n    return t.{}(x)",
    "imported by its name": "def task(x):\n    from tools_of_mine import {}\n    return {}(x)",
}.items():
    for name, drawn in {"pure": "!(", "now": "clock", "asks": "files", "via": "clock"}.items():
        case(
            f"{name} of a local module, {words} in a function",
            source.replace("{}", name),
            "",
            "same",
            "what its code takes from outside counts, and no other's",
            files={
                "tools_of_mine.py": "import os, time\nfrom more_of_mine import later\n"
                "def pure(x):\n    return x\ndef now(x):\n    return time.time()\n"
                "def asks(x):\n    return os.path.exists('x')\ndef via(x):\n    return later()\n",
                "more_of_mine.py": "from time import time as t\ndef later():\n    return t()\n",
            },
            outside=drawn,
        )
for words, source in {
    "imported in a function": "def task(x):\n    import tools_of_mine as t\n    return t.{}(x)",
    "loaded before": "import tools_of_mine as t\ndef task(x):\n    return t.{}(x)",
}.items():
    for name, kept in {"table": "what a cache remembers of files", "pure": "!what a cache"}.items():
        case(
            f"cache of {name} in a local module, {words}",
            source.replace("{}", name),
            "",
            "same",
            "a worker may have filled it before the file changed",
            files={
                "tools_of_mine.py": "import functools, json\ndef read(x):\n    with open(x) as f:\n"
                "        return json.load(f)\n@functools.lru_cache\ndef table(x):\n    return read(x)\n"
                "@functools.cache\ndef pure(x):\n    return x * 2\n",
            },
            outside=kept,
        )
READS = {
    "tools_of_mine.py": "with open('k.txt') as s:\n    K = s.read()\ndef f(x):\n    return K\n"
}
case(
    "local module that reads a file, imported in a function",
    "def task(x):\n    import tools_of_mine as t\n    return t.f(x)",
    "",
    "same",
    "a worker may have loaded it before the file changed",
    files={**READS, "k.txt": "1"},
    outside="what a module read",
)
case(
    "local module that has the name of one of Python's own, imported in a function",
    "def task(x):\n    import this\n    return this.f(x)",
    "",
    "different",
    "content",
    files={"this.py": "def f(x):\n    return x\n"},
    files_after={"this.py": "def f(x):\n    return -x\n"},
)
case(
    "module that is not found, imported in a function",
    "def task(x):\n    import sys\n    sys.path.insert(0, 'sub')\n    import hidden_of_mine as h\n    return h.f(x)",
    "",
    "its function `task` uses code that imports `hidden_of_mine`",
    "nobody knows what is imported there",
)
SPACE = {"kit/part.py": "def f(x):\n    return x\n"}
for words, source in {
    "from a package without a file, imported in a function": "def task(x):\n    from kit import part\n    return part.f(x)",
    "package without a file, loaded before": "import kit.part\ntask = lambda x: kit.part.f(x)",
    "from a package without a file, by a local module": "def task(x):\n    import tools_of_mine\n    return tools_of_mine.g(x)",
}.items():
    more = {"tools_of_mine.py": "def g(x):\n    from kit import part\n    return part.f(x)\n"}
    case(
        f"module {words}",
        source,
        "",
        "different",
        "by content, wherever it lies",
        files={**SPACE, **more},
        files_after={**more, "kit/part.py": "def f(x):\n    return -x\n"},
    )
case(
    "global of a local module set by a cell",
    G + "\ntools_of_mine.K = 1",
    G.replace("f(x)", "f(x)") + "\ntools_of_mine.f = lambda x: 5",
    "different",
    "what is called",
    files=OWN,
)
NP = "import numpy as np\ntask = lambda x: np.sqrt(x)"
case(
    "library version",
    NP,
    "",
    "different",
    "weakness 2: the library may compute otherwise",
    versions={"numpy": "1.0"},
    versions_after={"numpy": "1.1"},
)
case(
    "version of a library that is not used",
    NP,
    "",
    "same",
    "not used",
    versions={"pandas": "1.0"},
    versions_after={"pandas": "1.1"},
)
case(
    "version of a library whose function is the task",
    "from pandas import concat as task",
    "",
    "different",
    "weakness 2",
    versions={"pandas": "1"},
    versions_after={"pandas": "2"},
)

READS = {"tools_of_mine.py": "K = 1\ndef f(x):\n    return x + K\n"}
case(
    "global of a local module, set by a cell and read in its function",
    G,
    G + "\ntools_of_mine.K = 5",
    "different",
    "the function reads it",
    files=READS,
)
case(
    "global that cannot be told, in a local module",
    G,
    "",
    "same",
    "workers import the module: its lock is no argument",
    files={"tools_of_mine.py": "import threading\nL = threading.Lock()\ndef f(x):\n    return L\n"},
)
case(
    "list beside what cannot be told in a local module",
    G,
    G.replace("tools", "tools", 1) + "\ntools_of_mine.B.append(1)",
    "different",
    "what was given up must not be referred to",
    files={
        "tools_of_mine.py": "import threading\nB = []\nA = [B, threading.Lock()]\n"
        "def f(x):\n    return A, B\n"
    },
)
case(
    "signature that a function claims",
    "import inspect\ndef task(x, k=1):\n    return k\ntask.__signature__ = inspect.Signature()",
    "import inspect\ndef task(x, k=2):\n    return k\ntask.__signature__ = inspect.Signature()",
    "different",
    "the default is used all the same",
)
case(
    "generic class",
    "from typing import TypeVar, Generic\nT = TypeVar('T')\nclass B(Generic[T]):\n    k = 1\ntask = lambda x: B",
    "from typing import TypeVar, Generic\nT = TypeVar('T')\nclass B(Generic[T]):\n    k = 2\ntask = lambda x: B",
    "different",
    "class attribute",
)
case(
    "method of a generator of its own",
    "import random\nR = random.Random(1)\ntask = R.randint",
    "import random\nR = random.Random(2)\ntask = R.randint",
    "different",
    "its state",
)
case(
    "abstract class",
    "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n"
    "    def f(self): return 1\ntask = B()",
    "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n"
    "    def f(self): return 2\ntask = B()",
    "different",
    "method",
)
case(
    "docstring with an inner function",
    "def task(x):\n    'a'\n    def g():\n        'b'\n        return x\n    return g",
    "def task(x):\n    'a2'\n    def g():\n        'b2'\n        return x\n    return g",
    "same",
    "nothing reads them",
)
