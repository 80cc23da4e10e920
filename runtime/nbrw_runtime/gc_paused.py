"""Not to look for garbage while a state is looked at: that takes up to half of the time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Within the block cycles of garbage are not looked for; after it as before.

    To pickle and to copy makes many objects that live long, for which Python again and again
    goes through all that there are.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
