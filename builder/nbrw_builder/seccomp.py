"""The seccomp-BPF filter that makes the kernel stop at the calls the tracer wants, and no others.

Source: seccomp(2), linux/filter.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

_RET_TRACE = 0x7FF00000
_RET_ALLOW = 0x7FFF0000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_FLAG_SPEC_ALLOW = 4
_MACHINES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}


def program(numbers: Iterable[int], architecture: int) -> bytes:
    """The filter's instructions: these system calls stop for the tracer, all others go through."""
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
    steps += [(_RETURN, 0, 0, _RET_ALLOW), (_RETURN, 0, 0, _RET_TRACE)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def install(numbers: Iterable[int]) -> None:
    """Put the calling process, and all that descend from it, under the filter.

    Raises OSError where the host forbids it or the machine is not known.
    """
    try:
        architecture, call = _MACHINES[platform.machine()]
    except KeyError as error:
        raise OSError(f"no seccomp filter for machine {platform.machine()}") from error
    code = program(numbers, architecture)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    described = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    for flags in (_FLAG_SPEC_ALLOW, 0):
        answer = libc.syscall(call, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(described))
        if answer == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, f"seccomp: {os.strerror(number)}")
