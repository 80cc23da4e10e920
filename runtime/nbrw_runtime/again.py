"""Why one kernel's way through the cells ends before its last cell."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nbrw_runtime.checkpoint import Omitted
from nbrw_runtime.errors import IntegrityError, NbrwError

# What is said of a name that is not there, by whatever way it was looked up.
_UNDEFINED = re.compile(
    r"(?:(?:name|variable) '(?=\w+' is not defined)|^KeyError: '(?=\w+'$)|Can't get attribute '"
    r"|cannot import name '(?=\w+' from '__main__')|module '__main__' has no attribute ')(\w+)"
)


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


def missing_name(text: str) -> str:
    """The name that a cell which failed with this looked for in the notebook; "" if it did not."""
    found = _UNDEFINED.search(text)
    return found[1] if found else ""


def unstored(name: str, maker: int, why: Omitted) -> str:
    """Why a name is not there, behind what a cell failed with; ``maker`` is a cell's number."""
    return (
        f"; `{name}` ({why.type}) was made or changed by cell {maker} and could not be stored: "
        f"{why.reason}; repeat with --from {maker}"
    )
