"""Put this process under the eyes of a read watch (`read_watch.py`), at its start.

Order: connect; show that our memory can be read; only then set the filter, as it cannot be taken
away again; hand over the listener; wait for the first answer.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import secrets
import socket
from pathlib import Path

from nbrw_runtime import seccomp
from nbrw_runtime.unix_path import short_path
from nbrw_runtime.watched_calls import watched_calls

_PATIENCE = 20.0
_FLAGS = (
    seccomp.NEW_LISTENER | seccomp.WAIT_KILLABLE | seccomp.SPEC_ALLOW,  # Linux 5.19
    seccomp.NEW_LISTENER | seccomp.SPEC_ALLOW,
)


def install(socket_path: str | Path) -> str:
    """Have the watch at ``socket_path`` notified of what this process and its descendants use.

    Called while the process has one thread. Returns why it is not watched, or an empty string;
    then it goes on as if nothing had been asked. Raises OSError if the watch ends in the very
    moment in which the filter is set: this process cannot open a file any more.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            with short_path(Path(socket_path)) as short:
                connection.connect(short)
            return _agree(connection)
    except _Lost:
        raise
    except OSError as error:
        return f"the watch cannot be reached: {error.strerror or error}"


def _agree(connection: socket.socket) -> str:
    try:
        calls = watched_calls()
        if len(os.listdir("/proc/self/task")) > 1:
            raise OSError("the kernel has several threads already")
    except OSError as error:
        return _refuse(connection, str(error))
    token = secrets.token_hex(8)
    buffer = ctypes.create_string_buffer(token.encode())
    offer = {"token": token, "address": ctypes.addressof(buffer)}
    connection.sendall(json.dumps(offer).encode())
    answer = connection.recv(4096)
    if answer != b"ok":
        return answer.decode("utf-8", "replace") or "the watch does not answer"
    try:
        listener = seccomp.install(calls, seccomp.NOTIFY, _FLAGS)
    except OSError as error:
        return _refuse(connection, f"this host does not let a kernel be watched: {error}")
    _hand_over(connection, listener)
    return ""


def _refuse(connection: socket.socket, reason: str) -> str:
    connection.sendall(json.dumps({"reason": reason}).encode())
    return reason


def _hand_over(connection: socket.socket, listener: int) -> None:
    # From here on nothing may be imported or opened before the watch answers.
    try:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))]
        connection.sendmsg([b"{}"], rights)
        # As long as we had it open too, calls would wait for ever if the watch ended.
        os.close(listener)
        if connection.recv(16) != b"go":
            raise OSError("no answer")
    except OSError as error:
        raise _Lost("the process that watches this kernel ended while it started") from error


class _Lost(OSError):
    pass
