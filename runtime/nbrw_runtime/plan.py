"""Which cells to restore and which to run. Pure: values in, a Plan out."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Action(str, enum.Enum):
    """What a repeat does with a cell."""

    RESTORE = "restore"
    RUN = "run"
    SKIP = "skip"


@dataclass(frozen=True)
class Request:
    """What the caller asked for: ``--from N`` (``start``) or ``--all`` (``everything``)."""

    start: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Step:
    """What is done with one cell, and why.

    ``cell`` numbers the notebook that is repeated, ``audited`` the same cell in the recipe (None:
    it is new or edited).
    """

    cell: int
    action: Action
    reason: str
    audited: int | None = None


@dataclass(frozen=True)
class Plan:
    """A step for every cell, in order."""

    steps: tuple[Step, ...]
