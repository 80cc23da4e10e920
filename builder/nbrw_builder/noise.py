"""Paths that say nothing of what a notebook needs: caches, Jupyter's own, the kernel's. Pure.

Listed in `docs/dependencies.md`.
"""

from __future__ import annotations

from collections.abc import Iterable

_NOT_FILES = ("/proc", "/sys", "/dev", "/run", "/var/run", "/nbrw")
# Made anew for the image, or the host's own business.
_HOST_SETTINGS = frozenset(
    {
        "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
        "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/ld.so.cache",
        "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone", "/etc/machine-id", "/etc/fstab",
        "/etc/mtab", "/etc/pip.conf", "/etc/gitconfig", "/etc/environment", "/etc/inputrc",
    }
)  # fmt: skip


def is_noise(path: str, home: str, ignored: Iterable[str] = ()) -> bool:
    """Whether a used path is neither software nor data of the notebook."""
    if path in _HOST_SETTINGS:
        return True
    for top in (*_NOT_FILES, *ignored, home + "/.local/share/jupyter/runtime"):
        if path == top or path.startswith(top + "/"):
            return True
    parts = path.split("/")
    return (
        ".ipynb_checkpoints" in parts
        or "dask-scratch-space" in parts
        or any(part.startswith(("ipykernel_", "pymp-", "kernel-")) for part in parts[2:3])
    )


def is_cache(path: str, home: str) -> bool:
    """Whether a path is a cache that whoever needs it makes again."""
    if "/__pycache__/" in path or path.endswith((".pyc", "/__pycache__")):
        return True
    return path.startswith((home + "/.cache/", home + "/.config/matplotlib/", "/var/cache/"))
