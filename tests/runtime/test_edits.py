"""Edits of notebooks: which cells run, in real shells; outputs are always those of a plain run.

Each scenario: the author's cells, the edited cells, and a letter for each: r restored, X run.
"""

from __future__ import annotations

import importlib
import sys

import pytest

import repeat_harness
from repeat_harness import Repeat, audit, plain_run

LIST = ["x = [1, 2]", "y = sum(x)", "print(y)", "z = 5"]
FUNCTIONS = [
    "def double(v):\n    return v * k",
    "k = 2",
    "def twice(v):\n    return double(double(v))",
    "print(twice(1))",
    "print('apart')",
]
FILES = ["open('out.txt', 'w').write('one')\nn = 3", "print(open('out.txt').read())", "print(n)"]
ALIAS = ["a = [1]\nb = a", "b.append(2)", "print(a)", "c = 7", "print(c)"]
ARRAY = [
    "import numpy as np\nd = {'k': np.zeros(4)}",
    "d['k'][1] = 1",
    "print(d['k'].sum())",
    "e = 1",
]
SEED = ["import random", "random.seed(4)", "r = random.random()", "print(round(r, 6))", "s = 'q'"]
ENV = ["import os", "os.environ['NBRW_T'] = 'a'", "print(os.environ['NBRW_T'])", "print(1)"]
HELD = [
    "held = (n for n in range(3))\nv = 1\nlist_of = [v]",
    "w = v + 1",
    "print(w)",
    "print(next(held))",
    "list_of.append(2)",
]
CLASS = [
    "class P:\n    def __init__(self, n):\n        self.n = n\n"
    "    def up(self):\n        self.n += 1",
    "p = P(1)",
    "p.up()",
    "print(p.n)",
    "q = 2",
]
CLOSURE = [
    "def counter():\n    count = [0]\n    def add():\n        count[0] += 1\n"
    "        return count[0]\n    return add",
    "tick = counter()",
    "tick()",
    "print(tick())",
    "t = 0",
]
FRAME = "import pandas as pd\nf = pd.DataFrame({'v': [1, 5]})"
GLOBAL = [
    "total = 0\ndef add(n):\n    global total\n    total += n",
    "add(3)",
    "print(total)",
    "u = 1",
]
PARAM = [
    "limit = 10",
    "data = list(range(20))",
    "big = [v for v in data if v > limit]",
    "print(big)",
]
NUMPY_SEED = [
    "import numpy as np",
    "np.random.seed(1)",
    "m = np.random.rand(3)",
    "print(m)",
    "o = 1",
]
PRINTS = ["import numpy as np", "np.set_printoptions(precision=2)", "print(np.array([1/3]))"]
OPTIONS = [
    "import pandas as pd",
    "pd.set_option('display.precision', 2)",
    "print(pd.Series([1/3]))",
]
DECIMAL = ["import decimal", "decimal.getcontext().prec = 3", "print(decimal.Decimal(1) / 3)"]
PATCH = ["import json", "json.extra = 1\nf = 1", "print(json.extra)", "g = 2"]
LINES = ["import math", "rows = [math.sqrt(v) for v in range(9)]", "top = max(rows)", "print(top)"]


def at(sources, **changed):
    """The sources with cells replaced: ``c2='...'``."""
    return [changed.get(f"c{number}", source) for number, source in enumerate(sources, 1)]


