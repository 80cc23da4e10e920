"""Which written files are results of a notebook; caches are not."""

from __future__ import annotations

import os

_UNLISTED = ("__pycache__", "dask-scratch-space", ".ipynb_checkpoints")


def is_result(path: str) -> bool:
    """Whether a written file is a result of the notebook."""
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    if path.startswith((cache + "/", home + "/.ipython/", home + "/.jupyter/", "/var/", "/run/")):
        return False
    if path.startswith((home + "/.local/share/jupyter/", home + "/.config/matplotlib/")):
        return False
    if not set(_UNLISTED).isdisjoint(path.split("/")):
        return False
    return not path.startswith(("/tmp/pymp-", "/tmp/ipykernel_", "/tmp/dask-"))
