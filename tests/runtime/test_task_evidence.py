"""What workers did unseen by Python counts for every task of the cell."""

from nbrw_runtime.dependency import Data, DataState
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.task_evidence import with_evidence
from nbrw_runtime.task_record import TaskRecord

CONTENT = digest_bytes(b"content")
SEEN = TaskRecord("a", reads={"/d/seen.csv": CONTENT.hex})
OTHER = TaskRecord("b")


def used(path, state=DataState.READ, cells=(2,), roles=("worker",)):
    """Something that the trace saw."""
    return Data(path, state, cells, roles, digest=CONTENT if state is DataState.READ else None)


def test_a_file_that_no_task_was_seen_to_read_is_an_input_of_all():
    """Arrow opens files by itself; one that is not there counts, too."""
    data = [used("/d/part.parquet"), used("/d/none", DataState.ABSENT), used("/d/seen.csv")]
    first, second = with_evidence([SEEN, OTHER], 2, data)
    assert second.reads == {"/d/part.parquet": CONTENT.hex, "/d/none": None}
    assert first.reads == {**second.reads, **SEEN.reads}


def test_a_file_that_libraries_open_by_themselves_is_an_input_of_all():
    """Although one task was seen to read it: to look at its first bytes, perhaps."""
    seen = TaskRecord("a", reads={"/d/part.parquet": CONTENT.hex})
    _, other = with_evidence([seen, OTHER], 2, [used("/d/part.parquet")])
    assert other.reads == seen.reads


def test_other_cells_and_the_kernel_are_no_evidence():
    """Their files are theirs."""
    data = [used("/d/x", cells=(1, 3)), used("/d/y", roles=("kernel", "child"))]
    assert with_evidence([SEEN, OTHER], 2, data) == [SEEN, OTHER]


def test_what_a_cell_did_counts_for_tasks_that_ran_in_the_kernel():
    """Or beside it; not for those on workers."""
    local = TaskRecord("c", here=True)
    data = [used("/d/y", roles=("kernel",)), used("/d/z", roles=("child",)), used("/d/x")]
    other, found = with_evidence([OTHER, local], 2, data)
    assert list(other.reads) == ["/d/x"] and sorted(found.reads) == ["/d/x", "/d/y", "/d/z"]
    data = [used("/d/out", DataState.WRITTEN, roles=("kernel",))]
    other, found = with_evidence([OTHER, local], 2, data)
    assert other == OTHER and found.unsafe and "a cell wrote /d/out" in found.refused


def test_what_the_cell_itself_is_known_to_have_done_is_no_evidence():
    """It writes a file and lists a directory, outside of tasks; what it reads counts."""
    own = TaskRecord("cell", reads={"/d/": None}, refused="changes /d/out", unsafe=True, here=True)
    local = TaskRecord("c", here=True)
    kernel = ("kernel",)
    data = [used("/d/out", DataState.WRITTEN, roles=kernel), used("/d/in", roles=kernel)]
    data += [used("/d", DataState.LISTED, roles=kernel)]
    assert with_evidence([own, local], 2, data)[1].reads == {"/d/in": CONTENT.hex}
    assert with_evidence([local], 2, data)[0].unsafe


def test_software_is_no_evidence():
    """Python lists the directories of packages, and looks for files in vain there."""
    place = "/home/ada/env/lib/python3.11/site-packages"
    data = [used(place, DataState.LISTED), used(f"{place}/x.libs", DataState.LISTED)]
    data += [
        used(f"{place}/none.py", DataState.ABSENT),
        used("/usr/share/zoneinfo", DataState.LISTED),
    ]
    assert with_evidence([SEEN, OTHER], 2, data) == [SEEN, OTHER]


def test_a_file_that_nobody_is_known_to_have_written_puts_all_in_doubt():
    """One whose task is known does not: that task is unsafe as it is."""
    data = [used("/d/out.parquet", DataState.WRITTEN)]
    found = with_evidence([SEEN, OTHER], 2, data)
    assert all(record.unsafe and "/d/out.parquet" in record.refused for record in found)
    writer = TaskRecord("c", refused="it changes something outside: /d/out.parquet", unsafe=True)
    assert with_evidence([SEEN, writer], 2, data) == [SEEN, writer]


def test_a_file_that_one_task_read_may_have_been_written_unseen_by_another():
    """Who wrote it has an effect; also if another task wrote a file with a longer name."""
    reader = TaskRecord("a", reads={"/d/out": CONTENT.hex})
    longer = TaskRecord("c", refused="it changes something outside: /d/out2", unsafe=True)
    found = with_evidence([reader, OTHER, longer], 2, [used("/d/out", DataState.WRITTEN)])
    assert all(record.unsafe for record in found)
    writer = TaskRecord("c", refused="it changes something outside: /d/out", unsafe=True)
    found = with_evidence([reader, OTHER, writer], 2, [used("/d/out", DataState.WRITTEN)])
    assert [record.unsafe for record in found] == [False, False, True]


def test_a_directory_that_a_worker_listed_unseen_puts_all_in_doubt():
    """Seen by Python it is an input like others."""
    data = [used("/d/parts", DataState.LISTED)]
    assert all(record.unsafe for record in with_evidence([OTHER], 2, data))
    lister = TaskRecord("a", reads={"/d/parts/": "00"})
    assert with_evidence([lister], 2, data) == [lister]
