"""What a cell's window left of the names that were touched in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping


def left_by_window(touched: Mapping[str, bool]) -> dict[str, list[str]]:
    """``written`` and ``removed`` paths, sorted; ``touched``: whether a path existed before.

    Written are regular files and links that are there now, and directories that were not; a name
    that was made and removed within the window is in neither list.
    """
    written, removed = [], []
    for path, existed in touched.items():
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            if existed:
                removed.append(path)
            continue
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and not existed):
            written.append(path)
    return {"written": sorted(written), "removed": sorted(removed)}
