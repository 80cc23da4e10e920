"""Whether a cost grows along a notebook. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WINDOW = 50


def windows(taken: Sequence[float], width: int = WINDOW) -> list[tuple[int, float]]:
    """The median of each so many cells, with the number of the first; an incomplete rest is left.

    Fewer cells than one window make one window.
    """
    last = max(len(taken) // width, 1) * width
    return [(n + 1, statistics.median(taken[n : n + width])) for n in range(0, last, width)]


def slope(taken: Sequence[float], width: int = WINDOW) -> float:
    """How much is added for each cell: the line through the windows' medians (least squares)."""
    points = windows(taken, width)
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope
