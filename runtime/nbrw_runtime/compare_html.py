"""HTML and SVG compared as a reader sees them: tables by cells, the rest by text and markup. Pure.

Identifiers that are drawn at random count by their place alone: those of matplotlib's SVG (unless
`svg.hashsalt` is set), of pandas' Styler, and UUIDs that are an element's id. So does the date in
the metadata that matplotlib writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from nbrw_runtime.compare_text import instead, quoted, same_text
from nbrw_runtime.tolerance import Tolerance

_UUID = r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
# matplotlib: markers, clip paths and hatches, images of old, and members of collections.
_MATPLOTLIB = r"(?:[mph]|image|C[0-9a-f]+_[0-9a-f]+_)[0-9a-f]{10}"
_IDS = re.compile(rf"""\bid\s*=\s*["'](?:({_MATPLOTLIB}|T_[0-9a-f]{{5}})|[\w-]*?({_UUID}))""")
_DATE = re.compile(r"<dc:date>[^<]*</dc:date>")
_SPACE = re.compile(r"\s+")
_VERBATIM = {"pre", "textarea", "script", "style"}
_ALONE = {"br", "hr", "img", "input", "col", "meta", "link", "area", "base", "wbr", "source"}


def same_identifiers(old: str, new: str) -> tuple[str, str]:
    """Both texts, with identifiers that are drawn at random numbered by where they come first."""
    return _numbered(_DATE.sub("", old)), _numbered(_DATE.sub("", new))


def _numbered(text: str) -> str:
    known = dict.fromkeys(found[1] or found[2] for found in _IDS.finditer(text))
    if not known:
        return text
    any_of = re.compile("|".join(sorted(known, key=len, reverse=True)))
    order: dict[str, str] = {}
    return any_of.sub(lambda m: order.setdefault(m[0], f"nbrw-id-{len(order) + 1}"), text)


def html_difference(old: str, new: str, tolerance: Tolerance) -> str | None:
    """Where ``new`` first differs from the author's ``old``, as a phrase; None if nowhere."""
    if old == new:
        return None
    old, new = same_identifiers(old, new)
    if old == new:
        return None
    before, after = _read(old), _read(new)
    return (
        _tables_differ(before.tables, after.tables, tolerance)
        or _rest_differs(before.rest, after.rest, tolerance)
        or None
    )


@dataclass
class _Table:
    """``rows`` are cells as text; ``heads`` says which of them are headers."""

    rows: list[list[str]] = field(default_factory=list)
    heads: list[list[bool]] = field(default_factory=list)

    def place(self, row: int, column: int) -> str:
        """A cell by the names that the table gives its row and its column."""
        name = next((t for t, h in zip(self.rows[row], self.heads[row], strict=True) if h), "")
        top = ""
        for texts, heads in zip(self.rows[:row], self.heads[:row], strict=True):
            # With cells that span others a column has another number in each row.
            if all(heads) and len(texts) == len(self.rows[row]):
                top = texts[column] or top
        row_name = f"row {quoted(name)}" if name.strip() else f"row {row + 1}"
        return f"{row_name}, column {quoted(top) if top.strip() else column + 1}"


class _Reader(HTMLParser):
    """``tables`` by cells, and ``rest``: markup and texts, those of cells too, as they come."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[_Table] = []
        self.rest: list[tuple[str, str]] = []
        self._open: list[_Table] = []
        self._cells: list[list[str] | None] = []  # text of the open cell of each open table
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = [f"{name}={value or ''}" for name, value in sorted(attrs, key=str)]
        self.rest.append(("markup", " ".join([tag, *words])))
        self._verbatim += tag in _VERBATIM
        if tag == "table":
            self._open.append(_Table())
            self.tables.append(self._open[-1])
            self._cells.append(None)
        elif self._open and tag == "tr":
            self._end_cell()
            self._open[-1].rows.append([])
            self._open[-1].heads.append([])
        elif self._open and tag in ("td", "th") and self._open[-1].rows:
            self._end_cell()
            self._cells[-1] = []
            self._open[-1].heads[-1].append(tag == "th")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _ALONE:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.rest.append(("markup", "/" + tag))
        self._verbatim -= tag in _VERBATIM and self._verbatim > 0
        if self._open and tag in ("td", "th", "tr"):
            self._end_cell()
        elif self._open and tag == "table":
            self._end_cell()
            self._open.pop()
            self._cells.pop()

    def handle_data(self, data: str) -> None:
        text = data if self._verbatim else _SPACE.sub(" ", data)
        if not text.strip():
            return
        self.rest.append(("text", text))
        if self._cells and self._cells[-1] is not None:
            self._cells[-1].append(text)

    def handle_comment(self, data: str) -> None:
        # Some versions of Python take a CDATA section for one.
        self.rest.append(("markup", data))

    def handle_decl(self, decl: str) -> None:
        self.rest.append(("markup", decl))

    def handle_pi(self, data: str) -> None:
        self.rest.append(("markup", data))

    def unknown_decl(self, data: str) -> None:
        self.rest.append(("text", data))

    def _end_cell(self) -> None:
        if self._cells[-1] is not None:
            self._open[-1].rows[-1].append(" ".join(self._cells[-1]).strip())
            self._cells[-1] = None

    def end(self) -> None:
        """Cells that the text did not close are closed."""
        self.close()
        while self._open:
            self._end_cell()
            self._open.pop()
            self._cells.pop()


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.end()
    return reader


def _tables_differ(old: list[_Table], new: list[_Table], tolerance: Tolerance) -> str | None:
    if len(old) != len(new):
        return f"{len(new)} table{'s' * (len(new) != 1)} instead of {len(old)}"
    for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
        which = f"table {number}: " if len(old) > 1 else ""
        if len(before.rows) != len(after.rows):
            return f"{which}{len(after.rows)} rows instead of {len(before.rows)}"
        for row, (a, b) in enumerate(zip(before.rows, after.rows, strict=True)):
            if len(a) != len(b):
                return f"{which}row {row + 1}: {len(b)} cells instead of {len(a)}"
        found = list(_cells_that_differ(before, after, tolerance))
        if found:
            row, column = found[0]
            place = before.place(row, column)
            text = f"{which}{place}: {instead(before.rows[row][column], after.rows[row][column])}"
            more = len(found) - 1
            return f"{text}, and {more} more cell{'s' * (more > 1)}" if more else text
    return None


def _cells_that_differ(old: _Table, new: _Table, tolerance: Tolerance) -> Iterator[tuple[int, int]]:
    for row, (before, after) in enumerate(zip(old.rows, new.rows, strict=True)):
        for column, (a, b) in enumerate(zip(before, after, strict=True)):
            if not same_text(a, b, tolerance):
                yield row, column


def _rest_differs(
    old: list[tuple[str, str]], new: list[tuple[str, str]], tolerance: Tolerance
) -> str | None:
    for (kind, a), (other, b) in zip(old, new, strict=False):
        if kind != other or not same_text(a, b, tolerance):
            names = "" if kind == other == "text" else "markup "
            return names + instead(a, b)
    if len(old) != len(new):
        longer, what = (old, "is missing") if len(old) > len(new) else (new, "is new")
        kind, text = longer[min(len(old), len(new))]
        return f"{'markup ' * (kind == 'markup')}{quoted(text)} {what}"
    return None
