"""Small notebooks, an edit of each, and the right results: for the table of wrong ones.

Each binds ``pipeline(call)``, where ``call(function, *arguments)`` is a tool's way to have a task;
arguments may be tasks. All of a case's tasks sleep, so that one sees whether any of them ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Seconds that a task sleeps, and below which no task of a case can have run.
SLEEP, LOADED = 0.8, 0.7
HEAD = f"import functools, time\ndef wait():\n    time.sleep({SLEEP})\n"
CALL = "def pipeline(call):\n    return call(work, 5)\n"


@dataclass(frozen=True)
class Edit:
    """``before`` and ``after`` are the results; ``files`` the own modules and data, by name.

    ``{here}`` in the text is the directory of these.
    """

    name: str
    text: str
    old: str
    new: str
    before: object
    after: object
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def matters(self) -> bool:
        """Whether the edit changes the result."""
        return self.before != self.after

    def source(self, edited: bool, here: str) -> str:
        """The text of the notebook (or module)."""
        text = self.text.replace(self.old, self.new) if edited else self.text
        return HEAD + text.replace("{here}", here)

    def contents(self, edited: bool) -> dict[str, str]:
        """What the files have in them."""
        if not edited:
            return dict(self.files)
        return {name: text.replace(self.old, self.new) for name, text in self.files.items()}


BODY = "def work(x):\n    # by one\n    'Add.'\n    wait()\n    return x + 1\n" + CALL
HELPERS = (
    "def deep(x):\n    return x * 2\ndef helper(x):\n    return deep(x) + 1\n"
    "def work(x):\n    wait()\n    return helper(x)\n" + CALL
)
GLOBAL = "LIMIT = 3\ndef work(x):\n    wait()\n    return x + LIMIT\n" + CALL
FACTORY = "def make(k):\n    def work(x):\n        wait()\n        return x + k\n    return work\n"
CLASS = (
    "class Model:\n    rate = 2\n    def score(self, x):\n        wait()\n"
    "        return x * self.rate + 1\n"
)
EDITS = [
    Edit("nothing", BODY, "x + 1", "x + 1", 6, 6),
    Edit("a comment", BODY, "# by one", "# one more", 6, 6),
    Edit("the docstring", BODY, "'Add.'", "'Add one.'", 6, 6),
    Edit("lines above", BODY, "def work", "\n\nUNUSED = 7\n\ndef work", 6, 6),
    Edit("the function's body", BODY, "x + 1", "x + 2", 6, 7),
    Edit("a helper", HELPERS, "deep(x) + 1", "deep(x) + 2", 11, 12),
    Edit("a helper's helper", HELPERS, "x * 2", "x * 3", 11, 16),
    Edit("a global", GLOBAL, "LIMIT = 3", "LIMIT = 4", 8, 9),
    Edit(
        "a global list, in place",
        "LIMITS = [1, 2]\n#edit\ndef work(x):\n    wait()\n    return x + sum(LIMITS)\n" + CALL,
        "#edit", "LIMITS.append(4)", 8, 12,
    ),
    Edit(
        "a class attribute",
        CLASS + "def work(x):\n    return Model().score(x)\n" + CALL,
        "rate = 2", "rate = 3", 11, 16,
    ),
    Edit(
        "a method, of an argument's class",
        CLASS + "def work(m, x):\n    return m.score(x)\n"
        "def pipeline(call):\n    return call(work, Model(), 5)\n",
        "+ 1", "+ 2", 11, 12,
    ),
    Edit(
        "a method that is the task",
        CLASS + "def pipeline(call):\n    return call(Model().score, 5)\n", "+ 1", "+ 2", 11, 12,
    ),
    Edit(
        "a default", "def work(x, k=1):\n    wait()\n    return x + k\n" + CALL,
        "k=1", "k=2", 6, 7,
    ),
    Edit(
        "a default that a name gives",
        "K = 1\ndef work(x, k=K):\n    wait()\n    return x + k\n" + CALL, "K = 1", "K = 2", 6, 7,
    ),
    Edit("a closure's value", FACTORY + "work = make(1)\n" + CALL, "make(1)", "make(2)", 6, 7),
    Edit(
        "two closures of one function",
        FACTORY + "def pair(x, y):\n    wait()\n    return [x, y]\n"
        "def pipeline(call):\n    return call(pair, call(make(1), 5), call(make(2), 5))\n",
        "make(2)", "make(3)", [6, 7], [6, 8],
    ),
    Edit(
        "a decorator",
        "def twice(f):\n    @functools.wraps(f)\n    def inner(x):\n        return 2 * f(x)\n"
        "    return inner\n@twice\ndef work(x):\n    wait()\n    return x\n" + CALL,
        "2 * f(x)", "3 * f(x)", 10, 15,
    ),
    Edit(
        "a partial's argument",
        "def add(k, x):\n    wait()\n    return x + k\nwork = functools.partial(add, 1)\n" + CALL,
        "add, 1", "add, 2", 6, 7,
    ),
    Edit("a lambda", "work = lambda x: (wait(), x + 1)[1]\n" + CALL, "x + 1", "x + 2", 6, 7),
    Edit(
        "a module of one's own",
        "import own_tools\ndef work(x):\n    wait()\n    return own_tools.f(x)\n" + CALL,
        "x + 10", "x + 20", 15, 25, {"own_tools.py": "def f(x):\n    return x + 10\n"},
    ),
    Edit(
        "a file that the task reads",
        "def work(x):\n    wait()\n    return x + len(open('{here}/own.csv').read())\n" + CALL,
        "abc", "abcd", 8, 9, {"own.csv": "abc"},
    ),
    Edit(
        "an upstream task",
        "def read(x):\n    wait()\n    return x + 1\ndef work(x):\n    wait()\n    return x * 2\n"
        "def pipeline(call):\n    return call(work, call(read, 5))\n",
        "x + 1", "x + 2", 12, 14,
    ),
    Edit(
        "inputs swapped",
        "def one(x):\n    wait()\n    return x\ndef minus(x, y):\n    wait()\n    return x - y\n"
        "def pipeline(call):\n    return call(minus, call(one, 7), call(one, 4))\n",
        "call(one, 7), call(one, 4)", "call(one, 4), call(one, 7)", 3, -3,
    ),
    Edit(
        "2 to 2.0", "def work(x):\n    wait()\n    return type(x).__name__\n" + CALL,
        "work, 5", "work, 5.0", "int", "float",
    ),
    Edit(
        "an array of the same repr",
        "import numpy as np\nx = np.arange(10_000)\nx[5_000] = 0\n"
        "def work(x):\n    wait()\n    return int(x.sum())\n"
        "def pipeline(call):\n    return call(work, x)\n",
        "] = 0", "] = 1", 49_990_000, 49_990_001,
    ),
    Edit(
        "an object of the same repr",
        "class Table:\n    def __init__(self, n):\n        self.n = n\n"
        "    def __repr__(self):\n        return 'Table'\n"
        "def work(x):\n    wait()\n    return x.n\n"
        "def pipeline(call):\n    return call(work, Table(1))\n",
        "Table(1)", "Table(2)", 1, 2,
    ),
]  # fmt: skip
