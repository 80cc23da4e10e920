"""IPython's %store of each name that a cell changed, and %store -r."""

from __future__ import annotations

from typing import Any

from IPython.utils.capture import capture_output
from tool_plain import Tool as Plain
from tool_plain import size_of


class Tool(Plain):
    """Each name has one file, with its last value; state after an earlier cell is not kept."""

    def attach(self, shell: Any, notebook: Any) -> None:
        shell.run_line_magic("load_ext", "storemagic")
        self.refused: list[str] = []

    def after(self, shell: Any, number: int, cell: Any) -> None:
        for name in cell.changes:
            try:
                with capture_output() as captured:
                    shell.run_line_magic("store", name)
            except Exception as error:
                self.refused.append(f"{name}: {error}")
            else:
                if "Stored" not in captured.stdout:
                    self.refused.append(name)

    def not_kept(self) -> list[str]:
        return sorted({text.partition(":")[0] for text in self.refused})

    def stored(self) -> int:
        return size_of(self.place / "ipython")

    def prepare(self, shell: Any, notebook: Any) -> None:
        shell.run_line_magic("load_ext", "storemagic")

    def restore(self, shell: Any, name: str) -> None:
        shell.run_line_magic("store", f"-r {name}")
