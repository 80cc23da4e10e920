"""Tables of what tasks came to, by the contents of their inputs."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_record import TaskRecord, write_tasks
from nbrw_runtime.task_table import TaskTables
from nbrw_runtime.task_worker import look_up, row_name

NAMES = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(
    rows=st.dictionaries(NAMES, st.recursive(st.integers() | st.text(), st.lists), max_size=40),
    others=st.lists(NAMES, max_size=5),
)
def test_each_row_is_found_by_its_name_and_no_other(tmp_path_factory, rows, others):
    """Whatever is in them and however long they are."""
    path = tmp_path_factory.mktemp("table") / "some.table"
    path.write_text("".join(f"{name} {json.dumps(rows[name])}\n" for name in sorted(rows)) or "\n")
    assert {name: look_up(str(path), name) for name in rows} == rows
    assert all(look_up(str(path), name) is None for name in set(others) - rows.keys())


def hexed(text):
    """A digest's digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def tables(tmp_path):
    """Makes tables of some records whose results are in a store."""
    store = DirectoryStore(tmp_path / "store")
    segment = store.put(b"results")

    def make(*records):
        document = store.put(write_tasks(r(segment) for r in records))
        index = TaskIndex(StackedStore([store]), {1: document})
        return TaskTables(index, str(tmp_path / "spool"))

    return make


def record(name, local="", inputs=(), **more):
    """A task's record, of a segment that is yet to be known."""
    more = {"digest": hexed(f"result of {name}"), **more}
    return lambda segment: TaskRecord(
        name, local=local, inputs=tuple(inputs), segment=segment, **more
    )


def test_a_table_has_the_results_whose_inputs_are_known_and_nothing_else(tables):
    """An input of which nobody knows what it came to says nothing; nor what must not be used."""
    found = tables(
        record("a"),
        record("b", unsafe=True),
        record("f-a", "f", ["a", "=5"], reads={"/data": hexed("data")}),
        record("f-b", "f", ["b", "=5"]),
        record("f-c", "f", ["c", "=5"]),
        record("f-unsafe", "f", ["a", "=6"], unsafe=True),
        record("g-a", "g", ["a", "=5"]),
    )
    path = found.path("f")
    row = look_up(path, row_name([hexed("result of a"), "=5"]))
    assert (row["fingerprint"], row["reads"]) == ("f-a", {"/data": hexed("data")})
    assert row["where"]["digest"] == hexed("result of f-a")
    assert len(open(path).read().splitlines()) == 1
    assert found.path("f") == path != found.path("g")
    assert found.path("h") == ""


def test_results_of_classes_that_are_others_now_are_in_no_table(tables, tmp_path):
    """A table is made for the classes as they are."""
    found = tables(record("a"), record("f-a", "f", ["a"], classes=("Point nbrw-1",)))
    assert found.path("f")
    found._index.foreign = lambda classes: "Point is another"
    found._index._lost.clear()
    assert found.path("f") == ""


def test_a_table_that_cannot_be_written_is_none(tables, tmp_path):
    """Then the task runs."""
    found = tables(record("a"), record("f-a", "f", ["a"]))
    (tmp_path / "spool").write_text("a file, where a directory would have to be")
    assert found.path("f") == ""
