"""What was measured as Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edits import LOADED, Edit
from figures import (
    VARIANTS,
    Case,
    Goal,
    Results,
    growth,
    judged,
    median,
    per_task,
    ratio,
    spread,
    whole,
    work,
)
from workloads import Workload

Rows = list[list[str]]


def table(head: Sequence[str], rows: Rows) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def number(value: float | None, digits: int = 3) -> str:
    """So many digits; empty: not measured."""
    return "" if value is None else f"{value:.{digits}g}" if value < 100 else f"{value:,.0f}"


def costs(workloads: Sequence[Workload], results: Results) -> str:
    """Microseconds for each task before Dask gets the graph."""
    rows: Rows = []
    for workload in workloads:
        found = results[workload.name]
        cells = [workload.shape, f"{workload.tasks:,}"]
        counts = [call["tasks"] for call in found["warm"][0]["probe"]["graphs"]]
        cells += [f"{sum(counts):,} in {len(counts):,}"]
        for variant in VARIANTS[1:]:
            rounds = found[variant]
            cost = median(rounds, per_task)
            cells.append(f"{number(cost)} ± {number(spread(rounds, per_task) / 2, 2)}")
        cells.append(number(median(found["warm"], lambda r: per_task(r, "fingerprints"))))
        cells.append(number(median(found["warm"], lambda r: per_task(r, "cpu"))))
        rows.append(cells)
    head = ["shape", "tasks", "tasks in graphs", "cold µs", "warm µs", "edited µs"]
    return table([*head, "warm: fingerprints", "warm: CPU"], rows)


def slopes(sizes: Mapping[str, Mapping[int, str]], results: Results) -> str:
    """How the cost of a whole graph grows with the number of its tasks."""
    rows = [
        [shape, f"{min(names):,} to {max(names):,}"]
        + [number(growth(results, names, variant)) for variant in VARIANTS[1:]]
        for shape, names in sizes.items()
        if len(names) > 1
    ]
    return table(["shape", "tasks", "cold", "warm", "edited"], rows)


def times(workloads: Sequence[Workload], results: Results) -> str:
    """Seconds of the cell with the tasks."""
    rows: Rows = []
    for workload in workloads:
        found = results[workload.name]
        plain = median(found["plain"], work)
        for variant in VARIANTS:
            rounds = found[variant]
            seconds = median(rounds, work)
            cells = [f"{workload.shape}, {workload.tasks:,} x {task(workload)}", variant]
            cells += [number(seconds), number(spread(rounds, work) / 2, 2)]
            cells += [number(ratio(seconds, plain)), number(ratio(plain, seconds))]
            cells += [number(median(rounds, whole)), *tasks(rounds[0])]
            ideal = plain / 2 if variant == "edited" and workload.shape == "map" and plain else None
            rows.append([*cells, number(ideal), number(ratio(ideal, seconds))])
    head = ["work", "variant", "s", "±", "of plain", "speed-up", "with cluster s"]
    return table([*head, "loaded", "run", "ideal s", "of the ideal"], rows)


def task(workload: Workload) -> str:
    """What one does."""
    if workload.work == "trivial":
        return "nothing"
    return f"{1e3 * workload.leaf:g} ms of {'sleep' if workload.work == 'sleep' else 'CPU'}"


def tasks(found: Mapping[str, Any]) -> list[str]:
    """Those that were loaded and that ran, by nbrw's own report."""
    cells = (found.get("tasks") or {}).values()
    if not found.get("tasks"):
        return ["", ""]
    return [f"{sum(cell[what] for cell in cells):,}" for what in ("loaded", "run")]


def peers(measured: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> str:
    """Seconds of the same tasks with other tools: ``measured[work][tool]``, of each round."""
    rows: Rows = []
    for title, tools in measured.items():
        for tool, rounds in tools.items():
            failures = [r["failed"] for found in rounds for r in found.values() if "failed" in r]
            if failures:
                rows.append([title, tool, f"fails: {failures[0]}", "", "", "", ""])
                continue
            middle = [
                median([found[variant] for found in rounds], lambda r: float(r["seconds"]))
                for variant in VARIANTS[:3]
            ]
            plain, cold, warm = middle
            rows.append(
                [title, tool, *map(number, middle)]
                + [number(ratio(cold, plain)), number(ratio(plain, warm))]
            )
    head = ["tasks", "tool", "plain s", "cold s", "warm s", "cold / plain", "plain / warm"]
    return table(head, rows)


def wrong(edits: Sequence[Edit], found: Mapping[str, Mapping[str, Sequence[Any]]]) -> str:
    """What each tool did with each edit; ``found[tool][run]`` is a list by edit.

    A tool that fails with all of them is below the table.
    """
    cases = {
        tool: [
            judged(*three, right=(edit.before, edit.after), loaded=LOADED)
            for edit, *three in zip(edits, *runs.values(), strict=True)
        ]
        for tool, runs in found.items()
    }
    broken = {tool: mine[0].words for tool, mine in cases.items() if mine and all_fail(mine)}
    shown = {tool: mine for tool, mine in cases.items() if tool not in broken}
    rows = [
        [edit.name, "another" if edit.matters else "the same", *map(told, line)]
        for edit, *line in zip(edits, *shown.values(), strict=True)
    ]
    rows.append(["**wrong results**", "", *(str(sum(c.stale for c in m)) for m in shown.values())])
    below = [f"\n{tool}: {words}." for tool, words in broken.items()]
    return "\n".join([table(["edit", "right result", *shown], rows), *below])


def all_fail(cases: Sequence[Case]) -> bool:
    """Whether a tool did nothing else."""
    return all(case.words.startswith("fails") for case in cases)


def told(case: Case) -> str:
    """A wrong result stands out."""
    return f"**{case.words}**" if case.stale else case.words


def goals(found: Sequence[Goal]) -> str:
    """Whether they are met."""
    rows = [
        [g.text, number(g.figure), f"{'>=' if g.least else '<='} {g.limit:g}", g.met] for g in found
    ]
    return table(["goal", "figure", "limit", "met"], rows)
