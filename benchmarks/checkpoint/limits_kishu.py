"""An attempt in Kishu, with its defaults."""

from __future__ import annotations

import sys
from pathlib import Path

import drive
import tool_kishu
from attempts import Attempt
from bench_notebooks import Cell, Notebook
from IPython.utils.capture import capture_output


def record(place: Path, attempt: Attempt) -> str:
    """Run the cells; the answer at once."""
    shell = drive.make_shell()
    tool = tool_kishu.Tool("kishu-incremental", place)
    cells = tuple(Cell(source, ()) for source in attempt.cells)
    with capture_output() as captured:
        tool.attach(shell, Notebook("attempt", attempt.title, cells, 0))
    for cell in cells:
        with capture_output() as captured:
            result = shell.run_cell(cell.source, store_history=True)
        if not result.success or "Error in callback" in captured.stdout:
            sys.exit(captured.stdout.strip().splitlines()[-1])
    return repr(eval(attempt.question, shell.user_ns))


def ask(place: Path, attempt: Attempt) -> str:
    """Check the last commit out and ask."""
    shell = drive.make_shell()
    tool = tool_kishu.Tool("kishu-incremental", place)
    with capture_output():
        tool.prepare(shell, Notebook("attempt", "", tuple(Cell(s, ()) for s in attempt.cells), 0))
        tool.restore(shell, "")
    return repr(eval(attempt.question, shell.user_ns))
