"""The error tree and the exit codes, both in one place.

    NbrwError                     what a caller may catch; str() is a sentence for the user
    +-- UsageError                the request cannot be met as it was put
    +-- CellError                 a cell of the notebook raised, or ran past its timeout
    +-- FormatError               a document is not what its format says, or is of a newer version
    +-- IntegrityError            bytes do not have the digest that was promised
    +-- NotFoundError             a named object is not there
    +-- RestoreError              a stored state could not be brought back
    +-- StorageError              the store could not be written (a full disk, no permission)

A message names the act, the object, the cause and the remedy, in that order.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_CELL = 1
EXIT_USAGE = 2
EXIT_INTEGRITY = 3
EXIT_DIFFERENT = 4
EXIT_HOST = 5
EXIT_INTERRUPTED = 130


class NbrwError(Exception):
    """Base of all errors that nbrw raises on purpose; ``exit_code`` is what a command ends with."""

    exit_code = EXIT_USAGE


class UsageError(NbrwError):
    """The request cannot be met as it was put (a cell out of range, not a notebook)."""


class CellError(NbrwError):
    """A cell of the notebook raised an error or ran past its timeout."""

    exit_code = EXIT_CELL

    def __init__(self, message: str, cell: int, traceback: str = "") -> None:
        super().__init__(message)
        self.cell = cell
        self.traceback = traceback


class FormatError(NbrwError):
    """A document is malformed, or of a version that this nbrw does not read."""

    exit_code = EXIT_INTEGRITY


class IntegrityError(NbrwError):
    """Bytes read do not have the digest that was promised."""

    exit_code = EXIT_INTEGRITY

    def __init__(self, what: str, want: str, got: str, where: str) -> None:
        super().__init__(
            f"{what} in {where} is corrupt: its digest is {got}, not {want}; "
            "get the image or the cache entry again"
        )
        self.want = want
        self.got = got
        self.where = where


class NotFoundError(NbrwError):
    """A named object (a blob, a cell, an image) is not there."""

    exit_code = EXIT_INTEGRITY


class RestoreError(NbrwError):
    """A stored state could not be brought back."""

    exit_code = EXIT_CELL


class StorageError(NbrwError):
    """The store could not be written: a full disk, a read-only or forbidden directory."""

    exit_code = EXIT_HOST
