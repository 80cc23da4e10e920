"""State that lies in no variable: it comes back, or the cell that made it runs again.

Each scenario is a notebook whose last cell is edited: a letter for each cell says what a repeat
does (r restored, X run), and outputs are those of running all of the edited notebook.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from nbrw_runtime import state_registry
from nbrw_runtime.codec import LoadContext, SaveContext, dump, load
from nbrw_runtime.errors import RestoreError
from nbrw_runtime.records import to_json
from nbrw_runtime.session_file import Session
from nbrw_runtime.state_providers import Baseline
from nbrw_runtime.store import MemoryStore
from nbrw_runtime.versions import PREFIX
from repeat_harness import Kernel, Repeat, audit, outside_kept, plain_run

HANDLER = (
    "import logging, sys\nlog = logging.getLogger('nbrw.test')\n"
    "h = logging.StreamHandler(sys.__stderr__)\n"
    "h.setFormatter(logging.Formatter('%(levelname)s %(message)s'))\nlog.addHandler(h)\n"
    "log.propagate = False\nlog.setLevel(logging.INFO)"
)
SCENARIOS = {
    "a logger's level and handler": (
        [HANDLER, "n = 1"],
        "h2, = log.handlers\nprint(log.level, log.propagate, n, h2.formatter._fmt)",
        "rrX"),
    "a handler that a name holds": (
        [HANDLER, "n = 1"], "log.removeHandler(h)\nprint(log.handlers, n)", "rrX"),
    "a handler of a kind of the notebook's own": (
        ["import logging\nclass Mine(logging.Handler):\n    def emit(self, record):\n"
         "        print('mine', record.msg)",
         "log = logging.getLogger('nbrw.mine')\nlog.addHandler(Mine())", "n = 1"],
        "log.warning('here')", "rXrX"),
    "a log file": (
        ["import logging\nlogging.getLogger('nbrw.f').addHandler(logging.FileHandler('x.log'))",
         "logging.getLogger('nbrw.f').error('one')"],
        "logging.getLogger('nbrw.f').error('two')\nprint(open('x.log').read())", "rrX"),
    "logging switched off": (
        ["import logging", "logging.disable(50)"],
        "print(logging.getLogger('x').isEnabledFor(40))", "rrX"),
    "the depth of recursion": (
        ["import sys", "sys.setrecursionlimit(4321)"], "print(sys.getrecursionlimit())", "rrX"),
    "the size of a field of a table": (
        ["import csv", "csv.field_size_limit(99) and None"],
        "print(csv.field_size_limit())", "rrX"),
    "an environment variable that looks private": (
        ["import os\nwho = 'me'\nn = 1", "os.environ['AUTHOR'] = who", "n += 1"],
        "print(os.environ['AUTHOR'], n)", "rXrX"),
    "a variable that the shell and libraries set": (
        ["import os\nos.environ['FORCE_COLOR'] = '0'\nos.environ['KMP_AFFINITY'] = 'none'"],
        "print(os.environ['FORCE_COLOR'], os.environ['KMP_AFFINITY'])", "rX"),
    "a place taken from where modules are looked for": (
        ["import sys", "p = sys.path.pop(0)\nsys.path.append('/nbrw')", "n = 1"],
        "print(p in sys.path, sys.path[-1], n)", "rrrX"),
    "a place that is looked at first": (
        ["import sys", "p = sys.path.pop()\nsys.path.insert(0, p)"],
        "print(sys.path.index(p), sys.path.count(p))", "rrX"),
    "a place in the working directory": (
        ["import os, sys", "sys.path[:0] = [os.path.abspath('lib'), os.getcwd()]"],
        "print([os.path.relpath(p) for p in sys.path[:2]])", "rrX"),
    "the environment by another name": (
        ["from os import environ\nimport os", "kept = {'env': os.environ}"],
        "environ['NBRW_E'] = 'a'\nprint(os.environ['NBRW_E'], kept['env'] is environ)", "rrX"),
    "the context of decimals by a name": (
        ["import decimal\nctx = decimal.getcontext()", "ctx.prec = 5"],
        "print(decimal.Decimal(1) / 3)\nctx.prec = 6\nprint(decimal.Decimal(1) / 3)", "rrX"),
    "a module's list and dictionary by another name": (
        ["import sys, warnings\nfrom sys import path\nfrom warnings import filters",
         "import dask.config\nconf = dask.config.config"],
        "path.append('/nbrw')\nprint(sys.path[-1], filters is warnings.filters)\n"
        "print(conf is dask.config.config)", "rrX"),
    "functions of a library's one generator": (
        ["from numpy.random import randn\nfrom random import random, seed",
         "import numpy as np\nnp.random.seed(0)\nseed(4)", "n = 1"],
        "print(randn(2), np.random.rand(), random(), seed(3), random(), n)", "rrrX"),
    "how estimators answer": (
        ["import sklearn", "sklearn.set_config(transform_output='pandas')"],
        "print(sklearn.get_config()['transform_output'])", "rrX"),
    "a backend without windows": (
        ["import matplotlib", "matplotlib.use('svg')"], "print(matplotlib.get_backend())", "rrX"),
    "a figure that pyplot keeps": (
        ["import matplotlib\nmatplotlib.use('agg')", "import matplotlib.pyplot as plt\nn = 2",
         "plt.plot([1, n])\nNone"],
        "print(plt.gcf().axes[0].lines[0].get_xydata().tolist())\nplt.close('all')", "rrXX"),
    "an alias": (
        ["get_ipython().alias_manager.define_alias('nbrwecho', 'echo')", "n = 1"],
        "print(dict(get_ipython().alias_manager.aliases)['nbrwecho'], n)", "rrX"),
    "a magic of the notebook": (
        ["from IPython.core.magic import register_line_magic",
         "@register_line_magic\ndef shout(line):\n    return line.upper() * n",
         "n = 2"],
        "print(get_ipython().run_line_magic('shout', 'a'))", "rrrX"),
    "a callback of the notebook": (
        ["calls = []", "get_ipython().events.register('pre_run_cell', lambda i: calls.append(1))",
         "n = 1"],
        "print(len(calls) > 0, n)", "rXrX"),
    "the precision of numbers shown": (
        ["n = 1", "get_ipython().run_line_magic('precision', '2') and None"], "3.14159", "rrX"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_lies_in_no_variable_is_there_for_a_cell_that_runs(name, tmp_path):
    """Brought back where that can be; else the cell that made it runs as well, and no other."""
    before, last, expected = SCENARIOS[name]
    recipe, store = audit(tmp_path / "audit", [*before, "print('to be edited')"])
    after = [*before, last]
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert repeat.outputs == plain_run(tmp_path / "plain", after)
    assert repeat.actions == expected, [(c.cell, c.reason) for c in repeat.report]


@pytest.mark.parametrize(
    ("cell", "new", "expected"),
    [
        (0, "x = 2", "XXrrX"),
        (1, "import os\nos.environ['AUTHOR'] = 'you'", "rXXXX"),
        (2, "del os.environ['AUTHOR']", "rXXXX"),
        (4, "print(x + 1)", "rXrrX"),
    ],
)
def test_who_reads_a_private_variable_runs_if_it_is_set_otherwise(cell, new, expected, tmp_path):
    """And its value is in no store, nor in what is said of it."""
    sources = ["x = 1", "import os\nos.environ['AUTHOR'] = 'me-myself'",
               "y = 1", "print(len(os.environ.get('AUTHOR', '')))", "print(x)"]  # fmt: skip
    recipe, store = audit(tmp_path / "audit", sources)
    after = [*sources[:cell], new, *sources[cell + 1 :]]
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert repeat.outputs == plain_run(tmp_path / "plain", after)
    assert repeat.actions == expected, [(c.cell, c.reason) for c in repeat.report]
    assert not any(b"me-myself" in path.read_bytes() for path in store.root.rglob("*")
                   if path.is_file())  # fmt: skip
    assert "me-myself" not in str([to_json(c) for c in recipe.checkpoints])


@pytest.mark.parametrize(
    "cells",
    [
        ["import os\nos.environ['NBRW_MODE'] = 'fast'", "import nbrw_looks"],
        ["import os, nbrw_looks\nos.environ['NBRW_MODE'] = 'fast'"],
        ["import os\nos.environ['NBRW_MODE'] = 'fast'\nimport nbrw_looks"],
        ["import os\nos.environ['NBRW_MODE'] = 'fast'", "import nbrw_looks",
         "os.environ['NBRW_MODE'] = 'slow'"],
        ["import sys\nsys.path.append({place!r})", "import nbrw_far as nbrw_looks"],
        ["import os\nos.chdir({place!r})", "import nbrw_looks"],
    ],
)  # fmt: skip
def test_a_module_is_imported_again_in_the_environment_of_its_time(cells, tmp_path, monkeypatch):
    """What it looks at while it is imported is what cells before had set, and no cell after."""
    text = "import os\nfound = os.environ.get('NBRW_MODE'), os.path.basename(os.getcwd())\n"
    (tmp_path / "site" / "far").mkdir(parents=True)
    (tmp_path / "site" / "nbrw_looks.py").write_text(text)
    (tmp_path / "site" / "far" / "nbrw_far.py").write_text(text.replace("os.getcwd()", "''"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in ("nbrw_looks", "nbrw_far"):  # so that they are forgotten at the end
        monkeypatch.setitem(sys.modules, name, sys)

    def forget():
        for name in ("nbrw_looks", "nbrw_far"):
            sys.modules.pop(name, None)

    before = [cell.format(place=str(tmp_path / "site" / "far")) for cell in cells]
    after = [*before, "print(nbrw_looks.found[0], 'far' in nbrw_looks.found)"]
    forget()
    recipe, store = audit(tmp_path / "audit", [*before, "print('to be edited')"])
    forget()
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    forget()
    assert repeat.outputs == plain_run(tmp_path / "plain", after)
    assert repeat.actions == "r" * len(before) + "X", [(c.cell, c.reason) for c in repeat.report]


KEEPER = """
value = "at first"

