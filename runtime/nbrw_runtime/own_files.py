"""Which files are neither Python's own nor installed."""

from __future__ import annotations

import functools
import os
import sysconfig

_INSTALLED = ("site-packages", "dist-packages")


@functools.cache
def is_own_file(path: str | None) -> bool:
    """Whether a module's file is neither Python's nor installed."""
    if not path:
        return False
    path = os.path.abspath(path)
    if any(f"/{part}/" in path for part in _INSTALLED):
        return False
    return not path.startswith(_roots())


@functools.cache
def _roots() -> tuple[str, ...]:
    # Once: sysconfig works them out anew each time, and there are a thousand modules.
    roots = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(os.path.join(root, "") for root in roots if root)
