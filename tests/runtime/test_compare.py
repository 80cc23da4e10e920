"""Comparing outputs."""

import base64
import struct
import zlib

import pytest

from nbrw_runtime.compare import differences, same_image, same_text


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def result(**data):
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}


def png(pixels, level=6, comment=b""):
    """A one-line grey PNG as base64."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", len(pixels), 1, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" + bytes(pixels), level)
    text = chunk(b"tEXt", comment) if comment else b""
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + chunk(b"IDAT", body)
    return base64.b64encode(data + chunk(b"IEND", b"")).decode()


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("<f at 0x7f0011223344>", "<f at 0x7fffffffff00>", True),
        ("x = 0.1", "x = 0.10000000000000001", True),
        ("x = 0.1", "x = 0.2", False),
        ("n = 10", "n = 11", False),
        ("1 2 3", "1 2", False),
        ("\x1b[31mred\x1b[0m", "red", True),
        ("1e-3", "0.001", True),
    ],
)
def test_texts_are_equal_but_for_addresses_and_last_digits(old, new, same):
    """Whole numbers must be equal to the letter."""
    assert same_text(old, new) is same


def test_streams_are_compared_as_a_whole():
    """How often the kernel flushed does not matter."""
    assert differences([stream("a"), stream("b")], [stream("ab")]) == []
    assert differences([stream("a")], [stream("a", "stderr")]) == ["stderr", "stdout"]


def test_results_differ_by_the_kind_that_differs():
    """The phrase names it."""
    old = result(**{"text/plain": "1", "text/html": "<b>1</b>"})
    assert differences([old], [old]) == []
    new = result(**{"text/plain": "2", "text/html": "<b>1</b>"})
    assert differences([old], [new]) == ["text/plain"]
    assert differences([old], [result(**{"text/plain": "1"})]) == ["text/html is missing"]


def test_a_missing_output_is_a_difference():
    """Also a new one."""
    assert differences([result(a="1")], []) == ["0 outputs instead of 1"]


def test_errors_are_equal_by_name_and_message():
    """Their tracebacks hold paths and colours."""
    old = {"output_type": "error", "ename": "E", "evalue": "m", "traceback": ["a"]}
    assert differences([old], [{**old, "traceback": ["b"]}]) == []
    assert differences([old], [{**old, "ename": "F"}]) == ["error F instead of E"]


def test_images_are_compared_by_pixels():
    """Another compression or comment is the same image."""
    assert same_image(png([1, 2, 3]), png([1, 2, 3], level=0, comment=b"k\0v"))
    assert not same_image(png([1, 2, 3]), png([1, 2, 4]))
    assert not same_image(png([1]), "not an image")
