"""Why tasks ran that are new or edited, in words; what looks private is not shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef

from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.private_values import is_hidden, looks_private
from nbrw_runtime.task_explain import MOST, Explainer, first_difference, presentable
from nbrw_runtime.task_fingerprint import Fingerprinter
from nbrw_runtime.task_reasons import (
    INPUTS,
    NEW,
    NO_AUDIT,
    NOT_RECORDED,
    UNKNOWN_LABEL,
    classes,
    in_words,
    reason_class,
    with_number,
)
from nbrw_runtime.task_record import TaskRecord
from nbrw_runtime.task_summary import OTHERS, summary

CODE, OTHER_CODE = "0123456789abcdef", "fedcba9876543210"


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("global THRESHOLD", "10.0", "5.0", "global `THRESHOLD`: 10.0 -> 5.0"),
        ("function risk_score", CODE, OTHER_CODE, "function `risk_score`: its code changed"),
        ("helper Model.fit", CODE, OTHER_CODE, "helper `Model.fit`: its code changed"),
        ("function f 2", CODE, OTHER_CODE, "function `f` (2): its code changed"),
        ("global f", "np:sin", f"function {CODE}", "global `f`: np:sin -> function"),
        ("library numpy", "2.1", "2.4.6", "library `numpy`: 2.1 -> 2.4.6"),
        ("module tools", CODE * 4, OTHER_CODE * 4, "module `tools`: its files changed"),
        ("argument x", f"ndarray {CODE}", f"ndarray {OTHER_CODE}",
         "argument `x`: another ndarray"),
        ("argument x", "3", f"ndarray {OTHER_CODE}", "argument `x`: 3 -> ndarray"),
        ("argument 2", "3", "4", "argument 2: 3 -> 4"),
        ("global N", CODE.replace("a", "0"), "1", f"global `N`: {CODE.replace('a', '0')} -> 1"),
        ("global SCALE", None, "2", "global `SCALE`: it is used now, and was not in the audit"),
        ("helper g", CODE, None, "helper `g`: it is not used any more"),
        ("python", "3.11", "3.12", "python: 3.11 -> 3.12"),
        ("value", "1", "2", "value: 1 -> 2"),
    ],
)  # fmt: skip
def test_a_difference_is_a_sentence(name, before, after, said):
    """Small values are shown, what has only a digest is not."""
    then = {"function other": CODE} | ({name: before} if before else {})
    now = {"function other": CODE} | ({name: after} if after else {})
    assert first_difference(then, now) == said
    assert first_difference(now, now) == ""


@pytest.mark.parametrize(
    ("name", "value", "private"),
    [
        ("global API_TOKEN", "'abc'", True),
        ("global password", "'abc'", True),
        ("argument client_secret", "'abc'", True),
        ("default key", "'abc'", True),
        ("global PIN", "1234", True),
        ("global CONFIG", "{'host': 'a', 'password': 'b'}", True),
        ("global url", "'https://ada:pw@example.org/x'", True),
        ("argument 1", "'ghp_16C7e42F292c6912E7710c838347Ae178B4a'", True),
        ("global header", "'Bearer abcdefgh1'", True),
        ("global x", "'AKIAIOSFODNN7EXAMPLE'", True),
        ("global THRESHOLD", "10.0", False),
        ("global path", "'data/climate/2019-01.parquet'", False),
        ("global columns", "['temperature_mean_2019', 'pressure']", False),
        ("global SEED", "12345678901234567890", False),
        ("global spin", "0.5", False),
    ],
)
def test_what_looks_private_is_hidden(name, value, private):
    """By its name, or by what is in it; in the record and in what is said."""
    assert looks_private(name, value) == private
    found = presentable({name: value})[name]
    assert (value not in found) == private == is_hidden(found)
    if private:
        other = presentable({name: value.replace("b", "c").replace("1", "2") + " "})
        said = first_difference({name: found}, other)
        assert said.endswith(": another value, not shown as it may be private")
        assert presentable({name: value})[name] == found


def test_code_and_versions_are_not_hidden_by_their_names():
    """A function may be called as it likes; and there are not too many ingredients, nor long."""
    found = {"function sort_keys": CODE, "library tokenizers": "0.1", "global token": f"str {CODE}"}
    assert presentable(found) == found
    assert len(presentable({f"global x{n}": "1" for n in range(500)})) == 100
    assert len(presentable({"global x": "1" * 5000})["global x"]) < 250


class Clock:
    """Goes on by a step with every look."""

    def __init__(self, step=0.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def explainer(records=(), step=0.0):
    """Nodes are their ingredients."""
    return Explainer(lambda node, graph: node, lambda: records, Clock(step))


def made(label, **ingredients):
    """An audit's record."""
    found = {f"global {name}": text for name, text in ingredients.items()}
    return TaskRecord(digest_bytes(repr(found).encode()).hex, label, ingredients=found)


