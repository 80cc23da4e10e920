"""Comparing outputs."""

import base64
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.compare import differences, is_ignored
from nbrw_runtime.tolerance import Tolerance

sys.path.insert(0, str(Path(__file__).parent))

import png_maker  # noqa: E402


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def result(**data):
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}


def shown(kind, value):
    return [{"output_type": "display_data", "data": {kind: value}, "metadata": {}}]


def png(pixels, **options):
    """A one-line grey PNG as base64."""
    return base64.encodebytes(png_maker.png([pixels], **options)).decode()


def test_streams_are_compared_as_a_whole():
    """How often the kernel flushed does not matter; where a line differs is said."""
    assert differences([stream("a"), stream("b")], [stream("ab")]) == []
    assert differences([stream("a")], [stream("a", "stderr")]) == [
        "stderr is new: `a`", "stdout is missing: `a`",
    ]  # fmt: skip
    assert differences([stream("a\n0.52\n")], [stream(["a\n", "0.53\n"])]) == [
        "stdout, line 2: `0.53` instead of `0.52` (relative difference 1.9e-02)"
    ]
    assert differences([stream("")], []) == []


def test_times_are_different_and_it_is_said_what_they_are():
    """Whoever shows them has no output that repeats."""
    found = differences([stream("Wall time: 3 ms")], [stream("Wall time: 4 ms")])
    assert found == ["stdout, `Wall time: 4 ms` instead of `Wall time: 3 ms` (only a time)"]


def test_results_differ_by_the_kind_that_differs():
    """The phrase names it."""
    old = result(**{"text/plain": "1", "text/html": "<b>1</b>"})
    assert differences([old], [old]) == []
    new = result(**{"text/plain": "2", "text/html": "<b>1</b>"})
    assert differences([old], [new]) == ["text/plain, `2` instead of `1`"]
    assert differences([old], [result(**{"text/plain": "1"})]) == ["text/html is missing"]
    assert differences([old, old], [old, new]) == ["output 2, text/plain, `2` instead of `1`"]


def test_a_missing_output_is_a_difference():
    """Also a new one."""
    assert differences([result(a="1")], []) == ["0 outputs instead of 1 output (execute_result)"]
    found = differences([], [result(a="1")] * 2)
    assert found == ["2 outputs (execute_result) instead of 0 outputs"]
    found = differences([result(a="1")], shown("a", "1"))
    assert found == ["display_data instead of execute_result"]


def test_errors_are_equal_by_name_and_message():
    """Their tracebacks hold paths and colours."""
    old = {"output_type": "error", "ename": "E", "evalue": "m", "traceback": ["a"]}
    assert differences([old], [{**old, "traceback": ["b"]}]) == []
    assert differences([old], [{**old, "ename": "F"}]) == ["error, `F: m` instead of `E: m`"]
    assert differences([old], [{**old, "evalue": "n"}]) == ["error, `E: n` instead of `E: m`"]


def test_images_are_compared_by_pixels():
    """Another compression or comment is the same image."""
    old = shown("image/png", png([1, 2, 3]))
    assert differences(old, shown("image/png", png([1, 2, 3], level=0, filters=(1,)))) == []
    assert differences(old, shown("image/png", png([1, 2, 4]))) == [
        "image/png, 1 of 3 pixels differ, by at most 1 of 255"
    ]
    assert differences(old, shown("image/png", "bm8=")) == [
        "image/png, its bytes differ, and its pixels cannot be compared: it is no PNG"
    ]
    assert differences(old, shown("image/png", "not an image")) == [
        "image/png, it differs, and is no base64"
    ]
    jpeg = differences(shown("image/jpeg", "AAAA"), shown("image/jpeg", "AAAB"))
    assert jpeg == ["image/jpeg, its bytes differ, and its pixels cannot be compared"]
    assert differences(shown("image/jpeg", "AAAA\n"), shown("image/jpeg", "AA\nAA")) == []


