"""Repeats in a crate: each is a run of its notebook in the image. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_builder.ro_crate import ROOT, Graph, Person, ref, refs
from nbrw_builder.ro_crate_audit import (
    IMAGE,
    CrateFile,
    add_workflow,
    organize,
    step_of,
    tool_of,
)
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.report import CellReport, Report, cells_phrase


@dataclass(frozen=True)
class Repeat:
    """A repeat: its report, the notebook that it wrote, and where the crate has that."""

    report: Report
    notebook: Mapping[str, Any]
    file: CrateFile


def add_repeat(
    graph: Graph, recipe: Recipe, workflow: str, repeat: Repeat, number: int, agent: Person | None
) -> None:
    """Add a repeat as a run in the image.

    Where its cells are not those of the audit, in their order, its notebook is a workflow of its
    own, based on the audited one (the entity ``workflow``).
    """
    report = repeat.report
    cells = code_cells(repeat.notebook)
    edited = [cell.digest for cell in cells] != [cell.digest for cell in recipe.cells]
    name = f"repeat-{number}"
    result = []
    if edited:
        title = f"{recipe.title or 'notebook'}, edited"
        tools = _tools(recipe, workflow, repeat)
        ran = add_workflow(graph, repeat.file, title, cells, tools, isBasedOn=ref(workflow))
    else:
        ran = workflow
        graph.add(
            repeat.file.identifier,
            "File",
            name=f"{recipe.title or 'notebook'}, as repeated",
            encodingFormat="application/x-ipynb+json",
            sha256=repeat.file.digest.hex,
            contentSize=str(repeat.file.size),
        )
        graph.add_to(ROOT, "hasPart", repeat.file.identifier)
        result.append(repeat.file.identifier)
    who = None if agent is None else ref(graph.person(agent))
    failed = [cell for cell in report.cells if cell.action == "failed"]
    run = graph.action(
        f"#{name}",
        bool(failed),
        name=f"Repeat {number} of {recipe.title or 'the notebook'}",
        description=_what(report),
        instrument=ref(ran),
        result=refs(result),
        containerImage=ref(IMAGE),
        agent=who,
        error=failed[0].error or f"cell {failed[0].cell} failed" if failed else "",
        resourceUsage=ref(graph.took(f"#{name}-duration", report.seconds)),
    )
    done = [
        _cell(graph, ran, name, number, cell)
        for cell in report.cells
        if cell.action in ("run", "failed")
    ]
    organize(graph, run, name, done, who)


def _tools(recipe: Recipe, workflow: str, repeat: Repeat) -> dict[int, str]:
    """The code of each cell that ran, here or, if it was restored, in the audit."""
    done = {found.cell for found in recipe.checkpoints}
    audited = {c.digest: tool_of(workflow, c.number) for c in recipe.cells if c.number in done}
    found = {}
    for cell, said in zip(code_cells(repeat.notebook), repeat.report.cells, strict=True):
        if said.action in ("run", "failed"):
            found[cell.number] = tool_of(repeat.file.identifier, cell.number)
        elif said.action == "restored" and cell.digest in audited:
            found[cell.number] = audited[cell.digest]
    return found


def _cell(graph: Graph, workflow: str, name: str, number: int, cell: CellReport) -> tuple[str, str]:
    identifier = f"#{name}-cell-{cell.cell}"
    failed = cell.action == "failed"
    outputs = f"outputs {cell.outputs}" if cell.outputs != "equal" else "outputs as in the audit"
    action = graph.action(
        identifier,
        failed,
        name=f"cell {cell.cell} in repeat {number}",
        description=". ".join([f"It ran: {cell.reason}; {outputs}", *cell.differences]),
        instrument=ref(tool_of(workflow, cell.cell)),
        containerImage=ref(IMAGE),
        error=(cell.error or "the cell raised an error") if failed else "",
        resourceUsage=ref(graph.took(f"{identifier}-duration", cell.seconds)),
    )
    return step_of(workflow, cell.cell), action


def _what(report: Report) -> str:
    words = []
    for action, verb in (("restored", "restored"), ("run", "run"), ("skipped", "not run")):
        numbers = [cell.cell for cell in report.cells if cell.action == action]
        if numbers:
            words.append(f"{cells_phrase(numbers)} {verb}")
    different = report.numbers("different")
    if different:
        words.append(f"{cells_phrase(different)} left something else than in the audit")
    return "; ".join(words) or "nothing was run"
