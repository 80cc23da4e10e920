"""Tasks in the notebook's own process see what its cells did there beside their names."""

from __future__ import annotations

import importlib
import sys

import pytest
from test_task_local import Kernel

pytestmark = pytest.mark.integration
dask = pytest.importorskip("dask")

START = "import builtins, dask, decimal, functools, json\nimport numpy as np\n"
END = "\nout = dask.compute(*[dask.delayed(f)(i) for i in range(1, 4)], scheduler='sync')"
#: Each has a ``5``; an edit has ``7`` there.
EDITS = {
    "decimals": "decimal.getcontext().prec = 5\n"
    "def f(x):\n    return str(decimal.Decimal(1) / (x + 6))",
    "a setting of Dask's": "dask.config.set({'mine.factor': 5})\n"
    "def f(x):\n    return dask.config.get('mine.factor') * x",
    "print options": "np.set_printoptions(precision=5)\n"
    "def f(x):\n    return str(np.array([x / 13]))",
}
MODULE = """
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A directory with a module of the notebook's, as loaded anew by each kernel."""
    (tmp_path / "here_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import decimal

    import numpy as np

    context, printing = decimal.getcontext().copy(), np.get_printoptions()
    settings = dict(dask.config.config)
    yield tmp_path
    decimal.setcontext(context)
    np.set_printoptions(**printing)
    dask.config.config.clear()
    dask.config.config.update(settings)
    sys.modules.pop("here_module", None)


def run(work, known, *sources):
    """What came out, and the kernel."""
    sys.modules.pop("here_module", None)
    importlib.invalidate_caches()
    kernel = Kernel(work, known)
    return kernel.run(*sources), kernel


@pytest.mark.parametrize("name", EDITS)
def test_tasks_are_others_when_a_cell_set_something_else(work, name):
    """And the same when it set the same."""
    first, audit = run(work, None, START, EDITS[name] + END)
    again, kernel = run(work, audit.document, START, EDITS[name] + END)
    assert again == first and kernel.counts.loaded == 3, kernel.counts
    edited = EDITS[name].replace("5", "7")
    plain = {"__name__": "__main__"}
    sys.modules.pop("here_module", None)
    exec(START + edited + END, plain)
    found, kernel = run(work, audit.document, START, edited + END)
    assert found == plain["out"] != first and kernel.counts.loaded == 0, kernel.counts


@pytest.mark.parametrize("filled", ["table()\n", ""], ids=["by the cell", "by tasks"])
def test_what_a_cache_holds_is_not_taken_for_what_it_would_be_made_from(work, filled):
    """The file was read before, or by another task."""
    source = (
        "@functools.lru_cache\ndef table():\n    with open('t.json') as s:\n"
        f"        return json.load(s)\n{filled}def f(x):\n    return table() * x"
    )
    (work / "t.json").write_text("5")
    first, audit = run(work, None, START, source + END)
    (work / "t.json").write_text("7")
    found, _ = run(work, audit.document, START, source + END)
    assert (first, found) == ((5, 10, 15), (7, 14, 21))
