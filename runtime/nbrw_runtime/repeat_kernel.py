"""How the repeat kernel is started in the image: argument vector, environment, session."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nbrw_runtime.dependency import GAP_NOTE, DataState
from nbrw_runtime.digest import Digest
from nbrw_runtime.notebook import Cell
from nbrw_runtime.recipe import Recipe, recipe_cells
from nbrw_runtime.records import to_json
from nbrw_runtime.session_file import ClusterOrders, Session, write_session
from nbrw_runtime.store import DirectoryStore

_FOREIGN = ("PYTHON", "CONDA", "JUPYTER", "JPY_", "IPYTHON", "VIRTUAL_ENV", "MAMBA", "_CE_", "PIP_")
_KEPT = ("PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE")


def image_stores(recipe: Recipe) -> list[DirectoryStore]:
    """The stores of the image's checkpoint layers."""
    return [
        DirectoryStore(layer.directory)
        for layer in recipe.layers
        if layer.cells and layer.directory
    ]


def kernel_environment(
    recipe: Recipe, scratch: Path, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The kernel's variables: the caller's without those that steer another Python or Jupyter, and
    the author's recorded ones.
    """
    found = os.environ if variables is None else variables
    environment = {
        name: text for name, text in found.items() if name in _KEPT or not name.startswith(_FOREIGN)
    }
    environment.update(recipe.environment.variables)
    home = environment.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        environment["HOME"] = home = str(_made(scratch / "home"))
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    environment.update(
        PYTHONNOUSERSITE="1",
        PYTHONDONTWRITEBYTECODE="1",
        IPYTHONDIR=str(_made(scratch / "ipython")),
        JUPYTER_CONFIG_DIR=str(_made(scratch / "jupyter")),
        JUPYTER_RUNTIME_DIR=str(_made(scratch / "runtime")),
        JUPYTER_DATA_DIR=str(_made(scratch / "data")),
        # Building matplotlib's font list takes seconds, so it is kept; not beside the caller's own.
        MPLCONFIGDIR=os.path.join(cache, "nbrw", "matplotlib"),
    )
    return environment


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def kernel_argv(recipe: Recipe, session: Path, watch: str = "") -> list[str]:
    """The argument vector of the repeat kernel; ``watch`` is the socket of its read watch."""
    launch = Path(__file__).with_name("launch.py")
    root = str(launch.parent.parent)
    return [
        recipe.environment.python,
        *interpreter_options(recipe.environment.kernel),
        str(launch),
        *("--fallback", root, "--session", str(session)),
        *(("--watch", watch) if watch else ()),
        *("-f", "{connection_file}"),
        *kernel_options(recipe.environment.kernel),
    ]


def interpreter_options(kernel: Sequence[str]) -> list[str]:
    """The interpreter's own options in a kernelspec's argument vector."""
    words = list(kernel[1:])
    return words[: words.index("-m")] if "-m" in words else []


def kernel_options(kernel: Sequence[str]) -> list[str]:
    """What a kernelspec gives to ipykernel beside the connection file."""
    words = list(kernel)
    return words[words.index("{connection_file}") + 1 :] if "{connection_file}" in words else []


def prepare_session(
    recipe: Recipe,
    cells: Sequence[Cell],
    cwd: str,
    scratch: Path,
    first: DirectoryStore | None = None,
    tasks: bool = True,
    kept_tasks: Iterable[Digest] | None = None,
    cluster: ClusterOrders | None = None,
) -> tuple[Path, list[DirectoryStore]]:
    """Write the session file and the checkpoints it names; returns it and the stores.

    What the kernel stores goes into the ``first`` store (None: one that goes with ``scratch``).
    ``tasks``: whether results of the audit's tasks may be loaded, and those of earlier repeats,
    whose documents are ``kept_tasks`` (None: there are none, and none are stored). ``cluster``:
    where they run (None: here).
    """
    stores = [first or DirectoryStore(_made(scratch / "store")), *image_stores(recipe)]
    checkpoints = _made(scratch / "checkpoints")
    for checkpoint in recipe.checkpoints:
        path = checkpoints / f"{checkpoint.cell:04d}.json"
        path.write_text(json.dumps(to_json(checkpoint)))
    # Where the trace has gaps nobody knows what tasks read and wrote.
    tasks = tasks and not any(note.startswith(GAP_NOTE) for note in recipe.dependencies.notes)
    # Workers list the working directory whenever they import: that tells nothing of a task.
    here = recipe.environment.cwd
    data = [d for d in recipe.dependencies.data if (d.path, d.state) != (here, DataState.LISTED)]
    session = Session(
        mode="repeat",
        cells=recipe_cells(cells),
        stores=tuple(str(store.root) for store in stores),
        checkpoints=str(checkpoints),
        cwd=cwd,
        author_cwd=recipe.environment.cwd,
        tasks=tasks,
        worker_data=tuple(d for d in data if "worker" in d.roles),
        kernel_data=tuple(d for d in data if "worker" not in d.roles),
        kept_tasks=tuple(kept_tasks or ()) if tasks else (),
        keep_tasks=tasks and kept_tasks is not None,
        cluster=cluster or ClusterOrders(),
    )
    path = scratch / "session.json"
    write_session(session, path)
    return path, stores
