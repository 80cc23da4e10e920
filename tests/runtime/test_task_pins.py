"""A function's fingerprint is remembered as long as all that it depends on is what it was."""

from __future__ import annotations

import math
import sys
import types

import pytest
from dask._task_spec import Task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbrw_runtime import task_fingerprint
from nbrw_runtime.task_fingerprint import Fingerprinter, Refusal

CELL = """
import math
import helpers
from math import floor
SCALE = 3
ROWS = [1, 2]
class Model:
    bias = 1
def helper(x, by=2):
    return abs(x) * SCALE * by
def uses(x):
    return helpers.twice(x) + math.sqrt(x)
def task(x, k=1):
    return helper(x) + uses(x) + k
def other(x):
    return x
"""
CHANGES = [
    "SCALE = 4", "SCALE = 3", "SCALE = 3.0", "SCALE = True", "SCALE = ROWS", "ROWS.append(1)",
    "del SCALE", "SCALE = Model", "Model.bias += 1", "SCALE = helper", "SCALE = other",
    "def helper(x, by=2): return -x", "def helper(x, by=2): return abs(x) * SCALE * by",
    "helper.__defaults__ = (5,)", "helper.__defaults__ = ([],)", "helper.mark = 1",
    "helper.__kwdefaults__ = {'by': 1}", "helper.__annotations__['x'] = int",
    "helper.__code__ = other.__code__",
    "helper.__code__ = (lambda x, by: SCALE * 2).__code__", "helper.__name__ = 'helped'",
    "abs = len", "abs = lambda x: x", "del abs", "helper = floor", "helper = Model",
    "helpers.FACTOR = 3", "helpers.twice = other", "helpers.twice = lambda x: x",
    "helpers.twice = ROWS", "del helpers.twice", "helpers = math", "import helpers",
    "math.sqrt = other", "math.sqrt = floor", "math.sqrt = 2", "math = helpers", "import math",
    "def uses(x): return eval('x')", "def uses(x):\n    import os\n    return os.sep",
    "def uses(x):\n    global SCALE\n    SCALE = x", "task.__defaults__ = (2,)",
    "k = 3\ntask.__code__ = (lambda x, k: helper(x) + ROWS[0]).__code__",
    "__builtins__['abs'] = len", "__builtins__.pop('abs')", "__name__ = 'elsewhere'",
]  # fmt: skip


@pytest.fixture
def notebook(monkeypatch):
    """Makes namespaces, each with all as it was."""
    before = dict(vars(math))
    monkeypatch.setattr("nbrw_runtime.task_modules.is_local", lambda name: False)

    def clean():
        for name in vars(math).keys() - before.keys():
            delattr(math, name)
        vars(math).update(before)

    def make():
        clean()
        module = types.ModuleType("helpers")
        exec("FACTOR = 2\ndef twice(x): return FACTOR * x", vars(module))
        monkeypatch.setitem(sys.modules, "helpers", module)
        builtins = dict(vars(sys.modules["builtins"]))
        space = {"__name__": "__main__", "__builtins__": builtins}
        exec(CELL, space)
        return space

    yield make
    clean()


def fingerprint(fingerprinter, function):
    """Of a task of this function; or why there is none."""
    found = fingerprinter.fingerprints({"k": Task("k", function, 1)}, {})["k"]
    return found.reason if isinstance(found, Refusal) else found


def changed(space, change):
    """Change something, if it is there to be changed."""
    try:
        exec(change, space)
    except (NameError, KeyError, AttributeError, TypeError, ValueError):
        pass


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.sampled_from(CHANGES), max_size=6))
def test_what_is_remembered_is_what_a_new_look_finds(notebook, changes):
    """Whatever a cell changes between two tasks, in whichever order."""
    space = notebook()
    fingerprinter = Fingerprinter(space, "/nowhere")
    function = space["task"]
    for change in ["", "", *changes]:
        changed(space, change)
        for _ in range(2):
            fresh = fingerprint(Fingerprinter(space, "/nowhere"), function)
            assert fingerprint(fingerprinter, function) == fresh


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_seen(notebook, change):
    """Each by itself, of a function that is remembered."""
    space = notebook()
    fingerprinter = Fingerprinter(space, "/nowhere")
    for _ in range(3):
        fingerprint(fingerprinter, space["task"])
    changed(space, change)
    fresh = fingerprint(Fingerprinter(space, "/nowhere"), space["task"])
    assert fingerprint(fingerprinter, space["task"]) == fresh


def test_a_function_of_plain_parts_is_looked_at_twice_and_never_again(notebook, monkeypatch):
    """Or the tests above would show nothing."""
    space = notebook()
    fingerprinter = Fingerprinter(space, "/nowhere")
    looks = []
    walk = task_fingerprint.Walker.walk
    monkeypatch.setattr(
        task_fingerprint.Walker, "walk", lambda self, obj: (looks.append(obj), walk(self, obj))[1]
    )
    counts = []
    for _ in range(4):
        looks.clear()
        fingerprint(fingerprinter, space["task"])
        counts.append(space["task"] in looks)
    assert counts == [True, True, False, False]
