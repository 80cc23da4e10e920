"""Kishu through its own hooks and checkout: full dumps, increments, or its faster tracker.

Its switch for tests stands in for a front end: a notebook path instead of a server's answer, and
no waiting for JupyterLab to save the notebook after `init_kishu`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tool_plain import Tool as Plain
from tool_plain import size_of

INCREMENTAL = "[PLANNER]\nincremental_store = True\n"
MODES = {
    "kishu-full": "[PLANNER]\nincremental_store = False\n",
    "kishu-incremental": INCREMENTAL,
    "kishu-tracker": INCREMENTAL + "[IDGRAPH]\nexperimental_tracker = True\n",
}


class Tool(Plain):
    """``init_kishu()`` in the shell, as its documentation says."""

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, place)
        self.path = place / "notebook.ipynb"
        os.environ["KISHU_PATH_ROOT"] = str(place)
        os.environ["ENV_KISHU_TEST_MODE"] = "true"
        os.environ["TEST_NOTEBOOK_PATH"] = str(self.path)

    def attach(self, shell: Any, notebook: Any) -> None:
        cells = [
            {"cell_type": "code", "source": cell.source, "outputs": [], "metadata": {},
             "execution_count": None, "id": f"cell-{number}"}
            for number, cell in enumerate(notebook.cells)
        ]  # fmt: skip
        value = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.path.write_text(json.dumps(value))
        config = self.place / ".kishu"
        config.mkdir(exist_ok=True)
        (config / "config.ini").write_text(MODES[self.name])
        self._init(shell)

    def _init(self, shell: Any) -> None:
        result = shell.run_cell("from kishu import init_kishu; init_kishu()", store_history=True)
        if not result.success:
            raise SystemExit(f"init_kishu failed: {result.error_in_exec!r}")

    def stored(self) -> int:
        return size_of(self.place / "notebook.kishudb")

    def prepare(self, shell: Any, notebook: Any) -> None:
        self._init(shell)
        self.last = len(notebook.cells)

    def restore(self, shell: Any, name: str) -> None:
        # There is no checkout of single variables: this brings all of them.
        instrument = shell.user_ns["_kishu"]
        instrument.checkout(f"1:0:{self.last}", skip_notebook=True)
