"""Modules that a notebook brings along: what they are, what they read, ask and keep.

In real shells; outputs are always those of a plain run. Scenarios as in `test_edits.py`.
"""

# ruff: noqa: E501
from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest

from nbrw_runtime.dependency import Data, DataState
from repeat_harness import Repeat, audit, plain_run


def followed(place, before, after, files, changed=None, listing=()):
    """The letters of a repeat with these edits, and of these files; outputs are a plain run's.

    ``listing``: cells that a tracer would have seen listing the working directory.
    """
    changed = files if changed is None else changed
    searched = list(sys.path)
    unwritten, sys.dont_write_bytecode = sys.dont_write_bytecode, True

    def forget(now):
        for name in [name for name in sys.modules if name.endswith("_nbrw") or "_nbrw." in name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.path[:] = [str(now), *searched]

    try:
        forget(place / "audit" / "author")
        recipe, store = audit(place / "audit", before, files)
        if listing:
            seen = Data(recipe.environment.cwd, DataState.LISTED, listing)
            known = recipe.dependencies.data
            data = (*(found for found in known if found.path != seen.path), seen)
            recipe = replace(recipe, dependencies=replace(recipe.dependencies, data=data))
        forget(place / "repeat")
        repeat = Repeat(place / "repeat", recipe, store, after, files=changed)
        forget(place / "plain")
        outputs = plain_run(place / "plain", after, changed)
    finally:
        forget(place)
        sys.path[:] = searched
        sys.dont_write_bytecode = unwritten
    assert repeat.outputs == outputs, [(c.cell, c.reason) for c in repeat.report]
    return repeat.actions


def f(value):
    return f"def f():\n    return {value}\n"


@pytest.mark.parametrize(
    ("sources", "more", "expected"),
    [
        (["import kit_nbrw.io", "z = 1", "print(kit_nbrw.io.f())"], {}, "XrX"),
        (["from kit_nbrw import io", "z = 1", "print(io.f())"], {}, "XrX"),
        (
            ["import m_nbrw", "m_nbrw.g()", "z = 1", "print(m_nbrw.g())", "print(z)"],
            {"m_nbrw.py": "def g():\n    from kit_nbrw import io\n    return io.f()\n"},
            "rXrXr",
        ),
        (
            ["def g():\n    from kit_nbrw import io\n    return io.f()", "n = g()", "print(g())",
             "print(3)"], {}, "rXXr",
        ),
    ],
)  # fmt: skip
def test_an_edited_module_runs_its_users_be_its_package_without_a_file(
    tmp_path, sources, more, expected
):
    """Also those that import it in a function, which may be one of another module."""
    files, changed = {"kit_nbrw/io.py": f(1), **more}, {"kit_nbrw/io.py": f(2), **more}
    assert followed(tmp_path, sources, sources, files, changed) == expected


READS = "from pathlib import Path\nCFG = Path('cfg.txt').read_text()\n"


@pytest.mark.parametrize(
    "modules",
    [
        {"m_nbrw.py": READS},
        {"m_nbrw.py": "import k_nbrw\nCFG = k_nbrw.CFG\n", "k_nbrw.py": READS},
    ],
)
def test_what_a_module_reads_when_it_is_loaded_is_part_of_it(tmp_path, modules):
    """Whoever uses it runs if that file is another one."""
    sources = ["import m_nbrw as m", "print(m.CFG)", "print(1)"]
    files = {**modules, "cfg.txt": "one"}
    assert followed(tmp_path / "same", sources, sources, files) == "rrr"
    changed = {**modules, "cfg.txt": "two"}
    assert followed(tmp_path / "other", sources, sources, files, changed) == "XXr"


def test_a_module_that_is_loaded_again_is_read_again(tmp_path):
    """Its users run if its file has become another one than in the audit."""
    lines = [f"open('m_nbrw.py', 'w').write({f(1)!r}) and None", "import m_nbrw",
             f"open('m_nbrw.py', 'w').write({f(22)!r}) and None",
             "import importlib\nm = importlib.reload(m_nbrw)", "print(m_nbrw.f())",
             "print(1)"]  # fmt: skip
    edited = [line.replace(repr(f(22)), repr(f(333))) for line in lines]
    assert followed(tmp_path, lines, edited, {}) == "rrXXXX"


ITEMS = "items = []\ndef add(v):\n    items.append(v)\n    return len(items)\ndef pure(v):\n    return v\n"
CLASS = "class M:\n    count = 0\n    def __init__(self):\n        M.count += 1\n"
CALLS = "calls = []\ndef put(f):\n    calls.append(f)\n    return 1\ndef run():\n    return [f() for f in calls]\n"  # fmt: skip
ASKS = "import os, glob\ndef have(p):\n    return os.path.exists(p)\ndef found():\n    return sorted(glob.glob('*.txt'))\n"  # fmt: skip
MAKE = "z = open('b.txt', 'w').write('1')"


@pytest.mark.parametrize(
    ("sources", "edits", "text", "expected"),
    [
        (["import m_nbrw as m", "n = m.add(5)", "print(n)"], {3: "print(m.add(6))"}, ITEMS, "rXX"),
        (["from m_nbrw import add", "n = add(5)", "print(n)"], {3: "print(add(6))"}, ITEMS, "rXX"),
        (["from m_nbrw import M", "a = M()", "print(1)"], {3: "print(M.count)"}, CLASS, "rXX"),
        (["import m_nbrw as m", "n = m.pure(5)", "print(n)"], {3: "print(m.add(6))"}, ITEMS, "rrX"),
        (["import m_nbrw as m", "def f(v):\n    return m.add(v)", "n = f(3)", "print(n)"],
         {4: "print(f(6))"}, ITEMS, "rrXX"),
        (["import m_nbrw as m", "f = m.add", "n = f(3)", "print(n)"],
         {4: "print(f(6))"}, ITEMS, "rXXX"),
        (["import m_nbrw as h", "def f():\n    return k\nx = h.put(f)", "k = 1", "print(h.run())"],
         {4: "print(h.run(), 1)"}, CALLS, "rXrX"),
        (["import m_nbrw as h", "def f():\n    return k\nx = h.put(f)", "k = 1", "print(h.run())"],
         {3: "k = 2"}, CALLS, "rXXX"),
        (["import m_nbrw as h", "k = 1", "x = h.put(lambda: k)", "k = 2", "print(h.run())"],
         {4: "k = 3"}, CALLS, "rrXXX"),
        (["import m_nbrw as h\nn = h.put(len)", "print(n)"], {2: "print(len(h.calls))"}, CALLS,
         "XX"),
    ],
)  # fmt: skip
def test_calls_that_change_what_a_module_keeps_run_again_before_a_cell_that_runs(
    tmp_path, sources, edits, text, expected
):
    """What a module holds is stored nowhere. Other functions of it are what they were."""
    edited = [edits.get(number, source) for number, source in enumerate(sources, 1)]
    assert followed(tmp_path, sources, edited, {"m_nbrw.py": text}) == expected


@pytest.mark.parametrize(
    ("sources", "edits", "listing", "expected"),
    [
        (["import m_nbrw as h", MAKE, "print(h.have('b.txt'))"], {2: "z = 1"}, (), "rXX"),
        (["import m_nbrw as h", "z = 1", "print(h.found())"], {2: MAKE}, (3,), "rXX"),
        (["z = 1", "import m_nbrw as h\nprint(h.found())"], {1: MAKE}, (2,), "XX"),
        ([MAKE, "import m_nbrw as h\nprint(h.have('b.txt'))"], {1: "z = 1"}, (), "XX"),
        ([MAKE, "import m_nbrw as h\nprint(h.have('b.txt'))"], {}, (), "rr"),
    ],
)  # fmt: skip
def test_who_uses_a_module_that_asks_for_files_asks_for_files(
    tmp_path, sources, edits, listing, expected
):
    """Also if it loads the module itself."""
    edited = [edits.get(number, source) for number, source in enumerate(sources, 1)]
    files = {"m_nbrw.py": ASKS}
    assert followed(tmp_path, sources, edited, files, listing=listing) == expected
