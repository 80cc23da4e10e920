"""Fingerprints of graphs: inputs, futures, occurrences, and what a person is told."""

from __future__ import annotations

import sys
import time

import dask
import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef, convert_legacy_graph

from nbrw_runtime.task_explain import first_difference
from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter, Refusal

CELL = """
LIMIT = 10.0
ROWS = [1, 2]
def clean(x):
    return x + len(ROWS)
def score(x, k=1):
    return clean(x) > LIMIT * k
def chance():
    import random
    return random.random()
"""


@pytest.fixture
def cell():
    """The namespace of a notebook, and what makes fingerprints for it."""
    space = {"__name__": "__main__"}
    exec(CELL, space)
    return space, Fingerprinter(space, "/nowhere")


def only(fingerprinter, node):
    """The fingerprint of a graph of one task."""
    return fingerprinter.fingerprints({"k": node}, {})["k"]


def test_a_global_that_changes_between_two_calls_is_seen(cell):
    """Nothing is remembered that may have changed: not rebound, and not in place."""
    space, fingerprinter = cell
    task = Task("k", space["score"], 1)
    seen = {only(fingerprinter, task).digest}
    for change in ("LIMIT = 5.0", "ROWS.append(3)", "def clean(x): return x", "del LIMIT"):
        exec(change, space)
        seen.add(only(fingerprinter, task).digest)
    space["score"].__defaults__ = (2,)
    seen.add(only(fingerprinter, task).digest)
    assert len(seen) == 6


def test_inputs_are_named_in_order_and_their_fingerprints_count(cell):
    """A task has the keys of its inputs by ordinal; the local digest leaves out what they are."""
    space, fingerprinter = cell
    graph = {
        "a": Task("a", len, [1]),
        "b": Task("b", len, [2]),
        "ab": Task("ab", max, TaskRef("a"), TaskRef("b")),
        "ba": Task("ba", max, TaskRef("b"), TaskRef("a")),
    }
    found = fingerprinter.fingerprints(graph, {})
    assert (found["ab"].inputs, found["ba"].inputs) == (("a", "b"), ("b", "a"))
    assert found["ab"].digest != found["ba"].digest
    assert found["ab"].local == found["ba"].local


def test_the_order_of_the_graph_does_not_matter(cell):
    """A graph in another order has the same fingerprints, however long its chains are."""
    _, fingerprinter = cell
    graph = {n: Task(n, abs, TaskRef(n - 1) if n else -1) for n in range(3000)}
    turned = dict(reversed(list(graph.items())))
    assert fingerprinter.fingerprints(graph, {}) == fingerprinter.fingerprints(turned, {})


def test_futures_are_inputs_by_their_fingerprints(cell):
    """A key that is not in the graph is what is known of it; unknown ones are refused."""
    _, fingerprinter = cell
    made = fingerprinter.fingerprints({"f": Task("f", len, [1])}, {})
    task = {"k": Task("k", abs, TaskRef("f"))}
    together = fingerprinter.fingerprints({"f": Task("f", len, [1]), **task}, {})
    assert fingerprinter.fingerprints(task, made)["k"] == together["k"]
    unknown = fingerprinter.fingerprints(task, {})["k"]
    assert unknown == Refusal("it depends on `f`, which is not known")


def test_an_alias_is_what_it_stands_for(cell):
    """An alias has the fingerprint of its target, and that as its input."""
    _, fingerprinter = cell
    graph = {"d": DataNode("d", [1]), "x": Alias("x", "d")}
    found = fingerprinter.fingerprints(graph, {})
    assert found["x"].digest == found["d"].digest
    assert found["x"].inputs == ("d",)


def test_all_below_a_refusal_names_the_first(cell):
    """However far below: the reason names the task that has no fingerprint, and why."""
    _, fingerprinter = cell
    graph = {
        "a": Task("a", len, (n for n in ())),
        "b": Task("b", abs, TaskRef("a")),
        "c": Task("c", abs, TaskRef("b")),
    }
    found = fingerprinter.fingerprints(graph, {})
    assert found["a"].reason == "its argument `obj` is a generator"
    assert found["b"] == found["c"]
    assert found["c"].reason.startswith("it depends on `a`, which has no fingerprint: its argument")


def test_a_graph_that_goes_in_circles_is_refused(cell):
    """It does not end in an endless loop."""
    _, fingerprinter = cell
    graph = {"a": Task("a", abs, TaskRef("b")), "b": Task("b", abs, TaskRef("a"))}
    found = fingerprinter.fingerprints(graph, {})
    assert all(isinstance(value, Refusal) for value in found.values())


def test_equal_tasks_are_set_apart_by_their_occurrence(cell):
    """Two draws of one function are equal tasks, until the caller says that they are two."""
    space, fingerprinter = cell
    graph = {key: Task(key, space["chance"]) for key in ("a", "b")}
    same = fingerprinter.fingerprints(graph, {})
    assert same["a"].digest == same["b"].digest
    assert same["a"].outside == ("chance (random.random)",)
    apart = fingerprinter.fingerprints(graph, {}, {"a": 0, "b": 1})
    assert len({found.digest for found in apart.values()} | {same["a"].digest}) == 3