SCENARIOS = {
    "nothing changed": (LIST, LIST, "rrrr"),
    "a comment": (LIST, at(LIST, c2="# the sum\ny = sum(x)"), "rrrr"),
    "white space": (LIST, at(LIST, c1="x=[1,2]"), "rrrr"),
    "a value": (LIST, at(LIST, c1="x = [1, 3]"), "XXXr"),
    "another way to the same value": (LIST, at(LIST, c1="x = [1] + [2]"), "Xrrr"),
    "the last cell": (LIST, at(LIST, c4="z = 6"), "rrrX"),
    "a cell in the middle with the same result": (LIST, at(LIST, c2="y = x[0] + x[1]"), "rXrr"),
    "inserted, apart": (LIST, [*LIST[:2], "w = 1", *LIST[2:]], "rrXrr"),
    "inserted at the top": (LIST, ["w = 1", *LIST], "Xrrrr"),
    "inserted, rebinding an input": (LIST, [LIST[0], "x = [5]", *LIST[1:]], "rXXXr"),
    "inserted, changing an input in place": (LIST, [LIST[0], "x.append(1)", *LIST[1:]], "rXXXr"),
    "inserted, showing a value": (LIST, [*LIST[:2], "y", *LIST[2:]], "rrXrr"),
    "deleted, unused": (LIST, LIST[:3], "rrr"),
    "deleted, used": (LIST, [LIST[0], *LIST[2:]], "rFr"),
    "moved, independent": (LIST, [LIST[3], *LIST[:3]], "rrrr"),
    "moved up before its input": (["x = 1", "x = x + 1", "print(x)"],
                                  ["x = x + 1 if 'x' in dir() else 9", "x = 1", "print(x)"], "XrX"),
    "split": (LIST, ["x = [1, 2]", "y = 0", "y = sum(x)", *LIST[2:]], "rXrrr"),
    "merged": (LIST, ["x = [1, 2]\ny = sum(x)", *LIST[2:]], "Xrr"),
    "the same cell twice": (LIST, [*LIST, LIST[2]], "rrrrr"),
    "appended": (LIST, [*LIST, "print(x)"], "rrrrX"),
    "a helper used through another function": (
        FUNCTIONS, at(FUNCTIONS, c1="def double(v):\n    return v * k + 1"), "XrXXr"),
    "a global of a helper": (FUNCTIONS, at(FUNCTIONS, c2="k = 3"), "rXXXr"),
    "a function's docstring only": (
        FUNCTIONS, at(FUNCTIONS, c5="print('apart')  # note"), "rrrrr"),
    "the function between": (
        FUNCTIONS, at(FUNCTIONS, c3="def twice(v):\n    return double(v)"), "rrXXr"),
    "a file's content": (FILES, at(FILES, c1="open('out.txt', 'w').write('two')\nn = 3"), "XXr"),
    "a file's writer, same content": (
        FILES, at(FILES, c1="n = 3\nopen('out.txt', 'w').write('one')"), "Xrr"),
    "the reader of a file": (FILES, at(FILES, c2="print(len(open('out.txt').read()))"), "rXr"),
    "an alias": (ALIAS, at(ALIAS, c2="b.append(3)"), "rXXrr"),
    "an alias, made independent": (ALIAS, at(ALIAS, c1="a = [1]\nb = list(a)"), "XXXrr"),
    "something beside an alias": (ALIAS, at(ALIAS, c4="c = 8"), "rrrXX"),
    "an array inside a dict": (ARRAY, at(ARRAY, c2="d['k'][1] = 2"), "rXXr"),
    "an array inside a dict, to the same": (ARRAY, at(ARRAY, c2="d['k'][1:2] = [1]"), "rXrr"),
    "a seed": (SEED, at(SEED, c2="random.seed(5)"), "rXXXr"),
    "one more draw before": (SEED, [*SEED[:2], "random.random()", *SEED[2:]], "rrXXXr"),
    "a draw after": (SEED, [*SEED, "print(random.random() < 2)"], "rrrrrX"),
    "numpy's seed": (NUMPY_SEED, at(NUMPY_SEED, c2="np.random.seed(2)"), "rXXXr"),
    "code that does not draw": (NUMPY_SEED, at(NUMPY_SEED, c5="o = 2"), "rrrrX"),
    "an environment variable": (ENV, at(ENV, c2="os.environ['NBRW_T'] = 'b'"), "rXXX"),
    "the id of the process, which Dask sets": (
        ["import os\nos.environ['__DASK_PARENT_PID'] = '1'", "print(1)"],
        ["import os\nos.environ['__DASK_PARENT_PID'] = '2'", "print(1)"], "Xr"),
    "an environment variable, later": (ENV, [*ENV, "os.environ['NBRW_U'] = 'b'"], "rrrrX"),
    "unstorable, not needed": (HELD, at(HELD, c2="w = v + 2"), "rXXrr"),
    "unstorable, needed, and what may share with it": (
        HELD, at(HELD, c4="print(next(held) + 1)"), "XrrXX"),
    "a method": (CLASS, at(CLASS, c1=CLASS[0].replace("+= 1", "+= 2")), "XXXXr"),
    "a call of a method": (CLASS, at(CLASS, c3="p.up()\np.up()"), "rrXXr"),
    "beside a class": (CLASS, at(CLASS, c5="q = 3"), "rrrrX"),
    "a closure's state": (CLOSURE, [*CLOSURE[:3], "tick()", *CLOSURE[3:]], "rrrXXr"),
    "after a closure": (CLOSURE, at(CLOSURE, c5="t = 1"), "rrrrX"),
    "a function that writes a global": (GLOBAL, at(GLOBAL, c2="add(4)"), "rXXr"),
    "one more call of it": (GLOBAL, [*GLOBAL[:2], "add(1)", *GLOBAL[2:]], "rrXXr"),
    "beside a global": (GLOBAL, at(GLOBAL, c4="u = 2"), "rrrX"),
    "a parameter": (PARAM, at(PARAM, c1="limit = 15"), "XrXX"),
    "a parameter without effect": (PARAM, at(PARAM, c1="limit = 10.5"), "XrXr"),
    "a changed module": (PATCH, at(PATCH, c3="print(json.extra + 1)"), "rXXr"),
    "a changed module, below a magic": (
        at(PATCH, c2="!true\njson.extra = 1\nf = 1"),
        at(PATCH, c2="!true\njson.extra = 1\nf = 1", c3="print(json.extra + 1)"), "rXXr"),
    "nothing after a changed module": (PATCH, [*PATCH[:2], "print(json.extra)"], "rrr"),
    "a print after a setting of numpy": (
        PRINTS, at(PRINTS, c3="print(np.array([2/3]))"), "rrX"),
    "a setting of numpy": (
        PRINTS, at(PRINTS, c2="np.set_printoptions(precision=3)"), "rXX"),
    "an option of pandas": (
        OPTIONS, at(OPTIONS, c2="pd.set_option('display.precision', 3)"), "rXX"),
    "a print after an option of pandas": (
        OPTIONS, at(OPTIONS, c3="print(pd.Series([2/3]))"), "rrX"),
    "a decimal context": (DECIMAL, at(DECIMAL, c2="decimal.getcontext().prec = 4"), "rXX"),
    "a name with two underscores": (
        ["__version__ = '1'\nn: int = 1", "print(__version__, __name__)", "m: int = n", "print(n)"],
        ["__version__ = '2'\nn: int = 1", "print(__version__, __name__)", "m: int = n", "print(n)"],
        "XXrr"),
    "a name with two underscores, its reader": (
        ["__version__ = '1'", "print(__version__)"],
        ["__version__ = '1'", "print(__version__, 2)"], "rX"),
    "a name of the module's own that is bound to something else": (
        ["__doc__ = 'one'", "print(__doc__)", "print(1)"],
        ["__doc__ = 'two'", "print(__doc__)", "print(1)"], "XXr"),
    "a captured cell": (
        ["x = 1", "%%capture out\nprint(x)\ny = x + 1", "print(y)", "print(out.stdout)"],
        ["x = 1", "%%capture out\nprint(x)\ny = x + 1", "print(y)", "print(out.stdout, 2)"],
        "rrrX"),
    "a cell that runs others": (
        ["x = 1", "for code in ('x += 1', '', ' ', 'print(x)'):\n    get_ipython().run_cell(code)",
         "print(x)", "z = 1"],
        ["x = 1", "for code in ('x += 1', '', ' ', 'print(x)'):\n    get_ipython().run_cell(code)",
         "print(x)", "print(x, 2)"],
        "rrrX"),
    "a setting that a restored cell takes back": (
        ["import os\nos.environ['NBRW_V'] = '1'", "print(1)", "del os.environ['NBRW_V']", "z = 1"],
        ["import os\nos.environ['NBRW_V'] = '1'", "print(2)", "del os.environ['NBRW_V']",
         "print(os.environ.get('NBRW_V'))"], "rXrX"),
    "a comprehension": (LINES, at(LINES, c2="rows = [math.sqrt(v) for v in range(4)]"), "rXXX"),
    "a comprehension's variable": (
        LINES, at(LINES, c2="rows = [math.sqrt(w) for w in range(9)]"), "rXrr"),
    "an import's name": (LINES, at(LINES, c1="import math as math"), "Xrrr"),
    "code that may use any name": (LIST, [*LIST, "print(eval('y'))"], "rrrrX"),
    "any name, and one changed": (
        [*LIST, "print(eval('y'))"], at([*LIST, "print(eval('y'))"], c4="z = 6"), "rrrXX"),
    "a function that may use any name": (
        ["k = 1", "def f(t):\n    return eval(t)", "print(f('k'))", "z = 1"],
        ["k = 2", "def f(t):\n    return eval(t)", "print(f('k'))", "z = 1"], "XXXr"),
    "a function that may use any name, edited": (
        ["k = 1", "def f():\n    return globals()['k']", "print(f())", "z = 1"],
        ["k = 1", "def f():\n    return globals()['k']", "print(f() + 1)", "z = 1"], "rrXr"),
    "a pattern that binds to something equal": (
        ["x = 1", "p = [1, 2]", "match p:\n    case [x, y]:\n        pass", "print(x)"],
        ["x = 5", "p = [1, 2]", "match p:\n    case [x, y]:\n        pass", "print(x)"], "XrXr"),
    "a handler that unbinds": (
        ["n = 1", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    pass",
         "print('e' in dir())"],
        ["n = e = 1", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    pass",
         "print('e' in dir())"], "XXr"),
    "the notebook as a module": (
        ["k = 1", "from __main__ import k as q\nprint(q)"],
        ["k = 2", "from __main__ import k as q\nprint(q)"], "XX"),
    "what names there are": (["x = 1", "%who_ls"], ["x = 1\ny = 2", "%who_ls"], "XX"),
    "a test for a file that another cell makes": (
        ["n = open('a.txt', 'w').write('1')", "x = !test -e a.txt && echo there\nprint(x)"],
        ["n = 1", "x = !test -e a.txt && echo there\nprint(x)"], "XX"),
    "star import": (["v = 1", "from math import *", "print(floor(2.5))"],
                    ["v = 2", "from math import *", "print(floor(2.5))"], "XXr"),
    "a deleted name": (["a = 1\nb = 2", "del a", "print('a' in dir())", "print(b)"],
                       ["a = 1\nb = 2", "b = 3", "print('a' in dir())", "print(b)"], "rXXX"),
    "a text that names a variable": (
        ["t = 3", FRAME, "print(f.query('v > @t'))"],
        ["t = 0", FRAME, "print(f.query('v > @t'))"],
        "XrX"),
    "a frame": (
        [FRAME, "g = f.assign(w=f.v * 2)",
         "print(g.w.sum())", "print(len(f))"],
        [FRAME, "g = f.assign(w=f.v * 3)",
         "print(g.w.sum())", "print(len(f))"],
        "rXXr"),
    "a frame changed in place": (
        [FRAME, "f['w'] = 1", "print(f.w.sum())"],
        [FRAME, "f['w'] = 2", "print(f.w.sum())"],
        "rXX"),
    "an effect on an argument": (
        ["import json\ndef conf(m):\n    m.nbrw_c = 5", "conf(json)", "print(json.nbrw_c)",
         "print(1)"],
        ["import json\ndef conf(m):\n    m.nbrw_c = 5", "conf(json)", "print(json.nbrw_c + 1)",
         "print(1)"], "rXXr"),
    "a setting of the shell": (
        ["get_ipython().ast_node_interactivity = 'all'", "z = 1"],
        ["get_ipython().ast_node_interactivity = 'all'", "3\n4"], "XX"),
    "an effect of a function, where it is called": (
        ["import json\ndef f():\n    json.nbrw_a = 5", "f()", "print(json.nbrw_a)", "print(1)"],
        ["import json\ndef f():\n    json.nbrw_a = 5", "f()", "print(json.nbrw_a + 1)", "print(1)"],
        "rXXr"),
    "an effect of a method, called on an object made before": (
        ["import json\nclass A:\n    def f(self):\n        json.nbrw_b = 5\na = A()", "a.f()",
         "print(1)", "print(json.nbrw_b)"],
        ["import json\nclass A:\n    def f(self):\n        json.nbrw_b = 5\na = A()", "a.f()",
         "print(1)", "print(json.nbrw_b + 1)"],
        "XXrX"),
    "a function under another name": (
        ["import gc\ndef f():\n    gc.freeze()", "g = f", "g()", "print(1)"],
        ["import gc\ndef f():\n    gc.freeze()", "g = f", "g()", "print(2)"],
        "rXXX"),
    "a function that has an effect, only defined": (
        ["import gc\ndef f():\n    gc.freeze()", "print(1)"],
        ["import gc\ndef f():\n    gc.freeze()", "print(2)"],
        "rX"),
    "a name that is bound to what a function made of it": (
        ["rows = [3, 1]", "def clean():\n    return sorted(rows)", "rows = clean()", "print(rows)"],
        ["rows = [9, 8]", "def clean():\n    return sorted(rows)", "rows = clean()", "print(rows)"],
        "XXXX"),
    "a loop over what a function made of its variable": (
        ["row = 2", "def rows():\n    return range(row)", "for row in rows():\n    print(row)"],
        ["row = 3", "def rows():\n    return range(row)", "for row in rows():\n    print(row)"],
        "XXX"),
    "an effect, edited": (
        ["import json", "json.nbrw_c = 1", "print(json.nbrw_c)", "print(1)"],
        ["import json", "json.nbrw_c = 2", "print(json.nbrw_c)", "print(1)"], "rXXX"),
    "an effect, moved below who sees it": (
        ["import json\njson.nbrw_d = 1", "json.nbrw_d = 2", "print(json.nbrw_d)"],
        ["import json\njson.nbrw_d = 1", "print(json.nbrw_d)", "json.nbrw_d = 2"], "XXr"),
    "an effect, inserted": (
        ["import json\njson.nbrw_e = 1", "print(json.nbrw_e)"],
        ["import json\njson.nbrw_e = 1", "json.nbrw_e = 2", "print(json.nbrw_e)"], "XXX"),
    "an effect, deleted": (
        ["import json\njson.nbrw_f = 1", "json.nbrw_f = 2", "print(json.nbrw_f)"],
        ["import json\njson.nbrw_f = 1", "print(json.nbrw_f)"], "XX"),
    "a seed of what draws in a text": (
        ["import random\nrandom.seed(1)", "print(eval('random.random()'))"],
        ["import random\nrandom.seed(2)", "print(eval('random.random()'))"], "XX"),
    "what a generator reads": (
        ["data = [1, 2]", "g = (v for v in data)", "z = 0", "print(list(g))"],
        ["data = [1, 2]", "g = (v for v in data)", "data.append(3)", "print(list(g))"], "rXXX"),
    "what a generator's code reads": (
        ["k = 1", "g = (v * k for v in (1, 2))", "z = 0", "print(list(g))"],
        ["k = 1", "g = (v * k for v in (1, 2))", "k = 3", "print(list(g))"], "rXXX"),
    "what the shell looks up": (
        ["ip = get_ipython()", "x = 1", "print(ip.ev('x'))"],
        ["ip = get_ipython()", "x = 2", "print(ip.ev('x'))"], "XXX"),
    "a call for its effect": (
        ["import atexit", "atexit.register(print, end='')\nn = 1", "print(3)", "print(n)"],
        ["import atexit", "atexit.register(print, end='')\nn = 1", "print(3)", "print(n + 1)"],
        "rXrX"),
}  # fmt: skip


