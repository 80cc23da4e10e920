"""Programs in the foreground: they have the terminal, and nbrw ends as they do.

Programs whose output nbrw reads are started by :mod:`nbrw_builder.process`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from nbrw_builder.errors import HostError

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SI_KERNEL = 0x80  # si_code of a signal from the terminal, which the child has had as well


def run_foreground(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> int:
    """Run a program with this process' input, output and terminal; returns its exit code.

    A child ended by signal N gives 128 + N, as in a shell. Signals sent to this process alone are
    passed on; Ctrl-C reaches the child by itself. Call it from the main thread.

    Raises HostError if the program cannot be started.
    """
    waited = {*_PASSED_ON, signal.SIGCHLD}
    # Blocked before the child is there, so that neither its end nor a signal is missed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        try:
            child = subprocess.Popen(
                list(argv),
                env=None if env is None else dict(env),
                pass_fds=pass_fds,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
        except OSError as error:
            raise HostError(f"start {argv[0]}: {error.strerror}") from error
        status = _wait(child, waited)
    finally:
        # What came while blocked is the child's business; it must not hit us now.
        while signal.sigtimedwait(waited, 0):
            continue
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 128 - status if status < 0 else status


def _wait(child: subprocess.Popen[bytes], waited: set[signal.Signals]) -> int:
    while True:
        status = child.poll()
        if status is not None:
            return status
        # The time limit is for a SIGCHLD that another thread took.
        found = signal.sigtimedwait(waited, 1.0)
        if found and found.si_signo in _PASSED_ON and found.si_code != _SI_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, found.si_signo)
