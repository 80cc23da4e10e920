"""An attempt in nbrw: an audit, and a repeat with the question as one cell more.

The kernels are the tests' (`tests/repeat_harness.py`): what a tracer would see of files is taken
from Python's audit events.
"""

from __future__ import annotations

import sys
from pathlib import Path

from attempts import Attempt

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "tests"))

import repeat_harness as harness
from nbrw_runtime.recipe import read_recipe, write_recipe
from nbrw_runtime.store import DirectoryStore


def record(place: Path, attempt: Attempt) -> str:
    """Audit the cells; the answer of a plain run."""
    recipe, _ = harness.audit(place / "audit", list(attempt.cells), attempt.files)
    (place / "recipe.json").write_bytes(write_recipe(recipe))
    shown = harness.plain_run(place / "plain", _asking(attempt), attempt.files)
    return _text(shown[-1])


def ask(place: Path, attempt: Attempt) -> str:
    """Repeat with the question."""
    recipe = read_recipe((place / "recipe.json").read_bytes())
    files = {name: (place / name).read_text() for name in attempt.files}
    store = DirectoryStore(place / "audit/store")
    repeat = harness.Repeat(place / "repeat", recipe, store, _asking(attempt), files=files)
    return _text(repeat.outputs[-1])


def _asking(attempt: Attempt) -> list[str]:
    return [*attempt.cells, f"print(repr({attempt.question}))"]


def _text(outputs: list[dict[str, object]]) -> str:
    return "".join(str(found.get("text") or found.get("evalue")) for found in outputs).strip()