def test_texts_that_may_name_files_are_told(cell):
    """Also those in containers; others are not."""
    _, fingerprinter = cell
    task = Task("k", len, ["a.csv", {"p": "/data/x"}, "plain text"], "no/where")
    assert only(fingerprinter, task).texts == ("a.csv", "/data/x", "no/where")


def test_a_module_edited_after_it_was_loaded_has_a_fingerprint_of_its_own(tmp_path, monkeypatch):
    """What runs is neither the old file nor the new one: neither's results are hits."""
    file = tmp_path / "edited_later_module.py"
    monkeypatch.syspath_prepend(tmp_path)
    file.write_text("def f(x): return x\n")
    space = {"__name__": "__main__"}
    exec("import edited_later_module as m\ndef task(x): return m.f(x)", space)
    fingerprinter = Fingerprinter(space, str(tmp_path))
    task = Task("k", space["task"], 1)
    first = only(fingerprinter, task)
    file.write_text("def f(x): return -x\n")
    between = only(fingerprinter, task)
    sys.modules.pop("edited_later_module")
    exec("import edited_later_module as m", space)
    after = only(Fingerprinter(space, str(tmp_path)), task)
    sys.modules.pop("edited_later_module")
    assert len({first.digest, between.digest, after.digest}) == 3


def test_a_failure_within_an_object_refuses_its_task_only(cell):
    """An object whose pickling raises does no harm to the rest of the graph."""
    _, fingerprinter = cell

    class Odd:
        def __reduce_ex__(self, protocol):
            raise ValueError("never")

    found = fingerprinter.fingerprints({"a": Task("a", len, [Odd()]), "b": Task("b", len, [1])}, {})
    assert found["a"].reason == ("its argument `obj` holds of type `Odd`, which cannot be pickled")
    assert isinstance(found["b"], Fingerprint)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("pass", ""),
        ("LIMIT = 5.0", "global `LIMIT`: 10.0 -> 5.0"),
        ("del LIMIT", "global `LIMIT`: 10.0 -> absent"),
        ("ROWS = [1]", "global `ROWS`: [1, 2] -> [1]"),
        ("score.__defaults__ = (2,)", "default `k`: 1 -> 2"),
    ],
)
def test_the_first_difference_is_told_in_words(cell, change, line):
    """What changed is named with both values."""
    space, fingerprinter = cell
    task = Task("k", space["score"], 1)
    before = fingerprinter.ingredients(task)
    exec(change, space)
    assert first_difference(before, fingerprinter.ingredients(task)) == line


def test_a_changed_helper_and_argument_are_named(cell):
    """Code is told by a digest of itself, small arguments by their value."""
    space, fingerprinter = cell
    before = fingerprinter.ingredients(Task("k", space["score"], 1))
    assert first_difference(before, fingerprinter.ingredients(Task("k", space["score"], 2))) == (
        "argument `x`: 1 -> 2"
    )
    exec("def clean(x): return x", space)
    after = fingerprinter.ingredients(Task("k", space["score"], 1))
    assert first_difference(before, after) == "helper `clean`: its code changed"


def test_ingredients_of_a_fused_task_are_those_of_its_parts(cell):
    """Of the last part first; libraries with their versions."""
    space, fingerprinter = cell
    parts = Task("a", space["clean"], 1), Task("b", space["score"], TaskRef("a"))
    found = fingerprinter.ingredients(Task.fuse(*parts))
    assert list(found)[:3] == ["function score", "default k", "helper clean"]
    assert found["global LIMIT"] == "10.0"


def test_a_data_set_that_is_opened_twice_is_the_same(tmp_path, monkeypatch):
    """xarray and Dask draw tokens for files and locks; the file's name is told."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)
    xarray.Dataset({"t": ("a", [1.0, 2.0])}).to_netcdf("x.nc", engine="scipy")

    def opened(limit):
        space = {"__name__": "__main__"}
        exec(f"K = {limit}\ndef f(x): return x * K", space)
        data = xarray.open_dataset("x.nc", engine="scipy", chunks={"a": 1}).t.data
        (made,) = dask.optimize(data.map_blocks(space["f"], dtype=float))
        graph = convert_legacy_graph(dict(made.__dask_graph__()))
        found = Fingerprinter(space, str(tmp_path)).fingerprints(graph, {})
        assert str(tmp_path / "x.nc") in {text for one in found.values() for text in one.texts}
        return [found[key].digest for key in made.__dask_keys__()]

    assert opened(2) == opened(2)
    assert set(opened(2)).isdisjoint(opened(3))


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_function_draws_from_outside_where_it_has_no_argument(cell, first):
    """Whatever other tasks of the graph give it."""
    graph = {"a": Task("a", time.localtime, 5), "b": Task("b", time.localtime)}
    order = sorted(graph, reverse=first == "b")
    found = cell[1].fingerprints({key: graph[key] for key in order}, {})
    assert not found["a"].outside and found["b"].outside