def test_a_few_tasks_of_each_label_are_noted_in_an_audit():
    """In each cell anew; one that was noted is not noted again."""
    one = explainer()
    one.start_cell()
    for number in range(100):
        one.note("a", f"a{number}", {"global n": str(number)}, {})
    one.note("b", "b0", {"global n": "0"}, {})
    assert len(one.noted) == MOST + 1 and one.noted["b0"] == {"global n": "0"}
    one.start_cell()
    one.note("a", "a0", {"global n": "other"}, {})
    one.note("a", "new", {"global n": "1"}, {})
    assert one.noted["a0"] == {"global n": "0"} and "new" in one.noted


def test_a_miss_is_compared_with_the_task_of_the_audit_that_is_nearest():
    """Of the same label; the report has the difference, and numbers of all labels."""
    known = [made("f", x="1", y="1"), made("f", x="2", y="2"), made("g", x="3", y="2")]
    one = explainer(known)
    cell = one.start_cell()
    for _ in range(20):
        one.ran("f", NEW, {"global x": "3", "global y": "2"}, {})
    one.ran("f", "a task above it runs", {}, {})
    one.loaded("g")
    one.needless("h")
    value = cell.as_json()
    assert value["edits"] == [
        {"label": "f", "number": 20, "difference": "global `x`: 2 -> 3", "differences": 1}
    ]
    assert value["labels"]["f"] == {
        "loaded": 0, "run": 21, "needless": 0, "same": 0,
        "misses": {NEW: 20, "a task above it runs": 1},
    }  # fmt: skip
    assert value["labels"]["g"]["loaded"] == value["labels"]["h"]["needless"] == 1


def test_tasks_that_were_to_run_and_did_not_are_counted_as_loaded():
    """Their inputs came to the same; what was to be said of them is not."""
    one = explainer([made("f", x="1")])
    cell = one.start_cell()
    for reason in (NEW, "a task above it runs"):
        one.ran("f", reason, {"global x": "2"}, {})
        one.spared("f", reason)
    value = cell.as_json()
    assert value["edits"] == []
    assert value["labels"]["f"] == {"loaded": 2, "run": 0, "needless": 0, "same": 2, "misses": {}}


def test_what_is_new_in_a_repeat_is_noted_for_the_next():
    """If its result is kept."""
    one = explainer()
    one.start_cell()
    one.ran("f", NEW, {"global x": "1"}, {}, "f1")
    one.ran("f", NEW, {"global x": "2"}, {})
    one.ran("f", "a task above it runs", {"global x": "3"}, {}, "f3")
    assert one.noted == {"f1": {"global x": "1"}}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ((), NO_AUDIT),
        ([made("g", x="1")], UNKNOWN_LABEL),
        ([replace(made("f"), ingredients={})], NOT_RECORDED),
        ([made("f", x="1")], INPUTS),
    ],
)
def test_what_no_ingredient_tells_is_said_so(records, said):
    """No audit, no such task there, an older image, or something that is not shown."""
    one = explainer(records)
    cell = one.start_cell()
    one.ran("f", NEW, {"global x": "1"}, {})
    assert cell.as_json()["edits"][0]["difference"] == said


