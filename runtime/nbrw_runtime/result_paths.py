"""Which written files are results of a notebook; caches are not."""

from __future__ import annotations

import os

_UNLISTED = ("__pycache__", ".ipynb_checkpoints")


def is_result(path: str) -> bool:
    """Whether a written file is a result of the notebook."""
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    if path.startswith((cache + "/", home + "/.ipython/", home + "/.jupyter/", "/var/", "/run/")):
        return False
    if path.startswith((home + "/.local/share/jupyter/", home + "/.config/matplotlib/")):
        return False
    if is_scratch(path):
        return False
    if not set(_UNLISTED).isdisjoint(path.split("/")):
        return False
    return not path.startswith(("/tmp/pymp-", "/tmp/ipykernel_"))


def listed_names(path: str, with_notebooks: bool) -> list[str]:
    """What is in a directory, as far as it counts for a cell that lists it, sorted.

    Hidden files, caches and what repeats leave do not; notebooks only if that is asked for: in a
    work directory they are what is repeated. Raises OSError.
    """
    return sorted(
        name
        for name in os.listdir(path)
        if not name.startswith(".") and name not in _UNLISTED and not is_scratch(name)
        if not name.endswith(".repeat.ipynb" if with_notebooks else ".ipynb")
    )


def is_scratch(path: str) -> bool:
    """Whether it is among the temporary files of Dask's workers, which no cell depends on."""
    return path.startswith("/tmp/dask-") or "dask-scratch-space" in path.split("/")
