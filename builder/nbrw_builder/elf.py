"""Shared libraries that an ELF file asks for by name, and where the loader would find them.

Source: elf(5), ld.so(8).
"""

from __future__ import annotations

import posixpath
import re
import struct

from nbrw_builder.errors import ProcessError
from nbrw_builder.host import Host
from nbrw_builder.process import run

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed(data: bytes) -> tuple[str, ...]:
    """The DT_NEEDED names of a 64-bit little-endian ELF file; () for anything else."""
    try:
        return _needed(data)
    except (struct.error, ValueError, IndexError):
        return ()


def _needed(data: bytes) -> tuple[str, ...]:
    if data[:6] != b"\x7fELF\x02\x01":
        return ()
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads, dynamic = [], None
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, table + index * size
        )
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            dynamic = (offset, length)
    if dynamic is None:
        return ()
    names, strings = [], 0
    for position in range(dynamic[0], dynamic[0] + dynamic[1], 16):
        tag, value = struct.unpack_from("<QQ", data, position)
        if tag == 0:
            break
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            strings = value
    for address, offset, length in loads:
        if address <= strings < address + length:
            base = strings - address + offset
            ends = [(base + name, data.index(b"\0", base + name)) for name in names]
            return tuple(data[start:end].decode() for start, end in ends)
    return ()


class Libraries:
    """Where the loader finds libraries on this host, by ``ldconfig -p`` and the usual places."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, str] = {}
        for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
            if host.stat(program) is not None:
                try:
                    text = run([program, "-p"])
                except ProcessError:
                    continue
                for name, path in re.findall(r"^\s*(\S+) \(.*x86-64.*\) => (\S+)$", text, re.M):
                    self._known.setdefault(name, path)
                for name, path in re.findall(r"^\s*(\S+) \(.*AArch64.*\) => (\S+)$", text, re.M):
                    self._known.setdefault(name, path)
                break

    def find(self, name: str) -> str | None:
        """The path of a library, or None."""
        if name in self._known:
            return self._known[name]
        for directory in ("/lib64", "/usr/lib64", "/usr/lib", "/lib"):
            path = posixpath.join(directory, name)
            if self._host.stat(path) is not None:
                return path
        return None

    def closure(self, paths: list[str]) -> list[str]:
        """The libraries of the system that these ELF files need, directly or not."""
        found: dict[str, None] = {}
        todo = list(paths)
        while todo:
            for name in needed(self._host.read(todo.pop())):
                path = self.find(name)
                if path is not None and path not in found:
                    found[path] = None
                    todo.append(path)
        return list(found)