@pytest.fixture(params=["swept", "unswept"])
def swept(request, monkeypatch):
    """Whether all names are looked at after each cell, as if the state were small, or large."""
    if request.param == "unswept":
        monkeypatch.setattr(repeat_harness, "SWEEP_SHARE", 0)


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_edit_runs_the_cells_that_it_reaches(name, tmp_path):
    """No other cell runs, and all outputs are those of a run from the top."""
    before, after, expected = SCENARIOS[name]
    recipe, store = audit(tmp_path / "audit", before)
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert repeat.outputs == plain_run(tmp_path / "plain", after), repeat.report
    ran = repeat.actions
    assert ran == expected.replace("F", "X"), [(c.cell, c.reason) for c in repeat.report]


def test_a_changed_input_of_the_same_size_and_time_runs_its_readers(tmp_path):
    """Content counts."""
    sources = ["print(open('in.txt').read())", "print(2)"]
    recipe, store = audit(tmp_path / "audit", sources, {"in.txt": "one"})
    same = Repeat(tmp_path / "same", recipe, store, sources, files={"in.txt": "one"})
    other = Repeat(tmp_path / "other", recipe, store, sources, files={"in.txt": "two"})
    assert (same.actions, other.actions) == ("rr", "Xr")


LOCAL = ["import helper_nbrw as h\nprint(1)", "n = h.f(2)", "print(n)", "print(4)"]
FROM = ["from helper_nbrw import f\nprint(1)", "n = f(2)", "print(n)", "print(4)"]
OBJECT = ["from helper_nbrw import A\na = A()", "n = a.f(2)", "print(n)", "print(4)"]
CODE = "def f(x):\n    return x * {}\nclass A:\n    def f(self, x):\n        return x * {}\n"