class Keeper:
    def get(self):
        return None if value == "at first" else value

    def set(self, new):
        global value
        value = new or "at first"

def broken():
    raise OSError("no such device")
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with entry points for state."""
    place = tmp_path / "site"
    info = place / "nbrw_keeper-1.dist-info"
    info.mkdir(parents=True)
    (place / "nbrw_keeper.py").write_text(KEEPER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nbrw-keeper\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nbrw.state]\nkeeper = nbrw_keeper:Keeper\n")
    monkeypatch.syspath_prepend(str(place))
    yield place
    sys.modules.pop("nbrw_keeper", None)


NOTEBOOK = ["import nbrw_keeper", "nbrw_keeper.value = 'changed'", "n = 1", "print(n)"]


def test_state_that_others_keep_is_stored_and_brought_back(installed, tmp_path):
    """By an entry point: under its name, and set before a cell runs."""
    sources = [*NOTEBOOK[:1], "vars(nbrw_keeper).update(value='changed')", *NOTEBOOK[2:]]
    recipe, store = audit(tmp_path / "audit", sources)
    stored = [n for c in recipe.checkpoints for o in c.objects for n in o.names]
    assert f"{PREFIX}keeper>" in stored
    sys.modules.pop("nbrw_keeper")
    after = [*sources[:3], "print(nbrw_keeper.value)"]
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert (repeat.outputs[3][0]["text"], repeat.actions) == ("changed\n", "rrrX")


def test_without_whoever_keeps_a_state_its_cell_runs_again(installed, tmp_path, monkeypatch):
    """It is not lost without a word: the reason names what is missing."""
    sources = [*NOTEBOOK[:1], "vars(nbrw_keeper).update(value='changed')", *NOTEBOOK[2:]]
    recipe, store = audit(tmp_path / "audit", sources)
    sys.modules.pop("nbrw_keeper")
    (installed / "nbrw_keeper-1.dist-info/entry_points.txt").write_text("")
    after = [*sources[:3], "print(nbrw_keeper.value)"]
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert (repeat.outputs[3][0]["text"], repeat.actions) == ("changed\n", "rXXX")
    assert any("'keeper'" in note for note in repeat.notes)


def test_an_entry_point_that_cannot_be_used_is_a_note(installed, tmp_path):
    """One that fails, and one whose name is taken; the others work."""
    with (installed / "nbrw_keeper-1.dist-info/entry_points.txt").open("a") as stream:
        stream.write("cwd = nbrw_keeper:Keeper\nbad = nbrw_keeper:broken\n")
    with outside_kept():
        kernel = Kernel(Session("audit", (), (str(tmp_path / "s"),), "", str(tmp_path)))
        try:
            names, notes = set(kernel.session.providers), kernel.session.notes
        finally:
            kernel.close()
    assert {f"{PREFIX}keeper>", f"{PREFIX}cwd>"} <= names and f"{PREFIX}bad>" not in names
    assert len(notes) == 2 and any("no such device" in note for note in notes)


def test_what_gives_no_two_functions_keeps_no_state():
    """The value of an entry point is checked when the kernel starts, not in the first cell."""
    with pytest.raises(TypeError, match="two functions"):
        state_registry._pair((1, 2))


def test_a_reader_that_fails_is_a_state_that_is_lost():
    """The first cell in which it fails is run again, with the reason."""
    get, _ = state_registry._pair((lambda: 1 / 0, print))
    lost = dump({f"{PREFIX}x>": get()}, SaveContext({}, MemoryStore()))
    with pytest.raises(RestoreError, match="could not be read: ZeroDivisionError"):
        load(lost.payload, lost.buffers, lost.codec, LoadContext({}, MemoryStore()))


def test_each_part_of_the_state_has_a_name_of_its_own(tmp_path):
    """Two under one name would overwrite each other."""
    with outside_kept():
        found = Baseline(str(tmp_path), str(tmp_path)).providers()
    names = [provider.name for provider in found]
    assert len(names) == len(set(names)) > 20


def test_to_read_settings_loads_nothing(tmp_path):
    """The notebook would see it, and wait for it."""
    code = (
        "import sys, matplotlib, numpy, pandas, dask\n"
        "from nbrw_runtime.library_settings import SETTINGS\n"
        "before = set(sys.modules)\n"
        "for name, (get, _) in SETTINGS.items():\n    get()\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('nbrw_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_of_dask_wait_until_somebody_loads_it(tmp_path):
    """What is read meanwhile is what it will get; the last settings count."""
    code = (
        "import sys\n"
        "from nbrw_runtime.library_settings import SETTINGS\n"
        "get, set = SETTINGS['dask.config']\n"
        "set({'array': {'chunk-size': '1MiB'}, 'mine': 1})\n"
        "set({'mine': 2, 'array': {'chunk-size': '2MiB'}})\n"
        "waiting = get().data\n"
        "print('dask' in sys.modules)\n"
        "import importlib.util\nimportlib.util.find_spec('dask')\n"
        "import dask\n"
        "print(get().data == waiting)\n"
        "print(dask.config.get('array.chunk-size'), dask.config.get('mine'))\n"
        "print(dask.config.get('temporary-directory', 'gone'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True", "2MiB 2", "gone"]
