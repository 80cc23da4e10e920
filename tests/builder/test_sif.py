"""SIF headers and descriptors."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_builder import sif
from nbrw_runtime.errors import FormatError

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
SIZES = st.integers(0, 1 << 40)


@given(
    st.lists(st.tuples(st.sampled_from([sif.JSON, sif.LABELS]), NAMES, SIZES), max_size=40),
    SIZES,
    st.sampled_from(["amd64", "arm64"]),
)
def test_what_is_written_is_read(others, size, architecture):
    """Reading gives back what was written, aligned and without overlap."""
    objects = sif.place([(sif.PARTITION, "squashfs", size), *others])
    end = objects[-1].offset + objects[-1].size
    data = sif.encode(objects, architecture)
    assert sif.decode(io.BytesIO(data), end, "x") == (architecture, objects)
    for one, two in zip(objects, objects[1:]):
        assert one.offset + one.size <= two.offset
        assert two.offset % 4096 == 0
    assert len(data) <= objects[0].offset == 32768


def test_a_foreign_header_is_refused():
    """Bytes without SIF's magic are not a SIF."""
    with pytest.raises(FormatError, match="not a SIF"):
        sif.decode(io.BytesIO(bytes(5000)), 5000, "x")


def test_another_version_is_refused_by_name():
    """The version that was found is in the message."""
    data = bytearray(sif.encode(sif.place([(sif.PARTITION, "s", 1)]), "amd64"))
    data[42:44] = b"02"
    with pytest.raises(FormatError, match="SIF version 02"):
        sif.decode(io.BytesIO(data), len(data), "x")


@pytest.mark.parametrize("length", [200, 5000, 32768])
def test_a_cut_off_file_is_refused(length):
    """A SIF whose objects lie beyond its end is not read."""
    data = sif.encode(sif.place([(sif.PARTITION, "s", 9000)]), "amd64")[:length]
    with pytest.raises(FormatError, match="cut off"):
        sif.decode(io.BytesIO(data), len(data), "x")
