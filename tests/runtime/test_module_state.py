"""Which functions of a module may change what it keeps, by its source."""

# ruff: noqa: E501
from __future__ import annotations

import pytest

from nbrw_runtime.module_state import changing, definitions

CHANGING = {
    "a global variable": "n = 0\ndef f():\n    global n\n    n += 1",
    "an item of one": "cache = {}\ndef f(k):\n    cache[k] = 1",
    "a method of one": "rows = []\ndef f(k):\n    rows.append(k)",
    "another name for it": "rows = {}\ndef f(k):\n    mine = rows.get(k)\n    mine.append(k)",
    "in a function inside": "rows = []\ndef f(k):\n    def g():\n        rows.append(k)\n    g()",
    "through another": "rows = []\ndef g(k):\n    rows.append(k)\ndef f(k):\n    g(k)",
    "in a lambda": "rows = []\nf = lambda k: rows.append(k)",
    "a class": "class f:\n    n = 0\n    def __init__(self):\n        f.n += 1",
    "by cls": "class f:\n    n = 0\n    @classmethod\n    def up(cls):\n        cls.n += 1",
    "by its own class": "class f:\n    def up(self):\n        type(self).n = 1",
    "by __class__": "class f:\n    def up(self):\n        self.__class__.n = 1",
    "what objects share": "class f:\n    rows = []\n    def up(self):\n        self.rows.append(1)",
    "a default": "def f(k, rows=[]):\n    rows.append(k)",
    "a generator": "import numpy as np\nrng = np.random.default_rng(1)\ndef f():\n    return rng.random()",
    "a counter": "import itertools\nids = itertools.count()\ndef f():\n    return next(ids)",
    "an object of its own": "class M:\n    def up(self):\n        self.n = 1\nm = M()\ndef f():\n    m.up()",
    "another module": "import json\ndef f():\n    json.extra = 1",
    "what remembers files": "import functools\n@functools.lru_cache\ndef f(p):\n    return open(p).read()",
    "a closure": "def d(g):\n    seen = []\n    def inner(k):\n        seen.append(k)\n    return inner\n"
                 "@d\ndef f(k):\n    return k",
    "setattr": "class S: pass\ns = S()\ndef f(v):\n    setattr(s, 'v', v)",
    "deletion": "rows = {}\ndef f(k):\n    del rows[k]",
}  # fmt: skip
PURE = {
    "local names": "rows = []\ndef f(k):\n    rows = []\n    rows.append(k)\n    return rows",
    "parameters": "def f(rows, k):\n    rows.append(k)\n    rows[0] = 1",
    "a copy": "D = {'a': 1}\ndef f(k):\n    mine = D.copy()\n    mine['k'] = k\n    return mine",
    "something new": "D = {'a': 1}\ndef f(k):\n    mine = dict(D)\n    mine.update(k=k)\n    return mine",
    "an object's own": "class f:\n    def __init__(self):\n        self.rows = []\n"
                       "    def up(self):\n        self.rows.append(1)",
    "a constant": "K = 3\nNAMES = ['a']\ndef f(x):\n    return [x * K for n in NAMES]",
    "a remembered result": "import functools\n@functools.lru_cache\ndef f(n):\n    return n * 2",
    "a seeded one inside": "import numpy as np\ndef f():\n    rng = np.random.default_rng(1)\n    return rng.random()",
    "frames": "import pandas as pd\ndef f(p):\n    d = pd.read_csv(p)\n    d['x'] = d.y.sort_values()\n    return d",
    "plots": "import matplotlib.pyplot as plt\ndef f(x):\n    plt.rcParams['font.size'] = 9\n"
             "    fig, ax = plt.subplots()\n    ax.plot(x)\n    ax.set_title('t')\n    return fig",
    "the environment": "import os\ndef f(v):\n    os.environ['X'] = v\n    os.remove(v)",
    "logging": "import logging\nlog = logging.getLogger(__name__)\ndef f():\n    log.info('x')",
    "a list of an outer function": "def f(xs):\n    out = []\n    def add(x):\n        out.append(x)\n"
                                   "    for x in xs:\n        add(x)\n    return out",
    "a dataclass": "from dataclasses import dataclass, field\n@dataclass\nclass f:\n"
                   "    rows: list = field(default_factory=list)\n    def up(self):\n        self.rows.append(1)",
    "regular expressions": "import re\nP = re.compile('a')\ndef f(x):\n    return P.sub('b', x)",
    "a frame of the module": "import pandas as pd\nD = pd.DataFrame()\ndef f(x):\n    return D.groupby(x).sum()",
}  # fmt: skip


@pytest.mark.parametrize("source", CHANGING.values(), ids=CHANGING.keys())
def test_a_function_that_changes_what_stays_is_seen(source):
    """Be it through others."""
    assert "f" in changing(definitions(source))


@pytest.mark.parametrize("source", PURE.values(), ids=PURE.keys())
def test_a_function_that_changes_only_its_own_is_none(source):
    """Nor is one that changes its arguments."""
    assert "f" not in changing(definitions(source))
