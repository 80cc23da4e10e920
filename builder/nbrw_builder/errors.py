"""The builder's branch of the error tree (see :mod:`nbrw_runtime.errors`)."""

from __future__ import annotations

from collections.abc import Sequence

from nbrw_runtime.errors import EXIT_HOST, NbrwError


class TraceError(NbrwError):
    """The kernel could not be traced at all."""

    exit_code = EXIT_HOST


class BuildError(NbrwError):
    """An image could not be made."""

    exit_code = EXIT_HOST


class HostError(NbrwError):
    """The host lacks something (a program, a kernel feature); the message says what it is."""

    exit_code = EXIT_HOST


class ProcessError(NbrwError):
    """An external program failed: its argument vector, exit status and the end of its output."""

    exit_code = EXIT_HOST

    def __init__(self, argv: Sequence[str], status: int, tail: str) -> None:
        super().__init__(f"{argv[0]} failed with status {status}: {tail.strip() or 'no message'}")
        self.argv = tuple(argv)
        self.status = status
        self.tail = tail
