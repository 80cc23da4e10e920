"""What the kernel itself opens to start a program: the interpreter of a script, the ELF loader.

Source: execve(2), elf(5).
"""

from __future__ import annotations

import struct

_PT_INTERP = 3


def interpreters(path: str) -> list[str]:
    """The programs that are needed to execute this file, outermost first; [] if none is."""
    found: list[str] = []
    for _ in range(4):  # as deep as the kernel goes
        name = _interpreter(path)
        if name is None or not name.startswith("/") or name in found:
            break
        found.append(name)
        path = name
    return found


def _interpreter(path: str) -> str | None:
    try:
        with open(path, "rb") as stream:
            head = stream.read(256)
            if head[:2] == b"#!":
                words = head[2:].split(b"\n")[0].split()
                return words[0].decode("utf-8", "surrogateescape") if words else None
            if head[:5] != b"\x7fELF\x02":
                return None
            (offset,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            for index in range(count):
                stream.seek(offset + index * size)
                header = stream.read(size)
                if struct.unpack_from("<I", header)[0] == _PT_INTERP:
                    (start,) = struct.unpack_from("<Q", header, 8)
                    (length,) = struct.unpack_from("<Q", header, 32)
                    stream.seek(start)
                    return stream.read(length).rstrip(b"\0").decode("utf-8", "surrogateescape")
    except (OSError, struct.error):
        pass
    return None
