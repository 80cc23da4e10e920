"""Frozen dataclasses to JSON and back."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.checkpoint import Checkpoint, Omitted, StoredFile, StoredObject
from nbrw_runtime.dependency import Data, DataState, Dependencies, LeftOut, Software, SoftwareKind
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError
from nbrw_runtime.records import from_json, to_json

DIGESTS = st.binary(max_size=4).map(digest_bytes)
NAMES = st.tuples(st.text(max_size=5)) | st.just(()) | st.tuples(st.text(max_size=5), st.just("b"))
CELLS = st.lists(st.integers(1, 9), max_size=3).map(tuple)


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    name: str
    number: int = 0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    maybe: Digest | None = None
    colour: Colour = Colour.RED
    table: dict[str, Inner] = field(default_factory=dict)
    ratio: float = 0.0
    anything: Any = None


FULL = Outer(
    Inner("a", 1), (Inner("b"), Inner("c", 3)), (7, "x"), digest_bytes(b""), Colour.BLUE,
    {"k": Inner("d")}, 0.5, {"free": [1, None]},
)  # fmt: skip


def test_every_kind_of_field_comes_back():
    """Through real JSON text."""
    assert from_json(Outer, json.loads(json.dumps(to_json(FULL)))) == FULL


def test_defaults_are_left_out_and_filled_in():
    """Documents stay short, and a field that is new has its default in old documents."""
    assert to_json(Outer(Inner("a"))) == {"inner": {"name": "a"}}
    assert from_json(Outer, {"inner": {"name": "a"}}) == Outer(Inner("a"))


def test_unknown_keys_are_ignored():
    """A newer minor writer may add some."""
    assert from_json(Inner, {"name": "a", "new": [1]}) == Inner("a")


def test_an_integer_is_a_number_but_a_truth_value_is_not():
    """JSON writes 1.0 as 1 in some languages."""
    assert from_json(Outer, {"inner": {"name": ""}, "ratio": 2}).ratio == 2.0
    with pytest.raises(FormatError):
        from_json(Outer, {"inner": {"name": ""}, "ratio": True})


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"inner": None},
        {"inner": {"name": 5}},
        {"inner": {}},
        {"inner": {"name": "a"}, "many": {}},
        {"inner": {"name": "a"}, "many": [{}]},
        {"inner": {"name": "a"}, "pair": [1]},
        {"inner": {"name": "a"}, "pair": ["x", 1]},
        {"inner": {"name": "a"}, "maybe": "sha256:12"},
        {"inner": {"name": "a"}, "colour": "green"},
        {"inner": {"name": "a"}, "table": []},
        {"inner": {"name": "a"}, "ratio": "0.5"},
    ],
)
def test_a_malformed_document_is_a_format_error_that_names_the_place(value):
    """Never a TypeError far away from where the document was read."""
    with pytest.raises(FormatError, match="read here: not a valid Outer"):
        from_json(Outer, value, "here")


CHECKPOINTS = st.builds(
    Checkpoint,
    cell=st.integers(1, 99),
    code=DIGESTS,
    status=st.sampled_from(["ok", "error"]),
    objects=st.lists(
        st.builds(StoredObject, NAMES, DIGESTS, DIGESTS, st.lists(DIGESTS, max_size=2).map(tuple),
                  size=st.integers(0, 1 << 40)), max_size=2).map(tuple),
    deleted=NAMES,
    omitted=st.lists(st.builds(Omitted, st.text(), st.text(), st.text()), max_size=2).map(tuple),
    files=st.lists(st.builds(StoredFile, st.text(), DIGESTS, st.integers(0)), max_size=2).map(
        tuple
    ),
    outputs=st.none() | DIGESTS,
    seconds=st.floats(0, 1e6),
)  # fmt: skip
DEPENDENCIES = st.builds(
    Dependencies,
    software=st.lists(
        st.builds(Software, st.sampled_from(SoftwareKind), st.text(), cells=CELLS), max_size=2
    ).map(tuple),
    data=st.lists(
        st.builds(Data, st.text(), st.sampled_from(DataState), CELLS, digest=st.none() | DIGESTS,
                  size=st.none() | st.integers(0)), max_size=2).map(tuple),
    left_out=st.lists(st.builds(LeftOut, st.text(), st.text()), max_size=2).map(tuple),
)  # fmt: skip


@given(CHECKPOINTS | DEPENDENCIES)
def test_our_documents_come_back(record):
    """Whatever is in them."""
    text = json.dumps(to_json(record))
    assert from_json(type(record), json.loads(text)) == record


@given(CHECKPOINTS, st.floats(0, 1e6))
def test_timings_do_not_count_towards_a_checkpoints_identity(checkpoint, seconds):
    """The same state is the same checkpoint on a slower day."""
    other = replace(checkpoint, seconds=seconds, overhead=seconds)
    assert other.digest == checkpoint.digest
    assert replace(checkpoint, cell=checkpoint.cell + 1).digest != checkpoint.digest


def test_a_checkpoint_lists_each_blob_once():
    """Buffers, futures, files and outputs are all needed for a restore."""
    one, two, three, four = (digest_bytes(bytes([n])) for n in range(4))
    checkpoint = Checkpoint(
        1, one,
        objects=(StoredObject(("a",), one, one, (two,)), StoredObject(("b",), one, one, (two,))),
        files=(StoredFile("/f", three, 1),), outputs=four,
    )  # fmt: skip
    assert checkpoint.blobs == tuple(sorted([one, two, three, four]))
