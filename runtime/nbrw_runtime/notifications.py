"""Receive and answer the notifications of a seccomp listener: every call is let go on.

Source: seccomp_unotify(2), linux/seccomp.h. Nothing is imported or opened once a process has been
forked to answer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct

_RECEIVE, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_CONTINUE = 1
_SYNC_WAKE_UP = 1
_REQUEST = struct.Struct("<QIIiIQ6Q")  # id, pid, flags, call, architecture, address, arguments
_RESPONSE = struct.Struct("<QqiI")  # id, value, error, flags
_EMPTY = bytes(_REQUEST.size)


class Answerer:
    """Takes one notification after the other: ``pid`` (a thread), ``call`` and ``arguments``."""

    def __init__(self, listener: int) -> None:
        self.pid = self.call = 0
        self.arguments: tuple[int, ...] = ()
        self._listener = listener
        self._request = bytearray(_REQUEST.size)
        self._response = bytearray(_RESPONSE.size)
        with contextlib.suppress(OSError):  # Linux 6.6: no wake-ups across processors
            fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)

    def receive(self) -> bool:
        """Wait for the next; False if the call was interrupted meanwhile (it comes again)."""
        self._request[:] = _EMPTY
        try:
            fcntl.ioctl(self._listener, _RECEIVE, self._request)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return False
            raise
        number, self.pid, _, self.call, _, _, *rest = _REQUEST.unpack(self._request)
        self.arguments = tuple(rest)
        _RESPONSE.pack_into(self._response, 0, number, 0, 0, _CONTINUE)
        return True

    def let_go(self) -> bool:
        """Let the call go on; False if it was interrupted, and what was read may be another's."""
        try:
            fcntl.ioctl(self._listener, _SEND, self._response)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINPROGRESS):
                return False
            raise
        return True


def keep_answering(listener: int) -> None:
    """Leave a process behind that lets all calls go on until nobody is under the filter.

    Without it, what outlives us could open no file: calls without a listener fail.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _answer_alone(listener)
    finally:
        os._exit(0)


def _answer_alone(listener: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    # Neither locks nor pipes of ours are to be held.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != listener:
            with contextlib.suppress(OSError):
                os.close(int(name))
    os.chdir("/")
    answer = Answerer(listener)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while all(events & select.POLLIN for _, events in poll.poll()):
        if answer.receive():
            answer.let_go()
