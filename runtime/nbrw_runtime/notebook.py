"""Cells of a notebook and their identity.

A cell is a *code* cell, numbered from 1 in notebook order, empty ones included. Its identity is
the digest of its normalised source: comments, blank lines and spacing between tokens do not
count. Source that is not plain Python (magics, shell escapes, ``?``) counts to the letter, as
there a ``#`` need not begin a comment.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import UsageError

_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
# Python 3.12 splits f-strings into tokens; they are put together again so that a digest does not
# depend on the version of Python that computes it.
_FSTRING_START = getattr(tokenize, "FSTRING_START", -1)
_FSTRING_END = getattr(tokenize, "FSTRING_END", -1)


@dataclass(frozen=True)
class Cell:
    """One code cell: its number from 1, nbformat ``id`` (a hint), source, digest and tags."""

    __slots__ = ("digest", "id", "number", "source", "tags")
    number: int
    id: str
    source: str
    digest: Digest
    tags: tuple[str, ...]

    @property
    def runs(self) -> bool:
        """Whether executing the notebook executes this cell (nbclient's ``skip-execution``)."""
        return bool(self.source.strip()) and "skip-execution" not in self.tags


def normalise(source: str) -> str:
    """The part of a cell's source that decides what it does."""
    source = source.replace("\r\n", "\n")
    try:
        ast.parse(source)
        return _normalise_python(source)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError):
        return "raw:" + source.strip()


def _normalise_python(source: str) -> str:
    lines = source.splitlines(keepends=True)
    out: list[str] = []
    depth = 0
    start = (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == _FSTRING_START:
            if depth == 0:
                start = token.start
            depth += 1
        elif token.type == _FSTRING_END:
            depth -= 1
            if depth == 0:
                out.append(_between(lines, start, token.end))
        elif depth or token.type in _SKIPPED:
            continue
        elif token.type == tokenize.INDENT:
            out.append("\x01")
        elif token.type == tokenize.DEDENT:
            out.append("\x02")
        elif token.type == tokenize.NEWLINE:
            out.append("\n")
        else:
            out.append(token.string)
    return "python:" + "\x00".join(out)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def cell_digest(source: str) -> Digest:
    """The identity of a cell with this source."""
    return digest_bytes(normalise(source).encode("utf-8", "surrogatepass"))


def code_cells(notebook: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The code cells of an nbformat 4 notebook (its JSON), in order, numbered from 1."""
    cells: list[Cell] = []
    for raw in notebook["cells"]:
        if raw.get("cell_type") != "code":
            continue
        source = raw.get("source", "")
        if isinstance(source, list):
            source = "".join(source)
        tags = raw.get("metadata", {}).get("tags", [])
        cells.append(
            Cell(len(cells) + 1, str(raw.get("id", "")), source, cell_digest(source), tuple(tags))
        )
    return tuple(cells)


def read_notebook(path: str | Path) -> dict[str, Any]:
    """The JSON of an nbformat 4 notebook. Raises UsageError with a sentence for the user."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"read notebook {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"read notebook {path}: not a notebook: it is not UTF-8 text") from error
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"read notebook {path}: not a notebook: {error}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        if isinstance(notebook, dict) and "worksheets" in notebook:
            raise UsageError(
                f"read notebook {path}: it is of nbformat 3; "
                "convert it with `jupyter nbconvert --to notebook --nbformat 4`"
            )
        raise UsageError(f"read notebook {path}: not a notebook: it has no list of cells")
    if notebook.get("nbformat") != 4:
        raise UsageError(
            f"read notebook {path}: nbformat {notebook.get('nbformat')!r} is not read, only 4"
        )
    for cell in notebook["cells"]:
        # On disk text may be a list of lines.
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(cell["source"])
    return notebook
