"""Whatever is edited: a repeat gives the outputs that running the whole notebook gives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import repeat_harness
from repeat_harness import Repeat, audit, plain_run

STATEMENTS = (
    "a = [1]", "a = [1, 2]", "b = a", "b = [a, 2]", "b = list(a)", "a.append(len(a))",
    "b.append(0)", "c = {'k': a}", "c['k'].append(5)", "c = (a, b)", "n = 1", "n = 2", "n += 1",
    "del b", "del n", "def f():\n    a.append(n)\n    return len(a)",
    "def f():\n    global n\n    n = n * 2\n    return n", "def g():\n    return f() + 1",
    "m = f()", "m = g()", "h = lambda: (a, n)", "print(h())",
    "class K:\n    items = a\n    def add(self):\n        self.items.append(n)", "k = K()",
    "k.add()", "print(k.items)", "i = iter(a)", "print(next(i, None))", "j = [i, a]",
    "import random\nrandom.seed(n)", "import random\nrandom.seed(3)",
    "import random\nr = random.random()", "print(r)",
    "open('t.txt', 'w').write(str(n))", "print(open('t.txt').read())",
    "print(open('in.txt').read())", "import os\nos.remove('t.txt')",
    "import os\nprint(sorted(p for p in os.listdir('.') if p[0] != '.'))", "exec('a.append(9)')",
    "import os\nos.environ['NBRW_Q'] = str(n)", "import os\nprint(os.environ.get('NBRW_Q'))",
    "import os\nos.environ.pop('NBRW_Q', None)",
    "import decimal\ndecimal.getcontext().prec = n + 3",
    "import decimal\nprint(decimal.Decimal(1) / 3)",
    "for _ in range(2):\n    a.append(_)", "a", "n", "b", "print(a, n)", "print(b)", "print(c)",
    "print(m)", "try:\n    n\nexcept NameError as e:\n    n = 0", "x, *b = a",
    "import os\nprint(os.path.exists('t.txt'))",
    "if n > 1:\n    b = [n]", "z = a + [n]", "z[0] = -1\nz", "q = _", "print(q)", "print(Out)",
    "c = c or {}", "w = [v for v in a]", "f.x = a", "print(f.x)",
)  # fmt: skip
ALL = (
    "for name in ('a', 'b', 'c', 'n', 'm', 'z', 'w', 'q', 'x', 'e', 'r'):\n"
    "    print(name, globals().get(name))"
)
cells = st.lists(
    st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=3).map("\n".join),
    min_size=2,
    max_size=8,
)


def edited(sources, edits, new):
    """The sources after these edits."""
    sources = list(sources)
    for (kind, where), source in zip(edits, new, strict=True):
        at = where % (len(sources) + 1)
        if kind == "insert":
            sources.insert(at, source)
        elif at < len(sources):
            if kind == "replace":
                sources[at] = source
            elif kind == "delete" and len(sources) > 1:
                del sources[at]
            elif kind == "move":
                sources.append(sources.pop(at))
    return sources


EDITS = st.lists(
    st.tuples(st.sampled_from(["replace", "insert", "delete", "move"]), st.integers(0, 8)),
    max_size=2,
)
NEW = st.lists(st.sampled_from(STATEMENTS), min_size=2, max_size=2)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(cells, EDITS, NEW, st.booleans(), st.booleans(), st.sampled_from([None, 0]))
@example(
    ["a = [1]", "a = [1]", "import os\nprint(sorted(os.listdir('.'))[-1:])\nq = _"],
    [("replace", 0)],
    ["open('t.txt', 'w').write('1')"] * 2,
    False,
    False,
    None,
)
@example(["n = 1\nn", "q = _"], [("insert", 0)], ["a = [1]"] * 2, True, False, None)
@example(["a = [1]\na = [1]", "a = [1]", "a"], [("replace", 0)], ["a = [1]"] * 2, False, False, 0)
@example(
    ["a = [1]\ni = iter(a)", "a.append(2)", "a"],
    [("replace", 2)],
    ["print(next(i))"] * 2,
    False,
    False,
    None,
)
def test_a_repeat_of_an_edited_notebook_gives_what_a_run_of_it_gives(
    sources, edits, new, whole, other_input, sweep_share
):
    """Outputs of all cells and, where ``whole``, the state in the end are equal; whether all names
    are looked at after each cell or not.
    """
    files, changed = {"in.txt": "1"}, {"in.txt": "2" if other_input else "1"}
    after = edited(sources, edits, new[: len(edits)])
    if whole:
        after.append(ALL)
    with (
        tempfile.TemporaryDirectory() as directory,
        mock.patch.object(repeat_harness, "SWEEP_SHARE", sweep_share),
    ):
        place = Path(directory)
        recipe, store = audit(place / "audit", sources, files)
        repeat = Repeat(place / "repeat", recipe, store, after, files=changed)
        # What no seed decides is the author's where it is restored: not compared.
        if "random()" not in "".join(after):
            expected = plain_run(place / "plain", after, changed)
            assert repeat.outputs == expected, (after, repeat.actions, repeat.notes)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(cells, st.lists(st.tuples(EDITS, NEW, st.booleans()), min_size=2, max_size=3))
def test_repeats_that_keep_results_give_what_runs_give(sources, rounds):
    """Edit, repeat, edit, repeat, and the first edit again, in one directory with one cache."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        recipe, store = audit(place / "audit", sources, {"in.txt": "1"})
        for number, (edits, new, other) in enumerate([*rounds, rounds[0]]):
            after = [*edited(sources, edits, new[: len(edits)]), ALL]
            files = {"in.txt": "2" if other else "1"}
            # Files that an earlier round left would be inputs of a plain run, too.
            work = place / "work"
            for name in ("t.txt",):
                (work / name).unlink(missing_ok=True)
            repeat = Repeat(work, recipe, store, after, files=files, cache=place / "cache")
            if "random()" not in "".join(after):
                expected = plain_run(place / f"plain{number}", after, files)
                assert repeat.outputs == expected, (after, repeat.actions, repeat.notes)
