"""Parameters of a notebook, as papermill has them. Pure.

Source: papermill's "Parameterize": a cell tagged ``injected-parameters`` goes below the cell tagged
``parameters``, or to the top, and takes the place of an earlier one.
"""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.errors import UsageError

TAG = "parameters"
INJECTED_TAG = "injected-parameters"


def parse_value(text: str) -> Any:
    """The value that a word on the command line means: a number, true, null, a list, else text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
            json.dumps(value, allow_nan=False)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return json.loads(json.dumps(value))
    return text


def inject(notebook: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an nbformat 4 notebook with these parameters set; the same without any.

    Raises UsageError if a name is no Python identifier.
    """
    changed = copy.deepcopy(dict(notebook))
    if not parameters:
        return changed
    for name in parameters:
        if not name.isidentifier():
            raise UsageError(f"set parameter {name}: it is not a Python name")
    lines = ["# Parameters"]
    lines += [f"{name} = {value!r}" for name, value in parameters.items()]
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": INJECTED_TAG,
        "metadata": {"tags": [INJECTED_TAG]},
        "outputs": [],
        "source": "\n".join(lines),
    }
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) < (4, 5):
        del cell["id"]
    cells = changed["cells"]
    injected = _tagged(cells, INJECTED_TAG)
    tagged = _tagged(cells, TAG)
    if injected is not None:
        cells[injected] = cell
    else:
        cells.insert(0 if tagged is None else tagged + 1, cell)
    return changed


def _tagged(cells: list[dict[str, Any]], tag: str) -> int | None:
    for index, cell in enumerate(cells):
        if tag in cell.get("metadata", {}).get("tags", []):
            return index
    return None
