"""Not to look for garbage while a state or graph is looked at: it takes up to half of the time."""

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


def grown_up() -> None:
    """What there is now lives long: Python need not look at once whether it is garbage.

    For when much was restored. Whatever is garbage all the same is found when Python looks through
    what is old.
    """
    if gc.isenabled() or gc.get_freeze_count():
        return  # others look already, or the notebook has frozen something, which thawed would be
    gc.freeze()
    gc.unfreeze()
