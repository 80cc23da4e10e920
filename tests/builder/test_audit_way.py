"""Which cells an audit is foreseen to execute, by what former ones know; no kernel runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nbrw_builder.audit_checkpoints import CheckpointDirectory
from nbrw_builder.audit_directory import AuditState
from nbrw_builder.audit_former import Former, Formers
from nbrw_builder.audit_way import Rules, Way, execution_counts, foresee
from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredFile, StoredObject
from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.notebook import Cell, cell_digest
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.walk import Action

NOWHERE = CheckpointDirectory(Path("/nowhere"), Path("/nowhere"))


def cells_of(*sources):
    """Cells with these sources."""
    return [Cell(n, str(n), s, cell_digest(s), ()) for n, s in enumerate(sources, start=1)]


def stored(name, text, kind="list"):
    """An object by a text that stands for its content."""
    digest = digest_bytes(text.encode())
    return StoredObject((name,), digest, digest, types=(kind,))


def former(cells, data=(), stale=None, upto=None, **more):
    """An audit in which each cell bound the name that its source begins with, to its source.

    ``more`` has, by ``c<number>``, fields of that cell's checkpoint.
    """
    checkpoints = []
    for cell in cells[:upto]:
        name = cell.source.split(" ")[0]
        objects = (stored(name, cell.source),)
        checkpoint = Checkpoint(cell.number, cell.digest, objects=objects)
        checkpoints.append(replace(checkpoint, **more.get(f"c{cell.number}", {})))
    state = AuditState(("python",), "/work", recipe_cells(cells))
    return Former(state, NOWHERE, tuple(checkpoints), tuple(data), stale or {})


def planned(audits, sources, as_left=lambda path, found: True):
    """The numbers of the cells that are foreseen to run."""
    rules = Rules(Formers(tuple(audits)), cells_of(*sources), "/work")
    steps = foresee(rules, {}, as_left).steps
    return [step.cell for step in steps if step.action is Action.RUN]


BASE = ("a = 1", "b = 2", "c = [a]", "d = [b]", "e = [c]")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (BASE, []),
        (("a = 1  # one", *BASE[1:]), []),
        (("a = 9", *BASE[1:]), [1, 3, 5]),
        ((BASE[0], "b = 9", *BASE[2:]), [2, 4]),
        (("new = 0", *BASE), [1]),
        ((BASE[1], BASE[0], *BASE[2:]), []),
        ((BASE[0], *BASE[2:3], BASE[4]), []),
        ((*BASE[:4], "e = [d]"), [5]),
        ((BASE[0], BASE[0], *BASE[1:]), [2]),
        (("", *BASE), []),
    ],
)
def test_only_what_an_edit_reaches_is_executed(sources, expected):
    """Wherever cells stand now."""
    assert planned([former(cells_of(*BASE))], sources) == expected


def test_without_a_former_audit_all_cells_run():
    """But for those that are empty."""
    assert planned([], ("a = 1", "", "b = 2")) == [1, 3]


def test_a_cell_that_used_what_has_changed_runs_wherever_it_stands_now():
    """And what uses it; the reason is that of the change."""
    known = former(cells_of(*BASE), stale={2: "it used in.csv, which changed"})
    assert planned([known], BASE) == [2, 4]
    assert planned([known], ("new = 0", *BASE)) == [1, 3, 5]
    rules = Rules(Formers((known,)), cells_of(*BASE), "/work")
    assert foresee(rules, {}, lambda *_: True).steps[1].reason == "it used in.csv, which changed"


def test_cells_of_a_build_that_was_cut_off_and_of_the_one_before_are_both_known():
    """The newest knows cells 1 and 2 of the edited notebook, the one before all of the old."""
    edited = (BASE[0], "b = 9", *BASE[2:])
    audits = [former(cells_of(*edited), upto=2), former(cells_of(*BASE))]
    assert planned(audits, edited) == [4]
    assert planned(audits, BASE) == []


def test_what_could_not_be_stored_is_made_again_for_a_cell_that_runs():
    """As in a repeat."""
    gone = {"objects": (), "omitted": (Omitted("b", "generator", "no"),)}
    known = former(cells_of(*BASE), c2=gone)
    assert planned([known], BASE) == []
    assert planned([known], (*BASE[:4], "e = [b]")) == [2, 4, 5]


def test_who_reads_a_file_depends_on_who_writes_it():
    """By what the traces said."""
    data = [Data("/work/f", DataState.WRITTEN, (1, 5))]
    file = StoredFile("/work/f", digest_bytes(b"1"), 1)
    known = former(cells_of(*BASE), data, c1={"files": (file,)})
    assert planned([known], BASE) == []
    assert planned([known], ("a = 1; f()", *BASE[1:])) == [1, 3, 5]


@pytest.mark.parametrize(
    ("edited", "there", "expected"),
    [
        (None, b"last", []),
        (None, b"other", [1, 4]),
        (5, b"last", [5]),
        (3, b"last", [1, 3, 5]),
        (2, b"first", [2, 4]),
    ],
)
def test_files_must_be_as_restored_cells_left_them(edited, there, expected):
    """Cells 1 and 4 write one file. A cell that runs must find it as it was at its place."""
    first, last = (StoredFile("/work/f", digest_bytes(t), 1) for t in (b"first", b"last"))
    known = former(
        cells_of(*BASE),
        [Data("/work/f", DataState.WRITTEN, (1, 4))],
        c1={"files": (first,)},
        c4={"files": (last,)},
    )
    sources = list(BASE)
    if edited:
        sources[edited - 1] += " + x"
    found = planned([known], sources, lambda path, left: left.digest == digest_bytes(there))
    assert found == expected


@pytest.mark.parametrize(
    ("asks", "expected"),
    [("print(1)", [1]), ("print(globals())", [1, 3, 4]), ("print(_2)", [1, 2, 3, 4])],
)
def test_a_result_by_number_keeps_its_place_where_somebody_may_ask(asks, expected):
    """Cell 2 displayed something, so that `_2` is its result."""
    base = cells_of("a = 1", "b = 2", asks)
    shown = {"objects": (stored("b", "b"), stored("_2", "b", "int"))}
    known = former(base, c2=shown, c3={"objects": ()})
    assert planned([known], ["new = 0", *(cell.source for cell in base)]) == expected


def test_two_equal_cells_are_not_restored_from_one():
    """What only one of them did is in one trace."""
    rules = Rules(Formers((former(cells_of("a = 1")),)), cells_of("a = 1", "a = 1"), "/work")
    way = Way(rules, {})
    first, second = rules.cells
    way.restored(first, way.decide(first))
    assert way.decide(second).action is Action.RUN


def test_execution_counts_leave_out_what_is_not_executed():
    """As nbclient and Jupyter count."""
    cells = cells_of("a", " ", "b")
    skipped = Cell(4, "4", "c", cell_digest("c"), ("skip-execution",))
    assert execution_counts([*cells, skipped]) == {1: 1, 2: 1, 3: 2, 4: 2}
