"""Messages of a kernel to outputs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.outputs import CellOutputs, carriage


def collected(*messages):
    """The outputs after these messages."""
    outputs = CellOutputs()
    for kind, content in messages:
        outputs.add(kind, content)
    return outputs.outputs


def text(value, name="stdout"):
    return "stream", {"name": name, "text": value}


def show(value, display_id=None):
    transient = {"display_id": display_id} if display_id else {}
    content = {"data": {"text/plain": value}, "metadata": {}, "transient": transient}
    return "display_data", content


def test_streams_of_a_name_are_one_output():
    """Whatever the order of pieces."""
    out = collected(text("a"), text("e", "stderr"), text("b"))
    assert [(o["name"], o["text"]) for o in out] == [("stdout", "ab"), ("stderr", "e")]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("10%\r20%\r30%", "30%"), ("ab\b\bc", "c"), ("a\r\nb", "a\r\nb"), ("a\rb\r", "b\r"),
        ("a\rb\nc\rd\n", "b\nd\n"), ("\r", "\r"), ("a\rb\r\r\n", "\r\n"), ("", ""),
    ],
)  # fmt: skip
def test_progress_bars_leave_their_last_line(raw, shown):
    """As on a terminal."""
    assert carriage(raw) == shown


@given(st.text(alphabet="ab\r\n\x08", max_size=20))
def test_carriage_returns_are_those_of_nbclient(text):
    """So that the author's output and the repeat's are treated alike."""
    want = text
    while re.search(r"[^\n]\x08", want):
        want = re.sub(r"[^\n]\x08", "", want)
    assert carriage(text) == re.sub(r"[^\n]*\r(?=[^\n])", "", want)


def test_a_display_is_updated_in_place():
    """update_display_data changes what has its id."""
    _, new = show("new", "x")
    out = collected(show("old", "x"), show("other"), ("update_display_data", new))
    assert [o["data"]["text/plain"] for o in out] == ["new", "other"]


def test_a_display_of_an_earlier_cell_is_updated_by_a_later_one():
    """Also by showing something else under its id; that nobody has shown one is known."""
    displays = {}
    first, second, third = (CellOutputs(displays) for _ in range(3))
    first.add(*show("old", "x"))
    second.add("update_display_data", show("new", "x")[1])
    assert first.outputs[0]["data"]["text/plain"] == "new"
    second.add(*show("newer", "x"))
    assert first.outputs[0]["data"] == second.outputs[0]["data"] == {"text/plain": "newer"}
    assert not second.strange
    third.add("update_display_data", show("new", "y")[1])
    assert third.outputs == []
    assert third.strange


def test_cleared_output_is_gone_at_once_or_with_the_next():
    """wait=True clears only when something follows."""
    assert collected(text("a"), ("clear_output", {"wait": False})) == []
    assert len(collected(text("a"), ("clear_output", {"wait": True}))) == 1
    out = collected(text("a"), ("clear_output", {"wait": True}), text("b"))
    assert [o["text"] for o in out] == ["b"]