@pytest.mark.parametrize(
    ("sources", "text", "expected"),
    [
        (LOCAL, CODE.format(3, 3), "XXXr"),
        (FROM, CODE.format(3, 3), "XXXr"),
        (OBJECT, CODE.format(3, 3), "XXXr"),
        (LOCAL, CODE.format(2, 2), "rrrr"),
        (LOCAL, CODE.format(2, 2) + "# a comment\n", "XXrr"),
    ],
)
def test_an_edited_module_of_the_notebooks_directory_runs_those_who_use_it(
    tmp_path, monkeypatch, sources, text, expected
):
    """By its name, by a function's or a class' from it; a result that is equal goes no further."""
    files, changed = {"helper_nbrw.py": CODE.format(2, 2)}, {"helper_nbrw.py": text}
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget(place):
        sys.modules.pop("helper_nbrw", None)
        importlib.invalidate_caches()
        sys.path[:] = [str(place), *(p for p in sys.path if not p.startswith(str(tmp_path)))]

    before = list(sys.path)
    try:
        forget(tmp_path / "audit" / "author")
        recipe, store = audit(tmp_path / "audit", sources, files)
        forget(tmp_path / "repeat")
        repeat = Repeat(tmp_path / "repeat", recipe, store, sources, files=changed)
        forget(tmp_path / "plain")
        expected_outputs = plain_run(tmp_path / "plain", sources, changed)
    finally:
        sys.modules.pop("helper_nbrw", None)
        sys.path[:] = before
    assert repeat.outputs == expected_outputs, [(c.cell, c.reason) for c in repeat.report]
    assert repeat.actions == expected, [(c.cell, c.reason) for c in repeat.report]


