"""Seccomp-BPF filters that make the kernel stop at some system calls, and at no others.

Source: seccomp(2), linux/filter.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable, Sequence

#: What the filter answers for the calls asked for: stop for the ptracer, or notify the listener.
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
#: Flags of a filter. NEW_LISTENER: :func:`install` returns the descriptor that is notified.
TSYNC, SPEC_ALLOW, NEW_LISTENER, TSYNC_ESRCH, WAIT_KILLABLE = 1, 4, 8, 16, 32

_ALLOW = 0x7FFF0000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_MACHINES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}


def program(numbers: Iterable[int], architecture: int, action: int = TRACE) -> bytes:
    """The filter's instructions: these system calls get ``action``, all others go through."""
    wanted = sorted(set(numbers))
    count = len(wanted)
    if count > 200:
        raise ValueError("more calls than one jump can skip")
    steps = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_EQUAL, 0, count + 2, architecture),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_AT_LEAST, count, 0, _X32_BIT),
    ]
    steps += [(_EQUAL, count - index, 0, number) for index, number in enumerate(wanted)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, action)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def install(
    numbers: Iterable[int], action: int = TRACE, flags: Sequence[int] = (SPEC_ALLOW, 0)
) -> int:
    """Put the calling thread, and all that descends from it, under the filter.

    ``flags`` are tried in order, as older kernels know fewer. Returns what seccomp(2) does: the
    listener's descriptor with NEW_LISTENER, else 0. Raises OSError where the host forbids it or
    the machine is not known.
    """
    try:
        architecture, call = _MACHINES[platform.machine()]
    except KeyError as error:
        raise OSError(f"no seccomp filter for machine {platform.machine()}") from error
    code = program(numbers, architecture, action)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    described = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    for chosen in flags:
        answer = libc.syscall(call, _SECCOMP_SET_MODE_FILTER, chosen, ctypes.byref(described))
        if answer >= 0:
            return answer
    number = ctypes.get_errno()
    raise OSError(number, f"seccomp: {os.strerror(number)}")
