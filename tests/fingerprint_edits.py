"""Rows of the table of fingerprint cases: what Python and libraries offer, and an edit of each."""

# ruff: noqa: E501
from __future__ import annotations

import enum
import importlib.util

from fingerprint_table import case, edit

PRELUDE = "import functools\nimport numpy as np\nimport pandas as pd\n"


def edits(name, source, *changes):
    """Add the cell with itself, and with each change: the first is the same, others are not."""
    if "np." in source or "pd." in source:
        source = PRELUDE + source
    source = "import functools\n" + source
    case(f"{name}, again", source, "\n" + source, "same", "made anew with equal content")
    for old, new in changes:
        edit(f"{name}, {old} to {new}", source, old, new, "different", "it may be used")


edits(
    "singledispatch",
    "@functools.singledispatch\ndef task(x): return 1\n@task.register\ndef _(x: int): return 2\n",
    ("return 2", "return 3"),
    ("return 1", "return 4"),
    ("x: int", "x: str"),
)
edits(
    "total_ordering",
    "@functools.total_ordering\nclass A:\n    def __lt__(s,o): return True\n    def __eq__(s,o): return False\ntask=lambda x:A\n",
    ("True", "None"),
)
edits("vectorize", "f=np.vectorize(lambda x:x+1)\ntask=lambda x:f(x)", ("x+1", "x+2"))
edits(
    "slots",
    "class A:\n    __slots__=('a',)\n    def __init__(s,a): s.a=a\ntask=A(1)",
    ("A(1)", "A(2)"),
)
edits(
    "super",
    "class A:\n    def f(s): return 1\nclass B(A):\n    def f(s): return super().f()+1\ntask=B()",
    ("return 1", "return 2"),
)
edits("classattr later", "class A:\n    k=1\nA.k=2\ntask=lambda x:A().k", ("A.k=2", "A.k=3"))
edits(
    "nested fn",
    "def task(x):\n    def g(y):\n        return y*K\n    return g(x)\nK=1",
    ("K=1", "K=2"),
    ("y*K", "y+K"),
)
edits(
    "comprehension",
    "def task(x): return [y*K for y in x if y in {'a','b','c'}]\nK=1",
    ("K=1", "K=2"),
    ("'c'", "'d'"),
)
edits("async", "async def task(x): return x+1", ("x+1", "x+2"))
edits("generatorfn", "def task(x):\n    for i in x: yield i+1", ("i+1", "i+2"))
edits(
    "try",
    "def task(x):\n    try: return x.a\n    except KeyError: return 1",
    ("KeyError", "ValueError"),
)
edits(
    "match",
    "def task(x):\n    match x:\n        case {'a': 1}: return 1\n        case [a,*_]: return a\n",
    ("'a': 1", "'a': 2"),
)
edits("star", "def task(*a,k=1,**kw): return a", ("k=1", "k=2"))
edits("fstring", "def task(x): return f'{x:.2f} a'", (".2f", ".3f"))
edits(
    "staticglobal instance",
    "class A:\n    def __init__(s): s.d={'a':np.arange(3)}\nM=A()\ntask=lambda x:M.d",
    ("arange(3)", "arange(4)"),
)
edits(
    "sklearn",
    "from sklearn.linear_model import LinearRegression\nm=LinearRegression().fit([[1.],[2.]],[1.,2.])\ntask=lambda x:m.predict(x)",
    ("[1.,2.])", "[1.,3.])"),
)
edits(
    "xarray",
    "import xarray as xr\ntask=[xr.DataArray(np.arange(6).reshape(2,3),dims=('a','b'),coords={'a':[1,2]},attrs={'u':'m'})]",
    ("'m'", "'n'"),
    ("[1,2]", "[1,3]"),
    ("arange(6)", "arange(1,7)"),
)
edits(
    "xrds",
    "import xarray as xr\ntask=[xr.Dataset({'t':(('a',),np.arange(3))})]",
    ("arange(3)", "arange(3.)"),
)
edits(
    "scipy sparse", "import scipy.sparse as sp\ntask=sp.csr_matrix(np.eye(3))", ("eye(3)", "eye(4)")
)
edits(
    "interval",
    "task=pd.Series([1,2,3],index=pd.date_range('2020',periods=3,freq='D'))",
    ("'D'", "'h'"),
)
edits(
    "period",
    "task=pd.DataFrame({'p':pd.period_range('2020',periods=3,freq='M'),'i':pd.interval_range(0,3),'n':pd.array([1,None,3],dtype='Int64'),'td':pd.to_timedelta([1,2,3],unit='s')})",
    ("'M'", "'Y'"),
    ("[1,None,3]", "[1,2,3]"),
    ("interval_range(0,3)", "interval_range(1,4)"),
    ("[1,2,3],unit", "[1,2,4],unit"),
)
edits(
    "multiindex",
    "task=pd.DataFrame({'a':[1,2]},index=pd.MultiIndex.from_product([['x'],[1,2]]))",
    ("[1,2]])", "[1,3]])"),
)
edits(
    "timestamp",
    "task=[pd.Timestamp('2020-01-01',tz='UTC'),pd.NaT,pd.NA,pd.Timedelta('1s')]",
    ("1s", "2s"),
)
edits(
    "logging",
    "import logging\nlog=logging.getLogger('x')\ndef task(x):\n    log.info('a')\n    return x",
    ("'a'", "'b'"),
)
edits(
    "decorated class",
    "def deco(c):\n    c.z=1\n    return c\n@deco\nclass A: pass\ntask=A()",
    ("c.z=1", "c.z=2"),
)
edits(
    "metaclass",
    "class M(type):\n    def __call__(c,*a): return 1\nclass A(metaclass=M): pass\ntask=lambda x:A()",
    ("return 1", "return 2"),
)
edits(
    "nt",
    "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 1\ntask=lambda x:P()",
    ("= 1", "= 2"),
)
edits(
    "shared cell",
    "def mk():\n    k=1\n    def f(x): return k\n    def g(x): return f(x)+k\n    return g\ntask=mk()",
    ("k=1", "k=2"),
)
edits(
    "tuple of fn default",
    "def h(x): return 1\ndef task(x, fs=(h,)): return fs[0](x)",
    ("return 1", "return 2"),
)
edits("dict closure", "def mk(d):\n    return lambda x:d\ntask=mk({'a':[1]})", ("[1]", "[2]"))
edits("np.ufunc", "task=np.add", ("np.add", "np.multiply"))
edits("str method", "task='abc'.upper", ("abc", "abd"))
edits("operator", "import operator\ntask=operator.itemgetter(1)", ("(1)", "(2)"))
edits("math", "import math\ntask=math.sin", ("sin", "cos"))
edits("memmap/recarray", "task=np.rec.array([(1,2.)],dtype=[('a','i4'),('b','f8')])", ("2.", "3."))
edits(
    "decimal",
    "from decimal import Decimal\nfrom fractions import Fraction\nfrom uuid import UUID\nfrom collections import *\ntask=[Decimal('1.0'),Fraction(1,2),UUID(int=3),OrderedDict(a=1),defaultdict(int,{1:2}),Counter('ab'),deque([1])]",
    ("'1.0'", "'1.00'"),
    ("1,2", "1,3"),
    ("int=3", "int=4"),
    ("a=1", "a=2"),
    ("{1:2}", "{1:3}"),
    ("'ab'", "'ac'"),
    ("deque([1])", "deque([2])"),
)
edits(
    "simplens",
    "import types\ntask=types.SimpleNamespace(a=1,f=lambda x:1)",
    ("a=1", "a=2"),
    ("x:1", "x:2"),
)
edits("lambda in dict arg", "task={'f':lambda x:x+1}", ("x+1", "x+2"))
edits(
    "globals list of instances",
    "class A:\n    def __init__(s,k): s.k=k\n    def __eq__(s,o): return True\n    __hash__=None\nL=[A(1),A(2)]\ntask=lambda x:L",
    ("A(2)", "A(3)"),
)
edits(
    "property setter",
    "class A:\n    @property\n    def x(s): return 1\n    @x.setter\n    def x(s,v): s._v=v\ntask=A()",
    ("s._v=v", "s._w=v"),
)
edits(
    "classmethod",
    "class A:\n    @classmethod\n    def mk(c): return 1\ntask=A.mk",
    ("return 1", "return 2"),
)
edits(
    "partialmethod",
    "class A:\n    def f(s,a): return a\n    g=functools.partialmethod(f,1)\ntask=A()",
    ("f,1", "f,2"),
)
edits(
    "cachedprop",
    "class A:\n    @functools.cached_property\n    def f(s): return 1\ntask=A()",
    ("return 1", "return 2"),
)
edits(
    "contextmanager",
    "from contextlib import contextmanager\n@contextmanager\ndef c():\n    yield 1\ndef task(x):\n    with c() as v: return v",
    ("yield 1", "yield 2"),
)
edits(
    "pydantic-ish descr",
    "class D:\n    def __get__(s,i,o): return 1\nclass A:\n    d=D()\ntask=A()",
    ("return 1", "return 2"),
)
edits(
    "wraps w/ signature",
    "def deco(f):\n    @functools.wraps(f)\n    def w(*a): return f(*a)*K\n    return w\nK=1\n@deco\ndef task(x): return x",
    ("K=1", "K=2"),
    ("return x", "return -x"),
)
edits("del cell class in main", "class A: k=1\nx=A()\nA2=A\nclass A: k=2\ntask=x", ("k=1", "k=3"))
edits(
    "enum flag",
    "import enum\nclass F(enum.Flag):\n    A=1\n    B=2\n    def m(s): return 1\ntask=F.A|F.B",
    ("return 1", "return 2"),
    ("F.A|F.B", "F.A"),
)
edits("strenum", "import enum\nclass F(str,enum.Enum):\n    A='a'\ntask=[F.A]", ("'a'", "'b'"))
if importlib.util.find_spec("numba"):
    edits(
        "compiled by numba",
        "import numba\nK=1\n@numba.njit('float32(float32)',locals={'y':numba.int8},fastmath=True)\ndef task(x):\n    y=x/3\n    return y*K",
        ("float32(float32)", "float64(float64)"),
        ("int8", "int16"),
        ("fastmath=True", "fastmath=False"),
        ("K=1", "K=2"),
    )
    edit(
        "compiled by numba as it is called",
        "import numba\n@numba.njit\ndef task(x): return x/3\ntask(1)",
        "task(1)",
        "task(1.5)",
        "same",
        "it is compiled again",
    )
