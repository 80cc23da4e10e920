"""What a partial image lacks: who unpacks it says so beside the recipe. Pure.

`docs/format/image.md`, section "Partial images".
"""

from __future__ import annotations

from dataclasses import dataclass

from nbrw_runtime.digest import canonical_json
from nbrw_runtime.errors import NotFoundError
from nbrw_runtime.records import from_json, to_json

LEFT_BEHIND_PATH = "/nbrw.recipe/left-behind.json"
LEFT_BEHIND_FORMAT = "nbrw.left-behind"
LEFT_BEHIND_VERSION = 1


@dataclass(frozen=True)
class LeftBehind:
    """What ``nbrw pull --from`` left behind, and the ``command`` that brings it.

    ``cells``: their checkpoints. ``data``: the author's input files, which the cells ``readers``
    touched in the audit.
    """

    start: int
    command: str
    cells: tuple[int, ...] = ()
    data: bool = False
    readers: tuple[int, ...] = ()
    format: str = LEFT_BEHIND_FORMAT
    version: int = LEFT_BEHIND_VERSION

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"it was left behind by `nbrw pull --from {self.start}`; `{self.command}` brings it"


def write_left_behind(found: LeftBehind) -> bytes:
    """The document's bytes."""
    return canonical_json(to_json(found)) + b"\n"


def read_left_behind(data: bytes, where: str = LEFT_BEHIND_PATH) -> LeftBehind:
    """What these bytes say. Raises FormatError."""
    from nbrw_runtime.recipe import load_document

    value = load_document(data, LEFT_BEHIND_FORMAT, LEFT_BEHIND_VERSION, where)
    return from_json(LeftBehind, value, where)


def check_run(left: LeftBehind, cell: int, reason: str, audited: int | None) -> str:
    """The reason to run a cell of a partial image, completed. ``audited`` is the cell of the audit
    that had the same code and inputs, if one had.

    Raises NotFoundError if it may read what is not there: it might find nothing where the author
    had a file, and nobody would see that its result is another.
    """
    if left.data and (audited is None or audited in left.readers):
        raise NotFoundError(
            f"run cell {cell} ({reason}): it may read the author's data, which this partial image "
            f"lacks; {left.remedy}"
        )
    if audited in left.cells and "blob" in reason:
        return f"{reason}; {left.remedy}"
    return reason
