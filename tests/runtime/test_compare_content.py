"""Files whose bytes differ: what they hold decides, where that can be told."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from nbrw_runtime import compare_content
from nbrw_runtime.compare_content import content_difference
from nbrw_runtime.compare_tree import tree_difference
from nbrw_runtime.tolerance import DEFAULT, Tolerance

sys.path.insert(0, str(Path(__file__).parent))

from png_maker import png  # noqa: E402


def difference(name, old, new, tolerance=DEFAULT):
    """The phrase, which is the same whether there is one either way round."""
    old, new = (v.encode() if isinstance(v, str) else v for v in (old, new))
    found = content_difference(name, old, new, tolerance)
    assert (found is None) == (content_difference(name, new, old, tolerance) is None)
    assert content_difference(name, new, new, tolerance) is None
    return found


def zipped(date, **members):
    """A zip whose members have a date."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, data in members.items():
            target.writestr(zipfile.ZipInfo(name.replace("_", "."), date), data)
    return stream.getvalue()


def array(values, dtype="<f8", **options):
    """The bytes of a .npy file."""
    numpy = pytest.importorskip("numpy")
    stream = io.BytesIO()
    numpy.save(stream, numpy.array(values, dtype, **options), allow_pickle=False)
    return stream.getvalue()


DATE = (1980, 1, 1, 0, 0, 0)
SAME = {
    "numbers in a table": ("a.csv", "x,y\na,0.5\n", "x,y\na,0.5000000000001\n"),
    "quotes in a table": ("a.csv", 'x,y\na,"b"\n', "x,y\r\na,b\r\n"),
    "tabs": ("a.tsv", "x\t0.5\n", "x\t0.50\n"),
    "JSON with other spaces and order": ("a.json", '{"a": 1, "b": [0.1]}', '{"b":[1e-1],"a":1.0}'),
    "NaN": ("a.json", "[NaN, 1]", "[NaN,1]"),
    "a text": ("a.txt", "mean 0.5\n", "mean 0.50\n"),
    "a text of another kind": ("a.log", "<f at 0x7f0011223344>", "<f at 0x7f0011223355>"),
    "what is no JSON but a text": ("a.json", '{"a": 0.5}\n{"a": 1}\n', '{"a": 0.50}\n{"a": 1}\n'),
    "a PDF of another time": ("a.pdf", b"%PDF\0/CreationDate (D:20240101Z)",
                              b"%PDF\0/CreationDate (D:20250101Z)"),
    "gzip of another time": ("a.csv.gz", gzip.compress(b"x\n0.5\n", mtime=1),
                             gzip.compress(b"x\n0.50\n", mtime=2)),
    "gzip in parts": ("a.gz", gzip.compress(b"ab", mtime=1),
                      gzip.compress(b"a", mtime=1) + gzip.compress(b"b", mtime=1)),
    "zip of another time": ("a.zip", zipped(DATE, a_csv="x\n0.5\n"),
                            zipped((1990, 1, 1, 0, 0, 0), a_csv="x\n0.50\n")),
    "PNG with another filter": ("a.PNG", png([[1], [3]]), png([[1], [3]], filters=(4,))),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_other_bytes_with_the_same_content_are_equal(name):
    """Where the kind of file is known."""
    path, old, new = SAME[name]
    assert old != new
    assert difference(path, old, new) is None


DIFFERENT = {
    "a cell": ("a.csv", "x,y\na,0.52\n", "x,y\na,0.51\n", "line 2, column `y`: `0.51` instead of"),
    "two cells": ("a.csv", "x,y\na,1\n", "x,y\nb,2\n", "`x`: `b` instead of `a`, and 1 more"),
    "the head": ("a.csv", "x,y\n", "x,z\n", "line 1, column 2: `z` instead of `y`"),
    "a line": ("a.csv", "x\n1\n", "x\n", "1 lines instead of 2"),
    "a field": ("a.csv", "x,y\n1,2\n", "x,y\n1\n", "line 2: 1 fields instead of 2"),
    "a whole number": ("a.csv", "x\n1\n", "x\n2\n", "column `x`: `2` instead of `1`"),
    "JSON": ("a.json", '{"a": {"b": [1, 0.52]}}', '{"a": {"b": [1, 0.51]}}',
             "at `a.b[1]`: `0.51` instead of `0.52`"),
    "JSON's kinds": ("a.json", '{"a": 1}', '{"a": true}', "at `a`: `true` instead of `1`"),
    "a member": ("a.json", '{"a": 1}', '{"b": 1}', "`a` is missing, and 1 more value"),
    "a length": ("a.json", "[1]", "[1, 2]", "2 values instead of 1"),
    "a text": ("a.txt", "a\nb\n", "a\nc\n", "line 2: `c` instead of `b`"),
    "bytes": ("a.bin", b"a\0", b"b\0", "its bytes differ"),
    "bytes of one": ("a.txt", b"a\xff", b"a", "its bytes differ"),
    "PDF": ("a.pdf", b"%PDF a", b"%PDF b", "its bytes differ, its dates aside"),
    "pixels": ("a.png", png([[1]]), png([[2]]), "1 of 1 pixels differ"),
    "gzip": ("a.txt.gz", gzip.compress(b"a"), gzip.compress(b"b"), "`b` instead of `a`"),
    "a spoilt gzip": ("a.gz", gzip.compress(b"a"), gzip.compress(b"a")[:-3], "its bytes differ ("),
    "no gzip at all": ("a.gz", b"\xff\0", b"\xfe\0", "its bytes differ ("),
    "zip": ("a.zip", zipped(DATE, a_txt="a"), zipped(DATE, a_txt="b"),
            "`a.txt`: `b` instead of `a`"),
    "zip members": ("a.zip", zipped(DATE, a="a"), zipped(DATE, b="a"),
                    "it has other members"),
    "SVG": ("a.svg", "<svg><path d='M 1 2'/></svg>", "<svg><path d='M 1 3'/></svg>", "markup"),
    "not UTF-8": ("a.csv", b"x\xff\n", b"y\xff\n", "its bytes differ ("),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_first_difference_of_a_file_is_shown(name):
    """By line and column, by path, by line; of what is not understood that bytes differ."""
    path, old, new, phrase = DIFFERENT[name]
    assert phrase in difference(path, old, new)


def test_arrays_are_compared_by_elements():
    """With the indices of the first, how many there are, and by how much at most."""
    old = array([[1.0, 2.0], [3.0, 4.0]])
    assert difference("a.npy", old, array([[1.0, 2.0], [3.0, 4.0 + 1e-12]])) is None
    found = difference("a.npy", old, array([[1.0, 2.0], [3.5, 4.25]]))
    assert found == (
        "2 of 4 elements differ, by at most 0.5; the first at [1, 0]: 3.5 instead of 3.0"
    )
    assert difference("a.npy", old, array([[1.0, 2.0], [3.5, 4.25]]), Tolerance(0.2)) is None
    fortran = [array(v, order="F") for v in ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.5], [3.0, 4.0]])]
    assert "the first at [0, 1]: 2.5 instead of 2.0" in difference("a.npy", *fortran)
    assert "1 of 1 elements" in difference(
        "a.npy", array([1 + 2j], "<c16"), array([2 + 3j], "<c16")
    )
    nan = float("nan")
    assert difference("a.npy", array([nan, 1.0]), array([nan, 1.0 + 1e-13])) is None
    assert "(2,) instead of (1,)" in difference("a.npy", array([1.0]), array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        ([1], [2], "elements of type <i8 differ"),
        ([True], [False], "elements of type |b1 differ"),
        (["a"], ["b"], "elements of type <U1 differ"),
    ],
)
def test_whole_numbers_and_texts_of_arrays_must_be_equal(old, new, phrase):
    """The tolerance is for what was computed with rounding."""
    kinds = {int: "<i8", bool: "?", str: "<U1"}
    files = [array(values, kinds[type(values[0])]) for values in (old, new)]
    assert phrase in difference("a.npy", *files, Tolerance(1.0))


