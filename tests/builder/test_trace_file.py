"""Trace files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_builder.trace_file import read_trace
from nbrw_builder.trace_writer import TraceWriter
from nbrw_runtime.errors import FormatError
from nbrw_runtime.trace import Event, Gap, Header, Kind, event_to_json

HEADER = Header("ptrace", 7, "/")
PATHS = st.text(st.characters(codec="utf-8"), min_size=1).map(lambda text: "/" + text)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from([Kind.READ, Kind.WRITE, Kind.LIST]),
    time=st.floats(0, 1e6),
    pid=st.integers(1, 1 << 22),
    cell=st.none() | st.integers(0, 99),
    path=PATHS,
    result=st.sampled_from([0, -2, -13]),
    flags=st.sampled_from([(), ("create",), ("truncate", "existed")]),
)


def write(path, events):
    """A complete trace of these events."""
    writer = TraceWriter(path, HEADER)
    for event in events:
        writer.add(event_to_json(event))
    writer.close()


@given(st.lists(EVENTS, max_size=20))
def test_what_was_written_is_read(tmp_path_factory, events):
    """Whatever the paths."""
    path = tmp_path_factory.mktemp("t") / "0001.jsonl.zst"
    write(path, events)
    trace = read_trace(path)
    assert trace.events == tuple(events)
    assert trace.complete and trace.gaps == ()


@pytest.mark.parametrize("flushed", [True, False])
def test_a_trace_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path, flushed):
    """And says that it lost something."""
    path = tmp_path / "0001.jsonl.zst"
    writer = TraceWriter(path, HEADER)
    writer.add(event_to_json(Event(Kind.READ, 1.0, 7, 1, path="/a")))
    writer.flush()
    writer.add(event_to_json(Event(Kind.READ, 2.0, 7, 1, path="/b")))
    if flushed:
        writer.flush()
    trace = read_trace(path)
    assert [event.path for event in trace.events] == (["/a", "/b"] if flushed else ["/a"])
    assert not trace.complete
    assert "cut off" in trace.gaps[0].reason


def test_a_truncated_file_keeps_its_whole_lines(tmp_path):
    """A disk that was full, a copy that was broken off."""
    path = tmp_path / "0001.jsonl.zst"
    write(path, [Event(Kind.READ, 1.0, n, 1, path=f"/{n}") for n in range(1, 5000)])
    path.write_bytes(path.read_bytes()[:-40])
    trace = read_trace(path)
    assert not trace.complete
    assert len(trace.events) >= 3000


def test_uncompressed_traces_are_read_too(tmp_path):
    """As the fallback writes them."""
    path = tmp_path / "0001.jsonl"
    lines = [{"backend": "audithook", "kernel_pid": 1, "cwd": "/", "format": "nbrw.trace"}]
    lines += [event_to_json(Gap("all of it")), {"kind": "end"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    trace = read_trace(path)
    assert trace.gaps == (Gap("all of it"),)


@pytest.mark.parametrize("data", [b"", b"not a trace", b"\x28\xb5\x2f\xfd\x00"])
def test_what_is_no_trace_is_refused(tmp_path, data):
    """By a FormatError that names the file."""
    path = tmp_path / "0001.jsonl.zst"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"0001\.jsonl\.zst"):
        read_trace(path)
