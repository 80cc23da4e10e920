"""What was measured as Markdown tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

#: Without change, against the plain run; NBRewind's paper has 18.4 on average.
GOAL = 40
#: With changes: the speed-up, and what it is of the ideal one; averages in NBRewind's paper.
GAIN, SHARE = 3, 0.85
PAPER_HITS, PAPER_GAIN = 0.75, 2.08


def workloads_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each workload: plain, audited, repeated without change."""
    lines = [
        "| workload | plain s | audit s | ratio | resolve s | pack s | image MB | unpack s "
        "| repeated s | speed-up | goal |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    gains = []
    for name, found in measured.items():
        middle = {key: statistics.median(found[key]) for key in found if _is_times(found[key])}
        plain = middle["plain"]
        gains.append(plain / middle["unchanged"])
        lines.append(
            f"| {name} | {plain:.1f} | {middle['audit']:.1f} | {middle['audit'] / plain:.2f} "
            f"| {middle['resolve']:.1f} | {middle['pack']:.1f} | {found['bytes'] / 1e6:.0f} "
            f"| {middle['unpack']:.1f} | {middle['unchanged']:.2f} | {gains[-1]:.1f} | |"
        )
    lines.append(f"| average | | | | | | | | | {statistics.mean(gains):.1f} | >= {GOAL} |")
    return "\n".join(lines)


def changes_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each change, and what the paper's kind and those of the goals have on average."""
    lines = [
        "| workload | change | tasks run | of | hit rate | best | cells run | plain s | repeated s "
        "| ideal s | speed-up | ideal speed-up | of ideal | again s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    kinds: dict[str, list[tuple[float, ...]]] = {"paper": [], "goal": []}
    for name, found in measured.items():
        for what, change in found["changes"].items():
            if not change["repeat"]:
                continue
            plain, repeated, ideal, again = (
                statistics.median(change[key]) for key in ("plain", "repeat", "ideal", "again")
            )
            hits, best = (1 - change[key] / change["all"] for key in ("executed", "reached"))
            gain, most = plain / repeated, plain / ideal
            for kind, figures in kinds.items():
                if change[kind]:
                    figures.append((hits, best, gain, most, gain / most))
            cells = ", ".join(map(str, change["cells"]))
            shown = f"**{what}**" if change["goal"] else what
            lines.append(
                f"| {name} | {shown} | {change['executed']} | {change['all']} | {hits:.0%} "
                f"| {best:.0%} | {cells} | {plain:.1f} | {repeated:.1f} | {ideal:.1f} "
                f"| {gain:.2f} | {most:.2f} | {gain / most:.0%} | {again:.1f} |"
            )
    for kind, shown in (("goal", "**in bold**"), ("paper", "the paper's kind")):
        if kinds[kind]:
            hits, best, gain, most, share = map(statistics.mean, zip(*kinds[kind], strict=True))
            lines.append(
                f"| average | {shown} | | | {hits:.0%} | {best:.0%} | | | | "
                f"| {gain:.2f} | {most:.2f} | {share:.0%} | |"
            )
    lines.append(f"| goal | **in bold** | | | = best | | | | | | >= {GAIN} | | >= {SHARE:.0%} | |")
    lines.append(f"| NBRewind's paper | | | | {PAPER_HITS:.0%} | | | | | | {PAPER_GAIN} | | | |")
    return "\n".join(lines)


def _is_times(value: Any) -> bool:
    return isinstance(value, list)
