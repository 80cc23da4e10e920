"""nbrw: the session that a kernel has in an audit, and in a repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tool_plain import Tool as Plain
from tool_plain import size_of

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import recipe_cells
from nbrw_runtime.records import from_json
from nbrw_runtime.restore import surviving
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

    def problem(self, shell: Any) -> str:
        found = [*([self.session.failure] if self.session.failure else []), *self.session.notes]
        for path in (self.place / "checkpoints").iterdir():
            found += [o["name"] for o in json.loads(path.read_bytes()).get("omitted", [])]
        return "; ".join(found)

    def stored(self) -> int:
        return size_of(self.place / "store", self.place / "checkpoints")

    def prepare(self, shell: Any, notebook: Any) -> None:
        self.session = self._session("repeat", shell, notebook)

    def restore(self, shell: Any, name: str) -> None:
        live = surviving(read_checkpoints(self.place / "checkpoints"))
        answer = self.session.bring({str(live[name][0]): [name]}, [], [], 1)
        if answer["failed"]:
            raise SystemExit(str(answer["failed"]))


def read_checkpoints(place: Path) -> list[Checkpoint]:
    """A repeat has these in memory, from the recipe; here they are read."""
    paths = sorted(place.iterdir())
    return [from_json(Checkpoint, json.loads(path.read_bytes()), str(path)) for path in paths]
