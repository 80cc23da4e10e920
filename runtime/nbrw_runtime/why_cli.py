"""The command `why` of an image: why a cell and its tasks ran. On the host it is `nbrw why`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nbrw_runtime.errors import EXIT_OK
from nbrw_runtime.recipe import Recipe

_EPILOG = """\
examples:
  why 3                           why cell 3 ran, and which of its Dask tasks
  why 3 risk_score                only its tasks of this name
  why 3 --report out.ipynb        of the repeat that wrote this notebook, or this report
  why 3 --json

The notebook that the last repeat in the directory wrote has its report.

exit codes: 0 done, 2 no report, no such cell or no such task, 3 the report is of a newer format"""


def add_parser(commands: Any) -> None:
    """Add `why` to the commands of an image."""
    parser = commands.add_parser(
        "why",
        help="say why a cell and its Dask tasks ran in the last repeat",
        description="Say why a cell ran or was restored in the last repeat, and of its Dask tasks "
        "how many were loaded, which ran, and what was edited.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cell", type=int, metavar="CELL", help="a code cell of the repeated notebook, from 1 on")
    add("task", nargs="?", default="", metavar="TASK", help="a task's name as Dask has it, or key")
    add("--report", type=Path, metavar="FILE", help="a notebook or report that a repeat wrote")
    add("--work-dir", type=Path, default=Path(), metavar="DIR", help="default: the current one")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, recipe: Recipe) -> int:
    """Run it; returns the exit code."""
    print(told(recipe, options.cell, options.task, options.report, options.work_dir, options.json))
    return EXIT_OK


def told(
    recipe: Recipe, cell: int, task: str, report: Path | None, directory: Path, as_json: bool
) -> str:
    """What `why` prints. Raises UsageError, FormatError."""
    from nbrw_runtime.last_report import last_report
    from nbrw_runtime.why import why, why_text

    value = why(last_report(recipe.title, directory, report), cell, task)
    return json.dumps(value, indent=1) if as_json else why_text(value)
