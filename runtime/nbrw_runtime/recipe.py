"""The recipe: the one JSON document that tells a repeat all about the audited run.

`docs/format.md`, section "Recipe". Stored in the image as ``/nbrw.recipe/recipe.json``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.dependency import Dependencies
from nbrw_runtime.digest import Digest, canonical_json
from nbrw_runtime.errors import FormatError
from nbrw_runtime.left_behind import LeftBehind
from nbrw_runtime.notebook import Cell
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.task_summary import CellTasks
from nbrw_runtime.verification import Verification

RECIPE_FORMAT = "nbrw.recipe"
RECIPE_VERSION = 1
RECIPE_PATH = "/nbrw.recipe/recipe.json"


@dataclass(frozen=True)
class RecipeCell:
    """One code cell of the audited notebook."""

    number: int
    id: str
    digest: Digest
    source: str
    tags: tuple[str, ...] = ()


def recipe_cells(cells: Iterable[Cell]) -> tuple[RecipeCell, ...]:
    """Code cells of a notebook as the recipe and the session keep them."""
    return tuple(RecipeCell(c.number, c.id, c.digest, c.source, c.tags) for c in cells)


@dataclass(frozen=True)
class Environment:
    """How the audited kernel was started, and where its parts are in the image.

    ``kernel`` is the argument vector of the kernelspec with paths as on the author's host;
    ``python`` the interpreter's path *in the image*. ``cwd`` is the author's working directory.
    Paths are translated by :mod:`nbrw_runtime.paths`. ``variables`` are the recorded environment
    variables (an allow-list).
    """

    python: str
    cwd: str
    kernel: tuple[str, ...] = ()
    python_version: str = ""
    platform: str = ""
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecipeLayer:
    """A layer of the image, lowest first: ``diff_id`` and size (bytes) of its uncompressed tar."""

    name: str
    diff_id: Digest
    size: int
    cells: tuple[int, ...] = ()
    directory: str = ""  # of a checkpoint layer: the top-level directory that holds its blobs


@dataclass(frozen=True)
class Recipe:
    """All that the image knows about the run. ``notebook`` is nbformat 4 JSON with outputs.

    ``verification`` says which cells repeat; None: nobody has tried. ``tasks``: how many
    of Dask's each cell has, for those that have some.
    """

    notebook: dict[str, Any]
    cells: tuple[RecipeCell, ...]
    checkpoints: tuple[Checkpoint, ...]
    environment: Environment
    dependencies: Dependencies = field(default_factory=Dependencies)
    layers: tuple[RecipeLayer, ...] = ()
    created_by: str = ""
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    uses_dask: bool = False
    format: str = RECIPE_FORMAT
    version: int = RECIPE_VERSION
    verification: Verification | None = None
    tasks: tuple[CellTasks, ...] = ()
    #: Of a partial image only; never in the document, but beside it.
    left_behind: LeftBehind | None = None

    def checkpoint(self, cell: int | None) -> Checkpoint | None:
        """The checkpoint of a cell, or None if it has none or there is no such cell."""
        return self._by_cell.get(cell)

    @functools.cached_property
    def _by_cell(self) -> dict[int | None, Checkpoint]:
        return {found.cell: found for found in reversed(self.checkpoints)}


def write_recipe(recipe: Recipe) -> bytes:
    """The document's bytes; equal recipes give equal bytes."""
    return canonical_json(to_json(recipe)) + b"\n"


def read_recipe(data: bytes, where: str = RECIPE_PATH) -> Recipe:
    """The recipe in these bytes. Raises FormatError, naming a version that is not read."""
    check = load_document(data, RECIPE_FORMAT, RECIPE_VERSION, where)
    return from_json(Recipe, check, where)


def load_document(data: bytes, name: str, version: int, where: str) -> dict[str, Any]:
    """The JSON object of one of our formats, if its name and version are those asked for."""
    try:
        value = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"read {where}: not JSON: {error}") from error
    # Fields that equal their default are left out, so an absent version is the first.
    if not isinstance(value, dict) or value.get("format", name) != name:
        raise FormatError(f"read {where}: not a document of format {name}")
    found = value.get("version", 1)
    if found != version:
        raise FormatError(
            f"read {where}: it is of {name} version {found}, this nbrw reads version {version}; "
            "use a newer nbrw"
        )
    return value
