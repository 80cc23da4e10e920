"""Read the memory of a stopped process: strings, pointers, structures.

Source: process_vm_readv(2); where that is forbidden, /proc/PID/mem (proc(5)).
"""

from __future__ import annotations

import ctypes
import struct

_PAGE = 4096
#: Longest path that the kernel accepts (PATH_MAX), in bytes.
PATH_MAX = 4096
_SHORT = 512
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


_buffer = ctypes.create_string_buffer(_PAGE)
_local = _Vector(ctypes.addressof(_buffer), _PAGE)
_remote = _Vector(0, _PAGE)
_local_ref = ctypes.byref(_local)
_remote_ref = ctypes.byref(_remote)
_readv = _libc.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = [
    ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong,
]  # fmt: skip


def read(pid: int, address: int, size: int) -> bytes:
    """``size`` bytes (at most a page) at an address. Raises OSError."""
    _local.length = size
    _remote.base = address
    _remote.length = size
    got = _readv(pid, _local_ref, 1, _remote_ref, 1, 0)
    if got == size:
        return _buffer.raw[:size]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(size)


def read_string(pid: int, address: int, limit: int = PATH_MAX) -> bytes:
    """The bytes at an address up to its NUL, or ``limit`` of them. Raises OSError."""
    # Nearly all strings are short: one read, no copy of a page.
    size = min(_SHORT, _PAGE - address % _PAGE, limit)
    _local.length = _remote.length = size
    _remote.base = address
    if _readv(pid, _local_ref, 1, _remote_ref, 1, 0) == size:
        text = _buffer.value
        if len(text) < size:
            return text
    parts = []
    total = 0
    while total < limit:
        size = min(_PAGE - address % _PAGE, limit - total)
        chunk = read(pid, address, size)
        end = chunk.find(b"\0")
        if end >= 0:
            parts.append(chunk[:end])
            break
        if not chunk:
            break
        parts.append(chunk)
        total += len(chunk)
        address += len(chunk)
    return b"".join(parts)


def read_words(pid: int, address: int, count: int) -> tuple[int, ...]:
    """``count`` 64-bit words at an address. Raises OSError."""
    data = read(pid, address, 8 * count)
    return struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])


def read_string_array(pid: int, address: int, count: int, limit: int) -> list[bytes]:
    """The first ``count`` strings of a NULL-terminated array, each cut to ``limit`` bytes."""
    strings = []
    for index in range(count):
        (pointer,) = read_words(pid, address + 8 * index, 1)
        if not pointer:
            break
        strings.append(read_string(pid, pointer, limit))
    return strings
