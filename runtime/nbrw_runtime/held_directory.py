"""A file's directory, held open: a view that covers its path does not hide it from us."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path) -> Iterator[Path]:
    """Another path to the same file, which is not there yet, that holds whatever is mounted.

    Where its directory cannot be opened it is the path itself: whoever writes will say why.
    """
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield path
        return
    try:
        yield Path(f"/proc/self/fd/{directory}") / path.name
    finally:
        os.close(directory)