def test_a_module_that_is_imported_from_its_package_is_imported_for_a_restore(
    tmp_path, monkeypatch
):
    """For what it registers, though nobody uses its name."""
    (tmp_path / "nbrw_pack").mkdir()
    (tmp_path / "nbrw_pack" / "__init__.py").write_text("found = []\n")
    (tmp_path / "nbrw_pack" / "part.py").write_text("import nbrw_pack\nnbrw_pack.found += [1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    sources = ["from nbrw_pack import part\ndel part\nNone", "print(1)"]
    recipe, store = audit(tmp_path / "audit", sources)
    for name in ("nbrw_pack", "nbrw_pack.part"):
        monkeypatch.delitem(sys.modules, name)
    edited = [sources[0], "import nbrw_pack as p\nprint(p.found)"]
    repeat = Repeat(tmp_path / "repeat", recipe, store, edited)
    assert (repeat.actions, repeat.outputs[1][0]["text"]) == ("rX", "[1]\n")


def test_a_library_that_is_imported_for_a_restore_sees_that_it_is_in_ipython(tmp_path, monkeypatch):
    """As it did in the author's cell: it may behave otherwise in a plain Python."""
    source = (
        "try:\n    get_ipython()\n    found = 'IPython'\nexcept NameError:\n    found = 'none'\n"
    )
    (tmp_path / "nbrw_asks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sources = ["import nbrw_asks", "print(nbrw_asks.found)"]
    recipe, store = audit(tmp_path / "audit", sources)
    monkeypatch.delitem(sys.modules, "nbrw_asks")
    repeat = Repeat(tmp_path / "repeat", recipe, store, [sources[0], "print(1, nbrw_asks.found)"])
    assert repeat.actions == "rX"
    assert repeat.outputs[1][0]["text"] == "1 IPython\n"


@pytest.mark.parametrize(
    "start",
    [
        "threading.Thread(target=work).start()",
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1)\ndone = pool.submit(work)\nNone",
        "threading.Timer(0.0, work).start()",
    ],
)
def test_nothing_is_restored_while_a_thread_of_the_notebook_runs(tmp_path, start):
    """It may change what cells use at any time, after any look at the state."""
    sources = [
        "import threading, time\nrows = [0]\ndef work():\n    time.sleep(0.6)\n    rows.append(1)",
        "go = 1",
        "time.sleep(1.2)",
        "z = 3",
        "print(rows)",
    ]
    edited = [sources[0], start, *sources[2:]]
    recipe, store = audit(tmp_path / "audit", sources)
    repeat = Repeat(tmp_path / "repeat", recipe, store, edited)
    assert repeat.outputs == plain_run(tmp_path / "plain", edited)
    assert repeat.actions == "rXXXX"


_FRAMES = "import pandas as pd, numpy as np\nf = pd.DataFrame({'v': [1.0, 2.0], 'w': [3.0, 4.0]})\n"


@pytest.mark.parametrize(
    ("start", "change"),
    [
        (_FRAMES + "v = f['v'].to_numpy()\nw = f.to_numpy()", "f.loc[0, 'v'] = 9"),
        (_FRAMES + "s = f['v'].copy()\nv = s.to_numpy()", "s.iloc[0] = 9"),
        (_FRAMES + "g = f[:]\nv = f.to_numpy()", "f.loc[0, 'v'] = 9"),
        (_FRAMES + "g = f[['v']]", "g.iloc[1, 0] = 9\nf.iloc[1, 0] = 8"),
        (_FRAMES + "v = np.arange(4.0).reshape(2, 2)\nf = pd.DataFrame(v, copy=False)", "v[0] = 9"),
    ],
)  # fmt: skip
def test_arrays_and_frames_share_memory_after_a_restore_as_before(tmp_path, start, change):
    """pandas writes in place where no other frame looks on, and an array sees it."""
    pytest.importorskip("pandas", minversion="3")
    look = "print([(n, np.asarray(globals()[n])) for n in ('f', 'v', 'w', 's', 'g') if n in dir()])"
    sources = [start, change, look, "f.iloc[0, 1] = 5", look]
    recipe, store = audit(tmp_path / "audit", sources)
    new = [start, change.replace("9", "7"), *sources[2:]]
    repeat = Repeat(tmp_path / "repeat", recipe, store, new)
    assert repeat.outputs == plain_run(tmp_path / "plain", new)
    assert repeat.actions in ("rXXrX", "rXXXX")


def test_a_cell_whose_working_directory_is_not_there_runs_again(tmp_path):
    """(Here nothing has seen that it made the directory.) Elsewhere the code would run."""
    sources = ["import os\nos.makedirs('sub')\nos.chdir('sub')", "x = 1", "print(x)"]
    recipe, store = audit(tmp_path / "audit", sources)
    edited = [*sources[:2], "import os\nprint(os.path.basename(os.getcwd()))"]
    repeat = Repeat(tmp_path / "repeat", recipe, store, edited)
    assert repeat.outputs == plain_run(tmp_path / "plain", edited)
    assert repeat.actions[0] == "X"


def test_empty_cells_do_not_count(tmp_path):
    """Those after one have the execution counts that Jupyter gives them."""
    recipe, store = audit(tmp_path / "audit", ["x = 1", "", "print(x)", "y = 2"])
    repeat = Repeat(tmp_path / "repeat", recipe, store, ["x = 1", "", "print(x)", "y = 3"])
    counts = [cell.get("execution_count") for cell in repeat.notebook["cells"]]
    assert (repeat.actions, counts) == ("r-rX", [1, None, 2, 3])
