"""Facts of a file, as traces have them. Workers are sent the text of this."""

from __future__ import annotations

import os


def facts_of(status: os.stat_result) -> dict[str, int]:
    """What stat said; times in nanoseconds since the epoch. See `trace.py`."""
    return {
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "mode": status.st_mode,
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
