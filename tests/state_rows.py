"""The rows of `state_rows.txt`: kinds of objects, cells that make them, and what is expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

TABLE = Path(__file__).with_name("state_rows.txt")


@dataclass(frozen=True)
class Row:
    """One kind of object. ``omitted`` maps names to words of the reason; all others are stored."""

    kind: str
    cells: tuple[str, ...]
    omitted: dict[str, str] = field(default_factory=dict)
    dill: tuple[str, ...] = ()
    needs: str = ""
    placed: bool = False


def _row(text):
    head, *cells = text.strip().split("\n---\n")
    kind, *lines = head.split("\n")
    said = [line.partition(": ")[::2] for line in lines]
    one = dict(said)
    omitted = [rest.partition(" ")[::2] for key, rest in said if key == "omitted"]
    assert set(one) <= {"omitted", "dill", "needs", "placed"}, kind
    return Row(
        kind, tuple(cells), dict(omitted), tuple(one.get("dill", "").split()),
        one.get("needs", ""), "placed" in one,
    )  # fmt: skip


ROWS = [_row(text) for text in TABLE.read_text(encoding="utf-8").split("\n=== ")[1:]]