def test_looking_at_ingredients_ends_when_it_takes_too_long():
    """The first task of a label has more time than the others; counting goes on."""
    one = explainer([made("f", x="1")], step=0.008)
    cell = one.start_cell()
    for label in ("f", "f2"):
        for number in range(9):
            one.note(label, f"{label}{number}", {"global x": "1"}, {})
    assert list(one.noted) == ["f0", "f1", "f20"]
    slow = explainer([made("f", x="1")], step=0.1)
    cell = slow.start_cell()
    for _ in range(9):
        slow.ran("f", NEW, {"global x": "2"}, {})
    assert cell.of("f").run == 9 and cell.of("f").differences.total() == 1


def test_labels_without_end_are_counted_together():
    """A notebook may name every task otherwise."""
    one = explainer()
    cell = one.start_cell()
    for number in range(1000):
        one.ran(f"task {number}", "a task above it runs", {}, {})
    assert len(cell.labels) <= 65 and sum(c.run for c in cell.labels.values()) == 1000


def test_what_fails_while_it_is_looked_at_is_not_explained():
    """The task runs all the same."""

    def fails(node, graph):
        raise RuntimeError("odd")

    one = Explainer(fails, lambda: [made("f", x="1")], Clock())
    cell = one.start_cell()
    one.note("f", "a", {}, {})
    one.ran("f", NEW, {}, {})
    assert one.noted == {} and cell.as_json()["edits"] == [] and cell.of("f").run == 1

    def unreadable():
        raise OSError("gone")

    one = Explainer(lambda node, graph: node, unreadable, Clock())
    cell = one.start_cell()
    one.ran("f", NEW, {}, {})
    assert cell.as_json()["edits"][0]["difference"] == NO_AUDIT


# -- ingredients of real nodes ---------------------------------------------------------------------


def namespace(source):
    """A notebook's."""
    found = {"__name__": "__main__"}
    exec(source, found)
    return found


def ingredients(space, node, graph=None):
    """Of a node, in a namespace."""
    return Fingerprinter(space, "/w").ingredients(node, graph)


def test_literals_that_stand_in_the_graph_by_themselves_are_told():
    """Through an alias, too; what a task gives is an input."""
    space = namespace("def f(a, b, c): return a")
    graph = {"d": DataNode("d", 7), "e": Alias("e", "d"), "t": Task("t", len, "x")}
    node = Task("k", space["f"], TaskRef("d"), TaskRef("e"), TaskRef("t"))
    found = ingredients(space, node, graph)
    assert [found[f"argument {name}"] for name in "abc"] == ["7", "7", "an input"]
    assert ingredients(space, node)["argument a"] == "an input"


def test_a_list_of_inputs_is_told_by_what_is_in_it():
    """Not by the function of Dask's that makes it."""
    space = namespace("def f(parts): return parts")
    node = Task("k", space["f"], List(TaskRef("t"), 3))
    found = ingredients(space, node)
    assert sorted(text for text in found.values() if text in ("an input", "3")) == ["3", "an input"]
    assert not any("Container" in name for name in found)


def test_the_number_of_a_shuffle_is_no_ingredient():
    """Dask draws it; what else a shuffle is given is told."""
    shuffle = pytest.importorskip("distributed.shuffle._shuffle")
    node = Task("k", shuffle.shuffle_unpack, id="1a2b", output_partition=3, barrier_run_id=1)
    found = ingredients({"__name__": "__main__"}, node)
    assert "argument id" not in found and found["argument output_partition"] == "3"


def test_a_class_whose_metaclass_has_no_module_by_name_is_told():
    """As those that Cython makes: to ask the metaclass for its module gives a descriptor."""
    space = namespace(
        "class Meta(type):\n    __module__ = property(lambda cls: 'builtins')\n"
        "class Odd(metaclass=Meta): pass\n"
        "def f(kind=Odd): return kind"
    )
    assert ingredients(space, Task("k", space["f"]))["function f"]


def test_functions_of_one_name_are_told_apart():
    """Two lambdas that were fused: an edit of the second is seen."""
    space = namespace("f, g, h = (lambda x: x + 1), (lambda x: x + 2), (lambda x: x + 3)")

    def fused(first, second):
        return Task.fuse(Task("a", first, 1), Task("b", second, TaskRef("a")))

    f, g, h = space["f"], space["g"], space["h"]
    then, now = ingredients(space, fused(f, g)), ingredients(space, fused(h, g))
    assert first_difference(then, now) == "function `<lambda>` (2): its code changed"


