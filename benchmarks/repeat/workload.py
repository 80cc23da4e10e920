"""The five workloads: their notebooks, data and changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("dv5", "mapreduce", "dconv", "rag", "ctrend")


@dataclass(frozen=True)
class Change:
    """Replaces a text, that there must be once, by another.

    ``kind`` is ``cell-edit`` (in a code cell) or ``file-edit`` (in ``file``, below the working
    directory). ``tasks`` is how many of the workload's tasks it reaches, ``touches`` the names of
    the notebook that it changes, ``paper`` whether it is the kind of change that NBRewind's paper
    measured, ``goal`` whether it counts for the goals of the task cache.
    """

    name: str
    kind: str
    old: str
    new: str
    tasks: int
    paper: bool = False
    goal: bool = False
    file: str = ""
    touches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("cell-edit", "file-edit") or (self.kind == "file-edit") != bool(
            self.file
        ):
            raise ValueError(f"change {self.name!r}: a cell-edit, or a file-edit that names a file")

    @property
    def touched(self) -> tuple[str, ...]:
        """The names, or the file."""
        return (self.file,) if self.file else self.touches

    def edited(self, text: str) -> str:
        """A text with the change. Raises ValueError where it does not apply."""
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"change {self.name!r}: {self.old!r} is there {count} times, not once")
        return text.replace(self.old, self.new)


class Workload:
    """One of `examples/`, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = EXAMPLES / name
        found = json.loads((self.source / "changes.json").read_text())
        self.changes = tuple(
            Change(**{**value, "touches": tuple(value.get("touches", ()))}) for value in found
        )

    def make_data(self, directory: Path, small: bool = False, scale: int = 1) -> None:
        """Write the inputs to ``directory``: small ones, or ``scale`` times as much as usual."""
        command = [sys.executable, self.source / "make_data.py", directory]
        command += ["--small"] if small else []
        # The picture of dconv is what the paper's was.
        command += ["--scale", str(scale)] if scale != 1 and self.name != "dconv" else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def notebook(self, change: Change | None = None) -> dict[str, Any]:
        """The notebook, edited if that is what the change is. Raises ValueError."""
        value: dict[str, Any] = json.loads((self.source / f"{self.name}.ipynb").read_text())
        if change is None or change.kind != "cell-edit":
            return value
        code = [cell for cell in value["cells"] if cell["cell_type"] == "code"]
        texts = ["".join(cell["source"]) for cell in code]
        # All cells as one text, so that what is there twice is found.
        edited = change.edited("\0".join(texts)).split("\0")
        for cell, text in zip(code, edited, strict=True):
            cell["source"] = text.splitlines(keepends=True)
        return value

    def lay_out(self, place: Path, data: Path, change: Change | None = None) -> Path:
        """Notebook and inputs in a new directory, with the change; returns the notebook's path."""
        place.mkdir(parents=True)
        shutil.copytree(data, place / "data")
        path = place / f"{self.name}.ipynb"
        path.write_text(json.dumps(self.notebook(change), indent=1))
        if change is not None and change.kind == "file-edit":
            changed = place / change.file
            changed.write_text(change.edited(changed.read_text()))
        return path

    def lay_out_change(self, place: Path, data: Path, change: Change | None) -> list[str]:
        """What a collaborator has in an empty directory: the edited notebook, or the edited file.

        Returns what to give to ``repeat``.
        """
        place.mkdir(parents=True)
        if change is None:
            return []
        if change.kind == "cell-edit":
            (place / "edited.ipynb").write_text(json.dumps(self.notebook(change), indent=1))
            return ["edited.ipynb"]
        path = place / change.file
        path.parent.mkdir(parents=True)
        path.write_text(change.edited((data.parent / change.file).read_text()))
        return []
