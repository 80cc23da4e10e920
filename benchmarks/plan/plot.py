"""The plot of planning and of checkpoints by the number of cells. Equal figures, equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot


def draw(
    planned: dict[str, list[tuple[int, float, int]]],
    audited: dict[str, list[tuple[int, float]]],
    path: Path,
) -> None:
    """Write an SVG: seconds of planning on the left, milliseconds after a cell on the right."""
    settings: dict[str, Any] = {"svg.hashsalt": "nbrw", "svg.fonttype": "none", "font.size": 9}
    with pyplot.rc_context(settings):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for name, found in planned.items():
            left.plot([n for n, _, _ in found], [s for _, s, _ in found], marker=".", label=name)
        left.set(title="planning, 10,000 names", xlabel="cells", ylabel="seconds")
        for name, points in audited.items():
            right.plot([n for n, _ in points], [1e3 * s for _, s in points], label=name)
        right.set(title="checkpoint of a cell", xlabel="cells before it", ylabel="milliseconds")
        for axes in (left, right):
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)
