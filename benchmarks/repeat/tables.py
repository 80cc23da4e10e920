"""What was measured as Markdown tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

#: Without change, against the plain run; NBRewind's paper has 18.4 on average.
GOAL = 40


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
    """A row for each change."""
    lines = [
        "| workload | change | tasks it reaches | cells run | plain s | repeated s | speed-up "
        "| again s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    gains = []
    for name, found in measured.items():
        for what, change in found["changes"].items():
            if not change["repeat"]:
                continue
            repeated = statistics.median(change["repeat"])
            gain = change["plain"] / repeated
            gains += [gain] if change["paper"] else []
            cells = ", ".join(map(str, change["cells"]))
            shown = f"**{what}**" if change["paper"] else what
            lines.append(
                f"| {name} | {shown} | {change['tasks']} | {cells} | {change['plain']:.1f} "
                f"| {repeated:.1f} | {gain:.2f} | {statistics.median(change['again']):.1f} |"
            )
    if gains:
        lines.append(f"| average | **the paper's kind** | | | | | {statistics.mean(gains):.2f} | |")
    return "\n".join(lines)


def _is_times(value: Any) -> bool:
    return isinstance(value, list)
