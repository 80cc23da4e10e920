"""dill.dump_session after each cell, into a file of its own, and dill.load_session."""

from __future__ import annotations

import importlib
from typing import Any

from tool_plain import Tool as Plain


class Tool(Plain):
    """Every dump counts, but only the last two are kept: a disk need not hold twenty."""

    _stored = 0

    def attach(self, shell: Any, notebook: Any) -> None:
        # Not before: dill takes what is the main module now for the session.
        self.dill = importlib.import_module("dill")

    def prepare(self, shell: Any, notebook: Any) -> None:
        self.attach(shell, notebook)

    def after(self, shell: Any, number: int, cell: Any) -> None:
        self.dill.dump_session(self.place / f"{number:04}.dill")

    def stored(self) -> int:
        return self._stored

    def settle(self, number: int) -> None:
        """Count the dump of this cell and remove the one before; not timed."""
        self._stored += (self.place / f"{number:04}.dill").stat().st_size
        (self.place / f"{number - 1:04}.dill").unlink(missing_ok=True)

    def restore(self, shell: Any, name: str) -> None:
        [path] = self.place.glob("*.dill")
        self.dill.load_session(path)
