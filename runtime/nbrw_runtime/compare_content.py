"""Whether two files hold the same for a reader, where their bytes differ. Pure: bytes in.

By the end of the name: tables (CSV) by cells, JSON by values, arrays of NumPy by elements, PNG by
pixels, HTML and SVG as outputs are, PDF but for its dates, gzip and zip by what is inside; any
other text by lines. All else differs where its bytes do.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

from nbrw_runtime.compare_html import html_difference
from nbrw_runtime.compare_npy import NotRead, npy_difference
from nbrw_runtime.compare_png import png_difference
from nbrw_runtime.compare_text import instead, quoted, same_text, text_difference
from nbrw_runtime.compare_tree import tree_difference
from nbrw_runtime.tolerance import Tolerance

#: Larger files, or larger ones inside an archive, are compared by their bytes alone.
LIMIT = 64_000_000
_DIALECTS = {".csv": ",", ".tsv": "\t"}
_UNREADABLE = (
    NotRead, ValueError, EOFError, RecursionError, NotImplementedError, RuntimeError, csv.Error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_PDF_DATES = re.compile(rb"/(?:Creation|Mod)Date ?\(D:[^)]*\)")


def content_difference(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    """How a file differs from the author's of the same ``name``, as a phrase; None: not at all."""
    if old == new:
        return None
    if max(len(old), len(new)) > LIMIT:
        return f"its bytes differ (it is larger than {LIMIT} bytes, so nothing else was looked at)"
    compare = _BY_SUFFIX.get(PurePosixPath(name).suffix.lower(), _any)
    try:
        return compare(name, old, new, tolerance)
    except _UNREADABLE as error:
        # It is not what its name says; it may be a text all the same.
        if _text(old) is None or _text(new) is None:
            return f"its bytes differ ({error})"
        return _any(name, old, new, tolerance)


def _any(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    before, after = _text(old), _text(new)
    if before is None or after is None:
        return "its bytes differ"
    return text_difference(before, after, tolerance)


def _text(data: bytes) -> str | None:
    """The text that the bytes are, if they are one."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _html(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    return html_difference(old.decode("utf-8"), new.decode("utf-8"), tolerance)


def _json(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    return tree_difference(json.loads(old), json.loads(new), tolerance)


def _csv(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    delimiter = _DIALECTS[PurePosixPath(name).suffix.lower()]
    before, after = (
        list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter=delimiter))
        for data in (old, new)
    )
    if len(before) != len(after):
        return f"{len(after)} lines instead of {len(before)}"
    found = []
    for number, (a, b) in enumerate(zip(before, after, strict=True)):
        if len(a) != len(b):
            return f"line {number + 1}: {len(b)} fields instead of {len(a)}"
        found += [
            (number, n)
            for n, (x, y) in enumerate(zip(a, b, strict=True))
            if x != y and not same_text(x, y, tolerance)
        ]
    if not found:
        return None
    row, column = found[0]
    head = before[0][column] if row and column < len(before[0]) else ""
    which = f"column {quoted(head)}" if head.strip() else f"column {column + 1}"
    text = f"line {row + 1}, {which}: {instead(before[row][column], after[row][column])}"
    more = len(found) - 1
    return f"{text}, and {more} more field{'s' * (more > 1)}" if more else text


def _npy(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    return npy_difference(old, new, tolerance)


def _png(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    return png_difference(old, new)


def _pdf(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    return pdf_difference(old, new)


def pdf_difference(old: bytes, new: bytes) -> str | None:
    """Whether two PDF are the same but for the times they were made at."""
    same = _PDF_DATES.sub(b"", old) == _PDF_DATES.sub(b"", new)
    return None if same else "its bytes differ, its dates aside"


def _gzip(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    # The time in the head is another each time; so may the compression be.
    inner = name[: -len(PurePosixPath(name).suffix)]
    return content_difference(inner, _unpacked(old), _unpacked(new), tolerance)


def _unpacked(data: bytes) -> bytes:
    made = b""
    while data:
        member = zlib.decompressobj(31)
        made += member.decompress(data, LIMIT + 1 - len(made))
        if len(made) > LIMIT:
            raise ValueError(f"inside it is larger than {LIMIT} bytes")
        if not member.eof:
            raise EOFError("it ends early")
        data = member.unused_data
    return made


def _zip(name: str, old: bytes, new: bytes, tolerance: Tolerance) -> str | None:
    with zipfile.ZipFile(io.BytesIO(old)) as before, zipfile.ZipFile(io.BytesIO(new)) as after:
        names = before.namelist()
        if names != after.namelist():
            return "it has other members"
        if len(set(names)) != len(names):
            raise ValueError("it has members of the same name")
        if sum(info.file_size for z in (before, after) for info in z.infolist()) > 2 * LIMIT:
            raise ValueError(f"inside it is larger than {LIMIT} bytes")
        for member in names:
            found = content_difference(member, before.read(member), after.read(member), tolerance)
            if found:
                return f"`{member}`: {found}"
    return None


_BY_SUFFIX: dict[str, Callable[[str, bytes, bytes, Tolerance], str | None]] = {
    ".csv": _csv, ".tsv": _csv, ".json": _json, ".geojson": _json, ".ipynb": _json,
    ".html": _html, ".htm": _html, ".svg": _html, ".png": _png, ".pdf": _pdf, ".npy": _npy,
    ".npz": _zip, ".zip": _zip, ".gz": _gzip,
}  # fmt: skip
