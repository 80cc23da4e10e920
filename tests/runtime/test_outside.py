"""What a cell takes from outside marks it as not repeatable by itself."""

import pytest

from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.dependency import Dependencies
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.names import definition
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.outside import from_outside, outside_lines
from nbrw_runtime.recipe import Environment, Recipe, RecipeCell

BLOB = digest_bytes(b"x")
IMPORTS = (
    "import datetime as dt, os, random, time, numpy as np, pandas as pd, dask.array as da\n"
    "from uuid import uuid4\nimport urllib.request, requests, getpass"
)


def recipe(*sources, changed=None, **dependencies):
    """A recipe of these cells; ``changed``: by cell, the names that it stored."""
    changed = changed or {}
    return Recipe(
        {"cells": []},
        tuple(RecipeCell(n, f"id{n}", cell_digest(s), s) for n, s in enumerate(sources, 1)),
        tuple(
            Checkpoint(
                number,
                cell_digest(source),
                objects=tuple(
                    StoredObject((name,), digest_bytes(f"{number}{name}".encode()), BLOB)
                    for name in changed.get(number, ())
                ),
            )
            for number, source in enumerate(sources, 1)
        ),
        Environment("", "/home/ada"),
        Dependencies(**dependencies),
    )


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ("t = time.perf_counter()", "the clock (time.perf_counter)"),
        ("a = dt.datetime.now(); b = time.time()", "the clock (datetime.datetime.now, time.time)"),
        ("pd.Timestamp.now()", "the clock (pandas.Timestamp.now)"),
        ("%time f()", "the clock (%time)"),
        ("%%time\nx = 1", "the clock (%%time)"),
        ("time.localtime()", "the clock (time.localtime)"),
        ("g = np.random.default_rng()", "chance (numpy.random.default_rng)"),
        ("np.random.seed()", "chance (numpy.random.seed)"),
        ("x = da.random.random((3, 3))", "chance (dask.array.random.random)"),
        ("[uuid4() for _ in 'ab']", "chance (uuid.uuid4)"),
        ("requests.get(u).json()", "the network (requests.get)"),
        ("with urllib.request.urlopen(u) as f: pass", "the network (urllib.request.urlopen)"),
        ("!wget -q u", "the network (!wget)"),
        ("who = input('name?')", "a person's answer (input)"),
        ("p = getpass.getpass()", "a person's answer (getpass.getpass)"),
        ("n = os.cpu_count()", "the machine it runs on (os.cpu_count)"),
    ],
)
def test_a_call_that_brings_something_in_is_named(source, phrase):
    """By the name that it has in its library, whatever the notebook calls it."""
    assert from_outside(recipe(IMPORTS, source)) == {2: (phrase,)}


@pytest.mark.parametrize(
    "source",
    [
        "time.localtime(0)", "g = np.random.default_rng(3)", "np.random.seed(3)", "time.sleep(1)",
        "g = random.Random(1)", "dt.datetime(2020, 1, 1)", "x = da.random.default_rng(1)",
        "def later():\n    return time.time()", "t = obj.time.time()", "class time: pass\nnow(1)",
        "da.random.seed(1); x = da.random.random(3)", "urllib.request.Request('x')",
        "def input(x):\n    return x\nclass A: pass",
    ],
)  # fmt: skip
def test_what_is_decided_by_the_notebook_is_no_mark(source):
    """Arguments, seeds, and functions that are only defined."""
    assert from_outside(recipe(IMPORTS, source)) == {}


def test_a_function_counts_where_it_may_be_called():
    """Also through another function."""
    functions = ["def f():\n    return uuid4()", "def g():\n    return f()"]
    cells = [IMPORTS, *functions, "x = g()", "x + 1"]
    found = recipe(*cells, changed={2: ["f"], 3: ["g"], 4: ["x"]})
    refers = {"f": ("uuid4",), "g": ("f", definition("f"))}
    checkpoints = tuple(
        Checkpoint(
            c.cell,
            c.code,
            objects=tuple(
                StoredObject(o.names, o.digest, o.blob, refers=refers.get(o.names[0], ()))
                for o in c.objects
            ),
        )
        for c in found.checkpoints
    )
    found = Recipe({}, found.cells, checkpoints, found.environment)
    assert from_outside(found) == {4: ("chance (uuid.uuid4)",)}


def test_a_generator_that_nobody_seeded_is_chance():
    """Only the first state is one of chance; the second follows from it, or from a seed."""
    draws = ["x = random.random()", "y = random.random()"]
    changed = {2: ["<nbrw:random>"], 3: ["<nbrw:random>"]}
    found = from_outside(recipe(IMPORTS, *draws, changed=changed))
    assert found == {2: ("chance (random, which nothing seeded)",)}
    assert from_outside(recipe(IMPORTS, "random.seed(1)", *draws, changed=changed)) == {}
    changed = {1: ["<nbrw:numpy.random>"], 3: ["<nbrw:numpy.random>"]}
    found = from_outside(recipe(IMPORTS, "m = fit()", "m = fit()", changed=changed))
    assert found == {3: ("chance (numpy.random, which nothing seeded)",)}  # 1 loads it
    changed = {2: ["<nbrw:numpy.random>"]}
    found = from_outside(recipe(IMPORTS, "x = np.random.rand()", changed=changed))
    assert found == {2: ("chance (numpy.random, which nothing seeded)",)}


def test_a_connection_that_the_audit_saw_is_a_mark():
    """Whatever library made it."""
    found = from_outside(recipe(IMPORTS, "d = pd.read_csv(u)", online=(2,)))
    assert found == {2: ("the network",)}
    assert outside_lines(found) == [
        "cell 2 is not repeatable by itself: it takes the network from outside"
    ]
