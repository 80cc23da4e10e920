"""The traces of one run, of its kernel and of workers elsewhere, as one."""

from nbrw_builder.trace_merge import merged
from nbrw_builder.uses import collect
from nbrw_runtime.trace import Event, Facts, Gap, Header, Kind, Trace

KERNEL = Header("ptrace", 7, "/work", began=100.0)
FACTS = Facts(1, 2, 3, 4, 5, 0o100644, 0, 0)


def event(kind, when, path, cell, pid=7, **more):
    """What a process did with a file."""
    return Event(kind, when, pid, cell, cell, path, facts=FACTS, **more)


def worker(began, *events, gaps=()):
    """The trace of a worker on another machine, whose process has the kernel's number."""
    return Trace(Header("ptrace", 1, "/w", began=began, role="worker", host="n"), events, gaps)


def test_who_used_a_file_is_told_also_if_process_ids_are_the_same():
    """Each machine has its own."""
    kernel = Trace(KERNEL, (event(Kind.READ, 1.0, "/a", 1),))
    far = [
        worker(100.0, event(Kind.READ, 2.0, "/b", 1)),
        worker(9.0, event(Kind.READ, 3.0, "/c", 2)),
    ]
    uses = collect([merged(kernel, far)])
    assert {path: (use.roles, use.cells) for path, use in uses.items()} == {
        "/a": ({"kernel"}, {1}), "/b": ({"worker"}, {1}), "/c": ({"worker"}, {2}),
    }  # fmt: skip


def test_a_result_of_a_worker_that_the_kernel_reads_in_the_same_cell_is_no_input():
    """Clocks decide within a cell, whenever each trace began."""
    kernel = Trace(KERNEL, (event(Kind.READ, 5.0, "/x", 2),))
    far = worker(90.0, event(Kind.WRITE, 14.0, "/x", 2, flags=("create",)))
    use = collect([merged(kernel, [far])])["/x"]
    assert use.written and not use.inputs


def test_cells_are_in_order_whatever_clocks_say():
    """A machine whose clock is an hour late has the same cells."""
    kernel = Trace(KERNEL, (event(Kind.READ, 5.0, "/k", 3),))
    far = worker(3700.0, event(Kind.WRITE, 1.0, "/k", 2, flags=("create",)))
    use = collect([merged(kernel, [far])])["/k"]
    assert use.first == "write" and use.cells == {2, 3} and not use.inputs


def test_what_a_worker_did_while_it_started_is_no_cells_doing():
    """It comes before all cells. Gaps are kept."""
    far = worker(200.0, event(Kind.READ, 1.0, "/s", 0), gaps=(Gap("lost", cell=2),))
    found = merged(Trace(KERNEL, (event(Kind.READ, 5.0, "/k", 1),)), [far])
    assert [use.path for use in found.events] == ["/s", "/k"]
    assert collect([found])["/s"].cells == set() and found.gaps == far.gaps


def test_content_that_only_a_worker_could_read_is_the_input():
    """And the names in a directory that only it can list."""
    read = event(Kind.READ, 1.0, "/far/a", 1, detail={"preserved": "0001.worker-1-1"})
    listed = event(Kind.LIST, 2.0, "/far", 1, detail={"names": ["a", "b"]})
    uses = collect([merged(Trace(KERNEL, ()), [worker(100.0, read, listed)])])
    assert uses["/far/a"].preserved == "0001.worker-1-1"
    assert uses["/far"].names == ("a", "b")


def test_without_workers_the_trace_is_the_kernels():
    """Nothing is copied."""
    kernel = Trace(KERNEL, ())
    assert merged(kernel, []) is kernel
