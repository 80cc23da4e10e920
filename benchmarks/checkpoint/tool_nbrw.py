"""nbrw: the session that a kernel has in an audit, and in a repeat."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from tool_plain import Tool as Plain
from tool_plain import size_of

from checkpoint_helper import latest
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.records import from_json
from nbrw_runtime.session import KernelSession
from nbrw_runtime.session_file import Session


class Tool(Plain):
    """A KernelSession with a store on disk; no tracer, so no files of the notebook's."""

    def _session(self, mode: str, shell: Any, notebook: Any) -> KernelSession:
        sources = [cell.source for cell in notebook.cells]
        raw = {"cells": [{"cell_type": "code", "source": source} for source in sources]}
        cells = recipe_cells(code_cells(raw))
        checkpoints = self.place / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        here = str(self.place)
        stores = (str(self.place / "store"),)
        return KernelSession(Session(mode, cells, stores, str(checkpoints), here, here), shell)

    def attach(self, shell: Any, notebook: Any) -> None:
        self.session = self._session("audit", shell, notebook)
        self.session.register()

    def after(self, shell: Any, number: int, cell: Any) -> None:
        if self.session.failure or self.session.notes:
            raise RuntimeError("; ".join([self.session.failure or "", *self.session.notes]))

    def finish(self, shell: Any) -> None:
        self.session.finish()
        self.after(shell, 0, None)

    def not_kept(self) -> list[str]:
        found = read_checkpoints(self.place / "checkpoints")
        return sorted({omitted.name for checkpoint in found for omitted in checkpoint.omitted})

    def stored(self) -> int:
        return size_of(self.place / "store", self.place / "checkpoints")

    def prepare(self, shell: Any, notebook: Any) -> None:
        self.session = self._session("repeat", shell, notebook)

    def restore(self, shell: Any, name: str) -> None:
        checkpoints = read_checkpoints(self.place / "checkpoints")
        wanted = {
            str(cell): [name] if name else names
            for cell, names in latest(checkpoints).items()
            if not name or name in names
        }
        answer = self.session.bring(wanted, [], [], len(checkpoints) + 1)
        if answer["failed"]:
            raise RuntimeError(str(answer["failed"]))

    def confirm(self, shell: Any) -> None:
        failed = self.session.checked()["failed"]
        if failed:
            raise RuntimeError(str(failed))


def read_checkpoints(place: Path) -> list[Checkpoint]:
    """A repeat has these in memory, from the recipe; here they are read."""
    paths = sorted(place.glob("*.json"))
    return [from_json(Checkpoint, json.loads(path.read_bytes()), str(path)) for path in paths]