def test_a_spoilt_array_is_different():
    """Whatever is wrong with it."""
    good = array([1.0])
    for bad in (good[:-1], b"\x93NUMPY", good[:10] + b"x" + good[11:], good + b"x"):
        assert "its bytes differ" in difference("a.npy", good, bad)


def test_archives_of_arrays_are_compared_member_by_member():
    """As np.savez writes them."""
    numpy = pytest.importorskip("numpy")
    files = []
    for value in (0.5, 0.5 + 1e-13, 0.6):
        stream = io.BytesIO()
        numpy.savez_compressed(stream, a=numpy.array([value]), b=numpy.array([1]))
        files.append(stream.getvalue())
    assert difference("a.npz", *files[:2]) is None
    assert difference("a.npz", files[0], files[2]).startswith("`a.npy`: 1 of 1 elements differ")


def test_large_files_are_compared_by_their_bytes_alone(monkeypatch):
    """Outside an archive and inside."""
    monkeypatch.setattr(compare_content, "LIMIT", 10)
    assert "larger than 10 bytes" in difference("a.txt", "0.5" * 10, "0.50" * 10)
    bomb = [gzip.compress(b"x" * 999_999 + end) for end in (b"a", b"b")]
    monkeypatch.setattr(compare_content, "LIMIT", 10_000)
    assert "inside it is larger than 10000 bytes" in difference("a.txt.gz", *bomb)


def test_trees_of_any_depth_end():
    """A JSON text that nests too deeply is no crash."""
    deep = "[" * 100_000 + "]" * 100_000
    assert difference("a.json", deep, deep + " ") is not None
    assert tree_difference(json.loads("1e400"), 1.0, DEFAULT) is not None
    assert tree_difference(10**400, 1.5, DEFAULT) is not None