def test_binary_data_is_no_text_with_numbers():
    """In base64 1e5 and 10e4 are not the same number."""
    assert differences(shown("audio/wav", "1e5/"), shown("audio/wav", "10e4")) != []


def test_widgets_are_compared_by_their_text():
    """Their identifiers are drawn at random; that there is one is compared."""
    kind = "application/vnd.jupyter.widget-view+json"
    old, new = (result(**{kind: {"model_id": m}, "text/plain": "W(value=1)"}) for m in "ab")
    assert differences([old], [new]) == []
    assert differences([old], [result(**{"text/plain": "W(value=1)"})]) == [f"{kind} is missing"]


def test_scripts_are_compared_but_for_random_identifiers():
    """These are numbered by where they come first."""
    one, other = (f"f('{n}f2d9d4e-1b8f-4c11-8f2a-5a1c7d9e0b12', '{n}{'a' * 31}')" for n in "01")
    kind = "application/javascript"
    assert differences(shown(kind, one), shown(kind, other)) == []
    assert differences(shown(kind, one), shown(kind, other.replace("f(", "g("))) != []


def test_json_is_compared_by_values():
    """A list of texts is no multi-line text there."""
    kind = "application/vnd.plotly.v1+json"
    old = shown(kind, {"data": [{"y": [0.1, 0.2]}]})
    assert differences(old, shown(kind, {"data": [{"y": [0.1, 0.2 + 1e-12]}]})) == []
    assert differences(old, shown(kind, {"data": [{"y": [0.1, 0.3]}]})) == [
        f"{kind}, at `data[0].y[1]`: `0.3` instead of `0.2`"
    ]
    assert differences(shown("application/json", ["ab"]), shown("application/json", ["a", "b"]))
    assert differences(shown("application/json", {"a": 1}), shown("application/json", {"a": True}))


def test_the_tolerance_holds_for_all_kinds():
    """Streams, results, tables, errors."""
    old = [
        stream("0.50"), result(**{"text/html": "<table><tr><td>0.50</td></tr></table>"}),
        {"output_type": "error", "ename": "E", "evalue": "0.50", "traceback": []},
    ]  # fmt: skip
    new = [
        stream("0.51"), result(**{"text/html": "<table><tr><td>0.51</td></tr></table>"}),
        {"output_type": "error", "ename": "E", "evalue": "0.51", "traceback": []},
    ]  # fmt: skip
    assert len(differences(old, new)) == 3
    assert differences(old, new, Tolerance(0.1)) == []


@pytest.mark.parametrize(
    ("source", "tags", "ignored"),
    [
        ("x", (), False),
        ("x", ("nbval-ignore-output",), True),
        ("x\n # NBVAL_IGNORE_OUTPUT", (), True),
        ("#NBVAL_IGNORE_OUTPUT\nx", (), True),
        ("x  # NBVAL_IGNORE_OUTPUT", (), False),
        ("# not NBVAL_IGNORE_OUTPUT", (), False),
    ],
)
def test_a_cell_may_ask_not_to_be_compared(source, tags, ignored):
    """By nbval's tag or comment."""
    assert is_ignored(source, tags) is ignored


texts = st.text(alphabet="ab 01.\n<>", max_size=12)
kinds = st.sampled_from(["text/plain", "text/html"])
outputs = st.lists(
    st.one_of(
        st.builds(stream, texts, st.sampled_from(["stdout", "stderr"])),
        st.builds(lambda t, k: result(**{k: t}), texts, kinds),
        st.builds(lambda e, v: {"output_type": "error", "ename": e, "evalue": v}, texts, texts),
    ),
    max_size=3,
)  # fmt: skip


@given(outputs, outputs)
def test_what_differs_differs_either_way_round(old, new):
    """And nothing differs from itself."""
    assert differences(old, old) == []
    assert bool(differences(old, new)) == bool(differences(new, old))
    assert not differences(old, new, Tolerance(1.0)) or differences(old, new)
