"""Why one kernel's way through the cells ends before its last cell."""

from __future__ import annotations

from collections.abc import Mapping

from nbrw_runtime.errors import IntegrityError, NbrwError


class Again(Exception):
    """A cell that was restored must run after all; only a new kernel is clean.

    ``everything``: what cells use cannot be told, so all names are brought back before each runs.
    """

    def __init__(self, forced: Mapping[int, str], reason: str, everything: bool = False) -> None:
        self.forced = forced
        self.reason = reason
        self.everything = everything


class BlobError(IntegrityError):
    """A blob of the image is missing or corrupt; the message names the cell."""

    def __init__(self, message: str) -> None:
        NbrwError.__init__(self, message)
