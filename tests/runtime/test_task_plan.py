"""Which tasks of a graph run again: those that an edit reaches, and no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.task_plan import Unknown, plan_tasks
from nbrw_runtime.task_record import TaskRecord

BLOB = digest_bytes(b"x")


def stored(fingerprint, **more):
    """A record with a result."""
    return TaskRecord(fingerprint, segment=BLOB, digest="d", **more)


def planned(outputs, inputs, records, prints=None, changed=(), known=None):
    """The plan; a task's fingerprint is its key, unless told."""
    prints = {key: key for key in inputs} | (prints or {})
    find = {record.fingerprint: record for record in records}.get
    return plan_tasks(outputs, inputs, prints, find, lambda path, _: path in changed, known or {})


CHAIN = {"a": [], "b": ["a"], "c": ["b"]}


def test_what_is_known_is_loaded_and_nothing_above_it_is_needed():
    """Whatever order the graph is in."""
    for inputs in (CHAIN, dict(reversed(CHAIN.items()))):
        plan = planned(["c"], inputs, map(stored, "abc"))
        assert (set(plan.load), plan.run) == ({"c"}, [])


def test_an_edit_runs_what_is_below_it_on_what_is_above_it():
    """The edited task has a fingerprint that nobody knows, and so have those below."""
    plan = planned(["c"], CHAIN, map(stored, "abc"), {"b": "b2", "c": "c2"})
    assert (set(plan.load), plan.run) == ({"a"}, ["c", "b"])
    assert plan.misses() == {"it is new or edited": 1, "a task above it runs": 1}


def test_a_result_that_was_not_stored_is_computed_from_those_that_were():
    """What is below it may still be loaded."""
    cheap = TaskRecord("b", refused="cheap")
    plan = planned(["b"], CHAIN, [stored("a"), cheap, stored("c")])
    assert (set(plan.load), plan.run) == ({"a"}, ["b"])
    assert plan.misses() == {"its result was not stored: cheap": 1}
    plan = planned(["c"], CHAIN, [stored("a"), cheap, stored("c")])
    assert (set(plan.load), plan.run) == ({"c"}, [])


def test_nothing_below_chance_or_an_outside_effect_is_loaded():
    """Its result may be another now, though its fingerprint is the same."""
    unsafe = TaskRecord("a", refused="it draws", unsafe=True)
    plan = planned(["c"], CHAIN, [unsafe, stored("b"), stored("c")])
    assert (set(plan.load), set(plan.run)) == (set(), {"a", "b", "c"})
    assert plan.misses() == {"it cannot be repeated: it draws": 1, "a task above it runs": 2}


def test_a_changed_file_runs_its_reader_and_what_is_below():
    """Also if the reader's own result was not stored."""
    for reader in (stored("a", reads={"f": "1"}), TaskRecord("a", refused="x", reads={"f": "1"})):
        records = [reader, stored("b"), stored("c")]
        assert set(planned(["c"], CHAIN, records, changed={"f"}).run) == {"a", "b", "c"}
        assert set(planned(["c"], CHAIN, records).load) == {"c"}


def test_a_task_without_fingerprint_runs_and_so_does_what_is_below():
    """The reason is given."""
    plan = planned(["c"], CHAIN, map(stored, "abc"), {"b": Unknown("its argument is a lock")})
    assert (set(plan.load), plan.run) == ({"a"}, ["c", "b"])
    assert plan.misses()["its argument is a lock"] == 1


def test_a_future_of_an_earlier_graph_counts_as_what_it_was():
    """One that is not known is like a task that ran."""
    inputs = {"b": ["f"]}
    assert set(planned(["b"], inputs, [stored("b")], known={"f": True}).load) == {"b"}
    assert planned(["b"], inputs, [stored("b")], known={"f": False}).run == ["b"]
    assert planned(["b"], inputs, [stored("b")]).run == ["b"]


@st.composite
def graphs(draw):
    """A graph, what was edited, stored, unsafe; and the outputs."""
    count = draw(st.integers(1, 12))
    inputs = {
        n: draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)) if n else []
        for n in range(count)
    }
    one = st.integers(0, count - 1)
    some = st.lists(one, max_size=3).map(set)
    outputs = st.lists(one, min_size=1, max_size=3).map(set)
    return inputs, draw(some), draw(some), draw(some), draw(outputs)


@given(graphs())
def test_the_tasks_that_run_are_those_that_an_oracle_names(case):
    """By the definition: reached by an edit, or not stored and needed; every input is there."""
    inputs, edited, unstored, unsafe, outputs = case

    def above(n):
        return {n}.union(*(above(other) for other in inputs[n]))

    reached = {n for n in inputs if above(n) & (edited | unsafe)}
    records = [
        TaskRecord(str(n), refused="x", unsafe=n in unsafe)
        if n in unstored | unsafe
        else stored(str(n))
        for n in inputs
    ]
    prints = {n: f"new {n}" if above(n) & edited else str(n) for n in inputs}
    plan = planned(outputs, inputs, records, prints)
    needed = set()

    def need(n):
        if n in needed:
            return
        needed.add(n)
        if n in reached or n in unstored:
            for other in inputs[n]:
                need(other)

    for output in outputs:
        need(output)
    expected = {n for n in needed if n in reached or n in unstored | unsafe}
    assert set(plan.run) == expected
    assert set(plan.load) == needed - expected
    assert all(set(inputs[n]) <= needed for n in plan.run)