edits(
    "abstract class with registered ones",
    "import abc\nclass A(abc.ABC): pass\nclass B: pass\nA.register(int)\nA.register(str)\nA.register(B)\ntask=lambda x:isinstance(x,A)",
    ("A.register(int)", "A.register(float)"),
    ("register(B)", "register(A)"),
)
edits(
    "enum's other members",
    "import enum\nclass K(enum.Enum):\n    A=1\n    B=2\n    __w=5\n    @classmethod\n    def _missing_(c,v): return c.A\n    @property\n    def _p(s): return 3\n    @staticmethod\n    def _s(): return 4\nK._late=6\nK.A.w=7\ntask=lambda x:K(9)",
    ("return c.A", "return c.B"),
    ("return 3", "return 4"),
    ("return 4", "return 3"),
    ("__w=5", "__w=6"),
    ("_late=6", "_late=7"),
    ("w=7", "w=8"),
)
edits(
    "enum with a function of a library's",
    "import enum\nclass K(int,enum.Enum):\n    A=1\n    __str__=int.__str__\ntask=lambda x:str(K.A)",
    ("=int.__str__", "=enum.Enum.__str__"),
)
if hasattr(enum, "KEEP"):
    FLAG = "import enum\nclass K(enum.Flag,boundary=enum.KEEP):\n    A=1\n~K.A\ntask=lambda x:K(9)"
    edits("flag boundary", FLAG, ("KEEP", "CONFORM"))
    edit("flag inverted before", FLAG, "~K.A", "K.A", "same", "what enum keeps is no content")
edits(
    "dc",
    "from dataclasses import *\n@dataclass(frozen=True)\nclass P:\n    a: int\n    b: list = field(default_factory=list)\n    def m(s): return 1\ntask=P(1)",
    ("P(1)", "P(2)"),
    ("return 1", "return 2"),
    ("frozen=True", "order=True"),
)
case(
    "ufunc of the notebook",
    PRELUDE + "u = np.frompyfunc(lambda x: x + 1, 1, 1)\ntask = lambda x: u(x)",
    "",
    "its function `<lambda>` uses the global `u`, which is the ufunc",
    "numpy does not give its function out",
)
