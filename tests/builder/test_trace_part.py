"""Parts of traces, and what several of them say together."""

from nbrw_builder.audit_directory import AuditState, Run
from nbrw_builder.audit_traces import executed
from nbrw_builder.trace_part import part_of
from nbrw_builder.uses import collect
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.recipe import RecipeCell
from nbrw_runtime.trace import Event, Gap, Header, Kind, Trace

HEADER = Header("ptrace", 1, "/work")
CODE = digest_bytes(b"")


def read(path, cell, origin=None):
    """The kernel reads a file."""
    return Event(Kind.READ, 0.0, 1, cell, origin, path)


def write(path, cell):
    """The kernel writes a file."""
    return Event(Kind.WRITE, 0.0, 1, cell, None, path)


def test_cells_that_do_not_count_go_and_the_others_have_their_numbers_now():
    """Also gaps, and what a process that another cell had started did in one that counts."""
    events = (read("/s", 0), read("/a", 1), read("/b", 2), read("/w", 2, 1), read("/c", None, 1))
    found = part_of(Trace(HEADER, events, (Gap("x", cell=1), Gap("y"))), {2: 5})
    assert [(e.path, e.cell, e.origin) for e in found.events] == [
        ("/s", 0, None), ("/b", 5, None), ("/w", 5, None),
    ]  # fmt: skip
    assert [gap.reason for gap in found.gaps] == ["y"]
    assert found.whole == events


def test_software_that_another_cell_loaded_stays_for_those_after_it():
    """It belongs to no cell then; what came after all that count goes."""
    events = (read("/work/m.py", 1), read("/work/data", 1), read("/b", 2), read("/work/n.py", 3))
    found = part_of(Trace(HEADER, events), {2: 1})
    assert [(e.path, e.cell) for e in found.events] == [("/work/m.py", None), ("/b", 1)]


def test_a_file_from_a_cell_that_ran_again_is_a_result_for_one_that_did_not():
    """Though its trace is the later one."""
    former = part_of(Trace(HEADER, (write("/work/f", 1), read("/work/f", 2))), {2: 2})
    later = part_of(Trace(HEADER, (read("/start", 0), write("/work/f", 1))), {1: 1})
    use = collect([former, later])["/work/f"]
    assert use.written and not use.inputs and use.cells == {1, 2}


def test_installed_software_is_used_by_the_cell_that_loaded_it_first():
    """Not by that with which a later kernel went on; data is used by whoever reads it."""
    library = "/env/lib/python3.11/site-packages/x.py"
    former = Trace(HEADER, (read(library, 1), read("/work/in", 1)))
    later = Trace(HEADER, (read(library, 3), read("/work/in", 3)))
    uses = collect([former, later])
    assert uses[library].cells == {1}
    assert uses["/work/in"].cells == {1, 3}


def test_runs_that_name_no_cells_executed_all_up_to_a_later_run():
    """As former versions of nbrw did."""
    cells = tuple(RecipeCell(n, "", CODE, "x") for n in range(1, 5))
    runs = (Run("0001", 1), Run("0002", 3), Run("0003", 4, cells=((4, 4),)))
    assert executed(AuditState((), "", cells, runs)) == [{1: 1, 2: 2}, {3: 3}, {4: 4}]
