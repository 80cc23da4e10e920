"""What a worker keeps of a task, and what not; how it is gathered and loaded again."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nbrw_runtime import task_ship
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.task_collect import TaskCollector
from nbrw_runtime.task_cutoff import Facts
from nbrw_runtime.task_index import TaskIndex
from nbrw_runtime.task_record import TaskRecord, either, read_tasks, write_tasks
from nbrw_runtime.task_worker import has_changed


class Node:
    """Stands for a node of a graph."""

    def __init__(self, function):
        self.function = function

    def __call__(self, inputs):
        return self.function(**inputs)


class Bench:
    """One worker, in this process, with a store and a collector."""

    def __init__(self, place):
        self.place = place
        self.module = task_ship.module()
        self.store = DirectoryStore(place / "store")
        self.spool = place / "spool"
        self.module.configure(str(place / "store"), str(self.spool), ["/usr/lib/"])
        self.collector = TaskCollector(self.spool)

    def run(self, function, fingerprint="f", **inputs):
        """Execute as a worker does."""
        return self.module.run(
            (fingerprint, "label", str(self.spool)), self.module.Box(Node(function)), inputs
        )

    def records(self):
        """What was collected, by fingerprint."""
        found = self.collector.collect(self.store)
        if found is None:
            return {}
        document, blobs = found
        assert all(blob in self.store for blob in blobs)
        return {record.fingerprint: record for record in self.read(document)}

    def read(self, document):
        """A document's records."""
        return read_tasks(self.store.get(document), "test")

    def index(self, data=()):
        """An index of what was collected."""
        document, _ = self.collector.collect(self.store)
        return TaskIndex(StackedStore([self.store]), {1: document}, data)


@pytest.fixture
def bench(tmp_path):
    """A fresh one."""
    return Bench(tmp_path)


@pytest.mark.parametrize(
    "value",
    [1, "text", {"a": [1, {2}]}, np.arange(50_000.0), np.zeros(0), [np.ones(20_000), "x"], None],
    ids=repr,
)
def test_a_result_comes_back_as_it_was(bench, value):
    """Small ones from a segment, large buffers from blobs of their own."""
    bench.run(lambda: time.sleep(0.01) or value)
    index = bench.index()
    record = index.find("f")
    assert record.is_stored and record.label == "label" and record.seconds >= 0.01
    found = bench.module.load(index.place(record))
    np.testing.assert_equal(found, value)
    if record.buffers:
        assert isinstance(found, (np.ndarray, list))


def test_a_record_says_where_the_same_is_stored_as_a_futures_value(bench):
    """Unless there is no result, so that nobody would load it."""
    bench.run(lambda: time.sleep(0.01) or "stored")
    bench.run(lambda: open(bench.place / "out", "w").close(), "g")
    values = {"f": digest_bytes(b"f"), "g": digest_bytes(b"g"), "h": digest_bytes(b"h")}
    document, blobs = bench.collector.collect(bench.store, values=values)
    found = {record.fingerprint: record for record in bench.read(document)}
    assert found["f"].value == values["f"] and found["g"].value is None
    assert values["f"] not in blobs  # it belongs to the checkpoint of the future


def test_what_is_loaded_may_be_written_to_and_the_store_stays(bench):
    """Buffers are private maps of the blobs."""
    bench.run(lambda: time.sleep(0.01) or np.arange(50_000.0))
    index = bench.index()
    for _ in range(2):
        found = bench.module.load(index.place(index.find("f")))
        assert found[1] == 1.0
        found[1] = 7.0


def test_a_result_with_a_flipped_bit_is_refused(bench):
    """In the segment as in a blob; the path is named."""
    bench.run(lambda: time.sleep(0.01) or (np.arange(50_000.0), "x" * 100))
    index = bench.index()
    where = index.place(index.find("f"))
    for path in (where["path"], where["buffers"][0][0]):
        data = bytearray(open(path, "rb").read())
        data[-20] ^= 1
        os.chmod(path, 0o644)
        with open(path, "wb") as stream:
            stream.write(data)
        with pytest.raises(ValueError, match="corrupt"):
            bench.module.load(where)
        data[-20] ^= 1
        with open(path, "wb") as stream:
            stream.write(data)
    bench.module.load(where)


def test_an_exception_is_the_tasks_and_is_not_kept(bench):
    """Nothing is known of it afterwards."""
    with pytest.raises(ZeroDivisionError):
        bench.run(lambda: 1 / 0)
    assert bench.records() == {}


