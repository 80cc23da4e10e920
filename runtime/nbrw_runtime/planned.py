"""What a repeat would do, as a report, without doing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbrw_runtime.notebook import code_cells, read_notebook
from nbrw_runtime.parameters import INJECTED_TAG, inject
from nbrw_runtime.plan import Action, Request, Step, make_plan
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.report import CellReport, Report


def load_notebook(
    recipe: Recipe, path: Path | None, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The notebook to repeat, with the author's parameters unless others are given.

    Raises UsageError.
    """
    given = dict(parameters or {})
    if path is None:
        notebook = json.loads(json.dumps(recipe.notebook))
        return inject(notebook, {**recipe.parameters, **given} if given else {})
    notebook = read_notebook(path)
    has = any(INJECTED_TAG in c.get("metadata", {}).get("tags", []) for c in notebook["cells"])
    return inject(notebook, given if has else {**recipe.parameters, **given})


def planned(recipe: Recipe, notebook: dict[str, Any], request: Request) -> Report:
    """The report of what would be done, if files are as the author's. Raises UsageError."""
    plan = make_plan(recipe, code_cells(notebook), request)
    words = {Action.RESTORE: "restored", Action.RUN: "run", Action.SKIP: "skipped"}
    steps = tuple(
        CellReport(
            step.cell, words[step.action], step.reason, audit_seconds=_audit_seconds(recipe, step)
        )
        for step in plan.steps
    )
    return Report(recipe.title, recipe.created_by, steps, dry_run=True)


def _audit_seconds(recipe: Recipe, step: Step) -> float | None:
    checkpoint = recipe.checkpoint(step.audited)
    return checkpoint.seconds if checkpoint else None
