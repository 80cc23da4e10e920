"""Modules that a notebook brings along: what they are, what they read, ask and keep.

In real shells; outputs are always those of a plain run. Scenarios as in `test_edits.py`.
"""

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
    assert followed(tmp_path, lines, edited, {}) == "rrXXXr"