def test_files_that_a_task_read_are_its_inputs(bench):
    """By content; one that is not there, and the names in a directory, too; software is not."""
    (bench.place / "in.csv").write_text("a,b")

    def task():
        open(bench.place / "in.csv").read()
        os.listdir(bench.place / "spool/..")
        try:
            open(bench.place / "none")
        except OSError:
            return 1

    (bench.place / "spool").mkdir(exist_ok=True)
    bench.run(task)
    record = bench.records()["f"]
    place = str(bench.place)
    assert record.reads[f"{place}/in.csv"] == digest_bytes(b"a,b").hex
    assert record.reads[f"{place}/none"] is None
    assert f"{place}/" in record.reads
    assert not any(path.startswith("/usr/lib/") for path in record.reads)
    assert not has_changed(f"{place}/in.csv", record.reads[f"{place}/in.csv"])
    (bench.place / "in.csv").write_text("a,c")
    assert has_changed(f"{place}/in.csv", record.reads[f"{place}/in.csv"])
    (bench.place / "none").touch()
    assert has_changed(f"{place}/none", None)
    assert has_changed(f"{place}/", record.reads[f"{place}/"])


@pytest.mark.parametrize(
    "change",
    [
        lambda place: open(place / "out", "w").close(),
        lambda place: os.mkdir(place / "made"),
        lambda place: os.remove(place / "there"),
        lambda place: os.rename(place / "there", place / "else"),
        lambda place: os.open(place / "out", os.O_CREAT | os.O_WRONLY),
        lambda place: os.system("true"),
    ],
    ids=["write", "mkdir", "remove", "rename", "os.open", "system"],
)
def test_a_task_that_changes_something_outside_is_never_used_again(bench, change):
    """Nor is anything that depends on it."""
    (bench.place / "there").touch()
    bench.run(lambda: change(bench.place) and 1)
    record = bench.records()["f"]
    assert record.unsafe and "changes something outside" in record.refused
    assert not record.is_stored


def test_a_file_that_changes_while_the_task_runs_makes_it_unsafe(bench):
    """What it read is not known."""
    path = bench.place / "in"
    path.write_text("a")

    def task():
        open(path).read()
        bench.module._uses.active = False  # somebody else writes
        path.write_text("b")
        bench.module._uses.active = True
        return 1

    bench.run(task)
    record = bench.records()["f"]
    assert record.unsafe and "changed while the task ran" in record.refused


def test_what_cannot_be_kept_is_computed_again(bench):
    """Iterators and what cannot be pickled: what depends on them may be kept."""
    bench.run(lambda: iter([1]), "iterator")
    bench.run(lambda: (n for n in range(3)), "generator")
    bench.run(lambda: [open("/usr/lib/os-release")], "file")
    found = bench.records()
    assert not any(record.is_stored or record.unsafe for record in found.values())
    assert "iterator" in found["iterator"].refused
    assert "cannot be pickled" in found["file"].refused


def test_a_result_that_is_dearer_to_keep_than_to_compute_is_not_kept(bench):
    """Unless its inputs are dear to load; the decision has its figures."""
    bench.run(lambda: np.zeros(500_000), "cheap")
    bench.run(lambda: time.sleep(0.1) or np.zeros(500_000), "dear")
    big = np.zeros(20_000_000)
    bench.run(lambda x: x[:500_000].copy(), "from much", x=big)
    found = bench.records()
    assert not found["cheap"].is_stored and "4000" in found["cheap"].refused
    assert found["dear"].is_stored and found["from much"].is_stored


def test_a_draw_from_the_global_generator_is_kept_or_unsafe(bench):
    """Loaded it is what it was; computed again it would be another."""
    bench.run(lambda: np.random.rand(), "small")
    bench.run(lambda: np.random.rand(500_000), "large")
    found = bench.records()
    assert found["small"].is_stored and not found["small"].unsafe
    assert found["large"].unsafe


def test_two_results_of_one_fingerprint_are_none(bench):
    """The task is not what its fingerprint says; equal ones are one."""
    values = iter([1, 2])
    for _ in range(2):
        bench.run(lambda: next(values), "twice")
        bench.run(lambda: 5, "same")
    found = bench.records()
    assert found["twice"].unsafe and found["same"].is_stored


def test_what_a_killed_worker_left_counts_as_far_as_it_goes(bench):
    """A line that is cut off, and a pickle that is not whole, are nothing."""
    bench.run(lambda: 1, "whole")
    bench.run(lambda: 2, "cut")
    (lines,) = bench.spool.glob("*.jsonl")
    data = lines.read_bytes()
    lines.write_bytes(data[:-10])
    (segment,) = bench.spool.glob("*.seg")
    assert set(bench.records()) == {"whole"}
    lines.write_bytes(data)  # the rest of the line arrives
    assert set(bench.records()) == {"cut"}
    lost = json.loads(data.splitlines()[0])
    lost["offset"] = segment.stat().st_size
    lines.write_bytes(data + json.dumps(lost).encode() + b"\nno json\n[1]\n")
    assert bench.records() == {}


