"""PNG by their pixels: what is equal however it is written, and what is never equal by mistake."""

from __future__ import annotations

import io
import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.compare_png import NotDecoded, png_difference, read_png

sys.path.insert(0, str(Path(__file__).parent))

from png_maker import CHANNELS, png  # noqa: E402


def pixels(data):
    """All pixels of an image."""
    image = read_png(data)
    return [pixel for line in image.unfiltered() for pixel in image.pixels(line)]


KINDS = [(colour, depth) for colour in (0, 2, 4, 6) for depth in (8, 16)] + [
    (0, 1), (0, 2), (0, 4), (3, 1), (3, 2), (3, 4), (3, 8),
]  # fmt: skip


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_filters_and_compression_do_not_matter(data, kind):
    """Any image written twice, with any filters, is equal to itself; every kind is decoded."""
    colour, depth = kind
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    sample = st.integers(0, (1 << depth) - 1)
    line = st.lists(sample, min_size=width * CHANNELS[colour], max_size=width * CHANNELS[colour])
    lines = data.draw(st.lists(line, min_size=height, max_size=height))
    filters = st.lists(st.integers(0, 4), min_size=1, max_size=4)
    palette = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    options = {"depth": depth, "colour": colour, "before": palette}
    first = png(lines, filters=data.draw(filters), level=9, **options)
    second = png(lines, filters=data.draw(filters), level=0, **options)
    assert png_difference(first, second) is None
    other = [list(each) for each in lines]
    other[-1][-1] ^= 1
    found = png_difference(first, png(other, filters=data.draw(filters), **options))
    assert found is not None and found.startswith("1 of ")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_pixels_are_those_that_pillow_sees(mode):
    """Pillow is the oracle, for each of its modes."""
    image = pytest.importorskip("PIL.Image")
    draw = random.Random(4)
    size = (13, 7)
    if mode == "I;16":
        made = image.frombytes(mode, size, draw.randbytes(2 * 13 * 7))
    elif mode in ("P", "1"):
        made = image.frombytes("RGB", size, draw.randbytes(3 * 13 * 7)).convert(mode)
    else:
        made = image.frombytes(mode, size, draw.randbytes(len(mode) * 13 * 7))
    stream = io.BytesIO()
    made.save(stream, "PNG")
    if mode == "I;16":
        want = [(v, v, v, 65535) for v in struct.unpack("<91H", made.tobytes())]
    else:
        raw = made.convert("RGBA").tobytes()
        want = [tuple(raw[n : n + 4]) for n in range(0, len(raw), 4)]
    assert pixels(stream.getvalue()) == want


def test_a_transparent_colour_and_a_transparent_palette_entry_count():
    """The same samples with another opacity are another image."""
    grey = [[1, 2, 3]]
    assert pixels(png(grey, before=[(b"tRNS", struct.pack(">H", 2))]))[1] == (2, 2, 2, 0)
    assert png_difference(png(grey), png(grey, before=[(b"tRNS", struct.pack(">H", 2))]))
    head = [(b"PLTE", bytes([9, 9, 9, 8, 8, 8]))]
    plain, clear = png([[0, 1]], colour=3, before=head), [*head, (b"tRNS", b"\xff\x00")]
    found = png_difference(plain, png([[0, 1]], colour=3, before=clear))
    assert found == "1 of 2 pixels differ, by at most 255 of 255"


def test_a_palette_and_the_colours_themselves_are_one_image():
    """How colours are written down does not matter; 8 bits and 16 neither."""
    head = [(b"PLTE", bytes([1, 2, 3, 200, 100, 50]))]
    colours = png([[200, 100, 50, 1, 2, 3]], colour=2)
    assert png_difference(png([[1, 0]], colour=3, before=head), colours) is None
    wide = png([[200 * 257, 100 * 257, 50 * 257, 257, 514, 771]], colour=2, depth=16)
    assert png_difference(colours, wide) is None


def test_comments_and_resolution_do_not_count_but_colour_profiles_do():
    """What a browser shows is what matters."""
    plain = png([[1]])
    assert (
        png_difference(plain, png([[1]], before=[(b"tEXt", b"k\0v"), (b"pHYs", bytes(9))])) is None
    )
    found = png_difference(plain, png([[1]], before=[(b"gAMA", bytes(4))]))
    assert "profile or gamma" in found


def test_a_difference_says_how_many_pixels_and_how_much():
    """Or the sizes, where these differ."""
    found = png_difference(png([[1, 2], [3, 4]]), png([[1, 9], [3, 5]]))
    assert found == "2 of 4 pixels differ, by at most 7 of 255"
    assert png_difference(png([[1, 2]]), png([[1], [2]])) == "1 x 2 pixels instead of 2 x 1"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (png([[1]], interlaced=1), "interlaced"),
        (png([[1]], before=[(b"acTL", bytes(8))]), "animated"),
        (png([[2]])[:-20], "ends early|checksum"),
        (png([[2]]).replace(b"IDAT", b"IDAX"), "checksum"),
        (png([[3]], filters=(0,), colour=3, before=[(b"PLTE", b"abc")]), "palette lacks"),
        (b"GIF89a", "no PNG"),
        (b"\x89PNG\r\n\x1a\n", "no header"),
    ],
)
def test_what_cannot_be_decoded_is_said_and_never_equal(data, why):
    """Unless the bytes are equal."""
    assert png_difference(data, data) is None
    found = png_difference(
        png([[1]]) if b"PLTE" not in data else png([[0]], colour=3, before=[(b"PLTE", b"abc")]),
        data,
    )
    assert "cannot be compared" in found
    with pytest.raises(NotDecoded, match=why):
        pixels(data)
