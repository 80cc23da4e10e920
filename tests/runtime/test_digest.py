"""Digests and canonical JSON."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.digest import (
    Digest,
    canonical_json,
    digest_bytes,
    digest_file,
    digest_json,
    digest_stream,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


def test_digests_stay_the_same():
    """They are in every image; a change would orphan all of them."""
    assert str(digest_bytes(b"abc")) == "sha256:" + ABC
    assert digest_bytes(b"abc").hex == ABC
    assert Digest.from_hex(ABC) == digest_bytes(memoryview(b"abc"))
    assert digest_json({"b": [1, None], "a": "ü"}).hex.startswith("9d57496c")


@pytest.mark.parametrize(
    "text",
    ["", ABC, "sha256:" + ABC.upper(), "sha256:" + ABC[:-1], "sha512:" + ABC, f"sha256:{ABC}\n"],
)
def test_what_is_no_digest_cannot_be_one(text):
    """A Digest that exists is well-formed, so a path made of it is safe."""
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Digest(text)


@given(st.binary(max_size=3000))
def test_streams_and_buffers_agree(data):
    """However the bytes come."""
    assert digest_stream(io.BytesIO(data)) == (digest_bytes(data), len(data))


def test_a_file_is_digested_across_chunks(tmp_path):
    """Bigger than one read."""
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    assert digest_file(tmp_path / "f") == (digest_bytes(data), len(data))


@given(JSON)
def test_canonical_json_is_json_and_ascii(value):
    """It reads back as what was written, and equal values have equal bytes."""
    text = canonical_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert canonical_json(json.loads(text)) == text


def test_the_order_of_keys_does_not_count():
    """A dict's order is an accident."""
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1}) == b'{"a":1,"b":2}'


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_json_is_refused(value):
    """NaN would be written as no JSON reader takes it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": value})