def test_a_full_disk_is_no_affair_of_the_task(bench, monkeypatch):
    """Its result is given, and it is not kept."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.module, "_put_blob", full)
    assert len(bench.run(lambda: time.sleep(0.01) or np.zeros(20_000))) == 20_000
    assert bench.records()["f"].unsafe
    monkeypatch.setattr(bench.module, "_segment", full)
    assert bench.run(lambda: 3) == 3


def test_a_document_is_read_as_it_was_written():
    """Equal records give equal bytes, in whatever order."""
    records = [
        TaskRecord("b", "x", 1.5, digest_bytes(b"s"), 3, 9, "ab", (digest_bytes(b"t"),), 77,
                   {"/in": None, "/d/": "00"}),
        TaskRecord("a", refused="why", unsafe=True),
    ]  # fmt: skip
    data = write_tasks(records)
    assert data == write_tasks(records[::-1])
    assert read_tasks(data, "test") == records[::-1]
    assert either(records[1], replace(records[0], fingerprint="a")) == records[1]


@pytest.mark.parametrize("before", [0, 1, 2], ids=lambda n: f"{n} drawn before")
def test_each_kind_of_draw_from_the_global_generator_is_seen(bench, before):
    """Also the second of two Gaussians, which are made together."""
    np.random.seed(1)
    np.random.normal(size=before)
    for number, draw in enumerate(
        [np.random.normal, np.random.normal, lambda: np.random.rand(), lambda: np.random.seed(5)]
    ):
        state = bench.module._generator()
        assert bench.module._generator() == state
        draw()
        assert bench.module._generator() != state, number
    state = bench.module._generator()
    np.random.default_rng(3).normal()
    assert bench.module._generator() == state


def test_a_global_generator_of_another_kind_is_looked_at_too(bench):
    """It may be exchanged."""
    usual = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(1))
        state = bench.module._generator()
        assert bench.module._generator() == state
        np.random.rand()
        assert bench.module._generator() != state
    finally:
        np.random.set_bit_generator(usual)


def test_a_task_in_a_table_runs_if_its_file_changed_or_anything_is_wrong_with_the_table(bench):
    """And is loaded only if its inputs came to what they were."""
    module, source = bench.module, bench.place / "in.txt"
    source.write_text("1")
    bench.run(lambda: 5, "five")
    index = bench.index()
    five, content = index.find("five"), index.content("five")
    place = index.place(five)
    row = {"where": place, "fingerprint": "old", "reads": {}}
    with_file = {**row, "reads": {str(source): has_digest("1"), str(bench.place / "none"): None}}
    table = bench.place / "some.table"

    def outcome(value, row, name=None):
        name = name or module.row_name([content, "=2"])
        table.write_text(f"{name} {json.dumps(row)}\n")
        box = module.Box(Node(lambda x, y: "ran"))
        known = [("x", ""), ("y", "=2")]
        return module.run_unless_in_table(("f", "l", ""), box, {"x": value, "y": 2}, table, known)

    assert outcome(5, row) == outcome(5, with_file) == 5
    assert outcome(6, row) == outcome(5, row, "0" * 64) == "ran"
    assert outcome(5, {**row, "where": {**place, "path": "/nowhere"}}) == "ran"
    assert outcome(5, "no row") == "ran"
    source.write_text("2")
    assert outcome(5, with_file) == "ran"
    source.write_text("1")
    assert outcome(5, with_file) == 5
    (bench.place / "none").write_text("now it is there")
    assert outcome(5, with_file) == "ran"
    assert (
        module.run_unless_in_table(
            ("f", "l", ""), module.Box(Node(lambda x: "ran")), {"x": 5}, "/no/table", [("x", "")]
        )
        == "ran"
    )


def has_digest(text):
    """The digest of a file with this text."""
    return digest_bytes(text.encode()).hex


def test_a_task_is_not_spared_if_a_task_above_wrote_the_file_that_it_read(bench):
    """Though its inputs came to what they were: a path, say."""
    module, source = bench.module, bench.place / "in.txt"
    source.write_text("1")
    bench.run(lambda: 5, "five")
    index = bench.index()
    place, content = index.place(index.find("five")), index.content("five")

    def outcome(reads):
        box = module.Box(Node(lambda x: "ran"))
        return module.run_unless(
            ("f", "l", ""), box, {"x": 5}, [({"x": content}, place, "o", reads)]
        )

    assert outcome({str(source): has_digest("1")}) == outcome({}) == 5
    source.write_text("2")
    assert outcome({str(source): has_digest("1")}) == "ran"


@pytest.mark.parametrize("what", ["Model()", "Model", "make", "[Kind.A]", "lambda: Model()"])
def test_what_names_code_of_the_notebooks_own_has_no_content(bench, monkeypatch, what):
    """Its pickle is the same when that code is edited, but not what it does."""
    (bench.place / "made_up_model.py").write_text(
        "import enum\nclass Model: ...\nclass Kind(enum.Enum):\n    A = 1\ndef make(): ...\n"
    )
    monkeypatch.syspath_prepend(str(bench.place))
    space = {"__name__": "__main__"}
    exec("from made_up_model import Kind, Model, make", space)
    software = ["/usr/lib/", sys.prefix + "/", sys.base_prefix + "/"]
    bench.module.configure(str(bench.place / "store"), str(bench.spool), software)
    value = eval(what, space)
    try:
        bench.run(lambda: value, "own")
        bench.run(lambda: np.float64(3), "library")
        bench.run(lambda: 5, "five")
        index = bench.index()
        assert index.find("own").is_stored and not index.content("own")
        assert index.content("library")
        place, expected = index.place(index.find("five")), {"x": index.find("own").content}
        box = bench.module.Box(Node(lambda x: "ran"))
        ticket = ("f", "l", str(bench.spool))
        candidates = [(expected, place, "five", {})]
        assert bench.module.run_unless(ticket, box, {"x": value}, candidates) == "ran"
    finally:
        del sys.modules["made_up_model"]


class Thing:
    """Of no library that is known."""

    def __init__(self):
        self.parts = [1]

    @functools.cached_property
    def worked_out(self):
        """Kept once it was asked for."""
        return len(self.parts)


@pytest.mark.parametrize(
    ("make", "change", "changes"),
    [
        (lambda: [1, 2], lambda x: x.append(3), True),
        (lambda: {"a": {"b": 1}}, lambda x: x["a"].update(b=2), True),
        (lambda: np.arange(50_000), lambda x: x.__setitem__(7, 0), True),
        (lambda: np.arange(9).reshape(3, 3)[:, 1], lambda x: np.add(x, 1, out=x), True),
        (lambda: pd.DataFrame({"x": [1, 2]}), lambda x: x.insert(0, "z", 0), True),
        (lambda: pd.DataFrame({"x": [1, 2]}), lambda x: x.attrs.update(unit="m"), True),
        (lambda: pd.Series(["a", "b"]), lambda x: x.replace("a", "c", inplace=True), True),
        (Thing, lambda x: x.parts.append(2), False),
        (lambda: [Thing()], lambda x: setattr(x[0], "new", 2), False),
    ],
)  # fmt: skip
def test_a_task_that_changes_its_input_in_place_is_never_used_again(bench, make, change, changes):
    """Nor is that input: who comes later would not get what it has become. If nobody can come
    later, there is no harm.
    """
    facts = {"f": Facts("l", ("one", "two", "=three"))}

    def outcome(*ticket):
        box = bench.module.Box(Node(lambda a, b, c: change(b)))
        inputs = {"a": make(), "b": make(), "c": make()}
        bench.module.run(("f", "label", str(bench.spool), *ticket), box, inputs)
        document, _ = bench.collector.collect(bench.store, facts)
        return {record.fingerprint: record.unsafe for record in bench.read(document)}

    assert outcome([0, 1, 2], changes) == {"f": True, "two": True}
    assert outcome([0, 2], changes) == outcome() == {"f": False}


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize(
    ("make", "use"),
    [
        (lambda: pd.DataFrame({"x": [1, 2], "y": [1.0, 2]}), lambda x: x.values.sum()),
        (lambda: pd.DataFrame({"x": ["a", "b"], "y": [1, 2]}), lambda x: x.groupby("x").sum()),
        (lambda: pd.concat([pd.DataFrame({"x": [1]})] * 2), lambda x: x.loc[0].copy()),
        (lambda: [{1, 2}, (3, "x")], lambda x: sorted(x[0])),
        (lambda: iter([1, 2]), list),
        (Thing, lambda x: x.worked_out),
    ],
)
def test_to_use_an_input_is_not_to_change_it(bench, make, use, changes):
    """Whatever it works out for itself, and keeps."""
    box = bench.module.Box(Node(lambda x: use(x)))
    bench.module.run(("f", "label", str(bench.spool), [0], changes), box, {"x": make()})
    assert not bench.records()["f"].unsafe