def test_of_large_values_a_sample_is_looked_at():
    """Nobody waits until all of them is read: not of an array, nor of many objects."""
    numpy = pytest.importorskip("numpy")
    space = namespace(
        "count = []\n"
        "class Counted:\n"
        "    def __reduce_ex__(self, protocol):\n"
        "        count.append(1)\n"
        "        return (Counted, ())\n"
        "def f(): return BIG"
    )
    node = Task("k", space["f"])
    space["BIG"] = numpy.ones(1_000_000)
    then = ingredients(space, node)
    space["BIG"][1] = 2
    assert first_difference(then, ingredients(space, node)) == ""
    space["BIG"][:] = 2
    assert first_difference(then, ingredients(space, node)) == "global `BIG`: another ndarray"
    space["BIG"] = [space["Counted"]() for _ in range(30_000)]
    assert ingredients(space, node)["global BIG"].startswith("list ")
    assert 0 < len(space["count"]) < 5000


# -- classes of reasons ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "known_as"),
    [
        (NEW, NEW),
        ("its result was not stored: 10650400 bytes take longer to store and load than 0.0001 s "
         "to compute",
         "its result was not stored: it takes longer to store and load than to compute"),
        ("it cannot be repeated: it changes something outside: /w/out.csv",
         "it cannot be repeated: it changes something outside"),
        ("it depends on `('a', 1)`, which has no fingerprint: it is a generator",
         "a task above it has no fingerprint: it is a generator"),
        ("it depends on `a`, which is not known", "a task above it is not known"),
        ("its result is an iterator (map)", "its result is an iterator"),
        ("its result cannot be pickled: TypeError: x at 0x1",
         "its result cannot be pickled: TypeError"),
        ("it reads /d/a.csv, which changed", "it reads /d/a.csv, which changed"),
    ],
)  # fmt: skip
def test_reasons_are_counted_without_what_is_another_one_for_each_task(reason, known_as):
    """Figures and keys; but which file changed is what one wants to know."""
    assert reason_class(reason) == known_as


def test_classes_are_told_in_words():
    """What was edited first, then the commonest; not without end."""
    found = {
        "a task above it runs": 9,
        NEW: 2,
        **{f"it reads /{n}, which changed": 1 for n in "abcdef"},
    }
    assert list(classes(found))[:2] == [NEW, "a task above it runs"]
    words = in_words(found)
    assert words.startswith("new or edited (2), after a task that ran (9), it reads /a, ")
    assert words.endswith(", other reasons (2)")
    assert with_number(2, "run", {NEW: 2}) == "2 run, new or edited"
    assert with_number(3, "run", {NEW: 2}) == "3 run, new or edited (2)"
    assert with_number(3, "run", {}) == "3 run"


def test_a_summary_counts_a_cells_tasks():
    """Stored, not stored and why, unsafe; labels beyond a number together."""
    stored = TaskRecord("a" * 64, "f", 1.5, digest_bytes(b""), digest="d" * 64, size=10)
    dear = TaskRecord(
        "b" * 64, "f", 0.5, refused="5 bytes take longer to store and load than 1 s to compute"
    )
    unsafe = TaskRecord(
        "c" * 64, "save", 0.25, refused="it changes something outside: /x", unsafe=True
    )
    found = summary(4, [stored, dear, unsafe])
    assert (found.cell, found.number, found.stored, found.size, found.seconds) == (
        4,
        3,
        1,
        10,
        2.25,
    )
    assert found.refused == {"it takes longer to store and load than to compute": 1}
    assert found.unsafe == {"it changes something outside": 1}
    assert [(label.label, label.number, label.stored) for label in found.labels] == [
        ("f", 2, 1), ("save", 1, 0),
    ]  # fmt: skip
    many = summary(1, [replace(stored, label=f"x{n}") for n in range(200)])
    assert len(many.labels) == 50 and many.labels[-1].label == OTHERS
    assert sum(label.number for label in many.labels) == 200
