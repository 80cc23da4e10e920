"""What witnesses on workers elsewhere tell, as a trace file of the audit."""

import json
import os

import pytest

from nbrw_builder.trace_file import read_trace
from nbrw_runtime.trace import Kind
from nbrw_runtime.worker_files import Lost, WorkerFiles
from nbrw_runtime.worker_source import Batch, WorkerSource

HEADER = {"backend": "ptrace", "kernel_pid": 5, "cwd": "/w", "began": 9.0}
BEGIN = {"kind": "cell", "time": 1.0, "pid": 5, "flags": ["begin"]}


def batch(offset, *records):
    """Lines from this offset on, and the offset after them."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return Batch(offset, lines), offset + len(lines)


def facts_of(path):
    """As a tracer takes them."""
    status = os.stat(path)
    return {
        "device": 1, "inode": 1, "size": status.st_size, "mtime_ns": status.st_mtime_ns,
        "ctime_ns": 1, "mode": status.st_mode, "uid": 0, "gid": 0,
    }  # fmt: skip


def read(path, facts, pid=5):
    """A worker reads a file."""
    return {"kind": "read", "time": 2.0, "pid": pid, "path": str(path), "facts": facts}


class Far(WorkerFiles):
    """A worker that sees more than we do."""

    def fetch(self, path, target):
        if self.client is None:
            raise Lost("the worker has ended")
        target.write_text(f"content of {path}")

    def names(self, path):
        return ["a", "b"]


@pytest.fixture
def source(tmp_path):
    """Of a worker on another host."""
    return WorkerSource(tmp_path / "0001.worker-1.jsonl", "node1")


def test_what_was_done_while_a_worker_started_is_no_cells_doing(source, tmp_path):
    """Of its descendants only what it starts later counts."""
    data = tmp_path / "data"
    data.write_text("1")
    child = {"kind": "process", "time": 3.0, "pid": 8, "detail": {"parent": 5}}
    first, _ = batch(
        0, HEADER, read(data, facts_of(data)), BEGIN, read(data, facts_of(data)), child,
        read(data, facts_of(data), 8), read(data, facts_of(data), 4),
    )  # fmt: skip
    source.add(first, 3, Far(object(), "tcp://a:1"))
    source.close()
    trace = read_trace(source.path)
    reads = [(event.pid, event.cell) for event in trace.events if event.kind is Kind.READ]
    assert reads == [(5, 0), (5, 3), (8, 3), (4, 0)]
    assert (trace.header.role, trace.header.host, trace.header.began) == ("worker", "node1", 9.0)


def test_lines_that_come_twice_count_once_and_those_that_are_missing_are_a_gap(source):
    """Two workers below one tracer may hand on the same."""
    first, end = batch(0, HEADER, BEGIN, {"kind": "exit", "time": 1.0, "pid": 5})
    files = Far(object(), "tcp://a:1")
    source.add(first, 1, files)
    source.add(first, 1, files)
    later, _ = batch(end + 10, {"kind": "exit", "time": 2.0, "pid": 5})
    source.add(later, 2, files)
    source.close()
    trace = read_trace(source.path)
    assert [event.cell for event in trace.events] == [1, 2]
    assert [(gap.reason, gap.cell) for gap in trace.gaps] == [
        ("a part of what workers on node1 did was lost", 2)
    ]


def test_a_file_that_is_here_as_well_has_the_facts_of_this_machine(source, tmp_path):
    """By size and time of change; no copy is made."""
    data = tmp_path / "data"
    data.write_text("1")
    first, _ = batch(0, HEADER, BEGIN, read(data, facts_of(data)))
    source.add(first, 1, Far(object(), "tcp://a:1"))
    source.close()
    (event,) = read_trace(source.path).events
    assert event.facts.inode == os.stat(data).st_ino and not event.detail


def test_a_file_that_only_the_worker_has_is_brought_once(source, tmp_path):
    """Another one of the same name here is not taken for it; of a directory the names are kept."""
    data = tmp_path / "data"
    data.write_text("here")
    there = {**facts_of(data), "size": 1}
    listed = {**read("/far", there), "kind": "list"}
    first, _ = batch(0, HEADER, BEGIN, read(data, there), read(data, there), listed)
    source.add(first, 1, Far(object(), "tcp://a:1"))
    source.close()
    *reads, directory = read_trace(source.path).events
    (kept,) = {event.detail["preserved"] for event in reads}
    assert (tmp_path / "preserved" / kept).read_text() == f"content of {data}"
    assert directory.detail["names"] == ["a", "b"]


def test_a_file_of_a_worker_that_has_ended_is_named(source):
    """The read stays; its content is not to be had."""
    there = {"device": 1, "inode": 1, "size": 1, "mtime_ns": 1, "ctime_ns": 1, "mode": 0o100644,
             "uid": 0, "gid": 0}  # fmt: skip
    first, _ = batch(0, HEADER, BEGIN, read("/far/x", there))
    source.add(first, 4, Far(None, "tcp://a:1"))
    source.close()
    trace = read_trace(source.path)
    assert [event.path for event in trace.events] == ["/far/x"]
    assert [(gap.cell, "/far/x" in gap.reason) for gap in trace.gaps] == [(4, True)]


def test_connections_to_dasks_own_processes_are_marked(source):
    """All others are the notebook's."""
    source.cluster = {"10.0.0.1:8786"}
    inet = {"family": "inet", "address": "10.0.0.1"}
    calls = [
        {"kind": "connect", "time": 2.0, "pid": 5, "detail": {**inet, "port": port}}
        for port in (8786, 443)
    ]
    first, _ = batch(0, HEADER, BEGIN, *calls)
    source.add(first, 1, Far(object(), "tcp://a:1"))
    source.close()
    marks = [event.detail.get("cluster", False) for event in read_trace(source.path).events]
    assert marks == [True, False]


def test_nothing_comes_after_the_end(source):
    """A file that is whole is not begun anew."""
    source.gap("x", 1)
    source.close()
    with pytest.raises(FileExistsError):
        source.gap("y", 1)
    assert [gap.reason for gap in read_trace(source.path).gaps] == ["x"]


@pytest.mark.parametrize("below", [True, False], ids=["below", "elsewhere"])
@pytest.mark.parametrize("same", [True, False], ids=["the same", "another"])
def test_files_below_another_working_directory_are_doubtful(
    source, tmp_path, monkeypatch, below, same
):
    """A path relative to it is another file for a worker that runs where the notebook does."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for place in (mine, theirs, tmp_path / "data"):
        place.mkdir()
        (place / "in").write_text("1")
    monkeypatch.chdir(theirs if same else mine)
    path = (theirs if below else tmp_path / "data") / "in"
    header = HEADER | {"cwd": str(theirs)}
    first, after = batch(0, header, read(theirs / "in", facts_of(theirs / "in")), BEGIN)
    source.add(first, 0, Far(object(), "tcp://far"))
    assert source.why_doubtful() == ""  # of a start
    second, _ = batch(after, read(path, facts_of(path)))
    source.add(second, 1, Far(object(), "tcp://far"))
    doubt = source.why_doubtful()
    assert doubt.startswith(f"it read {path}, perhaps by") is (below and not same)
    assert source.why_doubtful() == ""
