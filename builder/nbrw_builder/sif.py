"""SIF, Apptainer's image file: a header, descriptors, and the objects they point to.

Little-endian and packed. Source: github.com/apptainer/sif, ``pkg/sif/sif.go``; what consumers
insist on was measured, see `docs/format/image.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from nbrw_runtime.errors import FormatError

DEFFILE = 0x4001
LABELS = 0x4003
PARTITION = 0x4004
JSON = 0x4006
_LAUNCH = b"#!/usr/bin/env run-singularity\n"
_MAGIC = b"SIF_MAGIC\0"
_VERSION = b"01\0"
_ARCHITECTURES = {"amd64": b"02\0", "386": b"01\0", "arm64": b"04\0", "ppc64le": b"06\0"}
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<iBIII3q2q2q128s384s")
_TABLE = 4096
_SLOTS = 48  # as Apptainer makes: free ones are what `sign` needs
_ALIGN = 4096
_GROUP = 0xF0000001
_SQUASHFS, _PRIMARY = 1, 2


@dataclass(frozen=True)
class SifObject:
    """One object: ``kind`` (DEFFILE, LABELS, PARTITION, JSON), ``name``, place and bytes' number.

    ``primary`` marks the one partition that is the root file system.
    """

    kind: int
    name: str
    offset: int
    size: int
    primary: bool = False


def place(sizes: Sequence[tuple[int, str, int]]) -> tuple[SifObject, ...]:
    """Objects of (kind, name, size) one after the other, each aligned; partitions are primary."""
    offset = _TABLE + _SLOTS * _DESCRIPTOR.size
    placed = []
    for kind, name, size in sizes:
        offset += -offset % _ALIGN
        placed.append(SifObject(kind, name, offset, size, kind == PARTITION))
        offset += size
    return tuple(placed)


def encode(objects: Sequence[SifObject], architecture: str) -> bytes:
    """Header and descriptors; without times and with a zero uuid, so equal input, equal bytes.

    Raises FormatError for an architecture that SIF does not know, or too many objects.
    """
    code = _ARCHITECTURES.get(architecture)
    if code is None or len(objects) > _SLOTS:
        raise FormatError(f"write SIF: {architecture}, {len(objects)} objects: cannot be written")
    start = min(item.offset for item in objects)
    end = max(item.offset + item.size for item in objects)
    header = _HEADER.pack(
        _LAUNCH, _MAGIC, _VERSION, code, bytes(16), 0, 0, _SLOTS - len(objects), _SLOTS,
        _TABLE, _SLOTS * _DESCRIPTOR.size, start, end - start,
    )  # fmt: skip
    table = b"".join(_descriptor(number, item, code) for number, item in enumerate(objects, 1))
    free = bytes((_SLOTS - len(objects)) * _DESCRIPTOR.size)
    return header.ljust(_TABLE, b"\0") + table + free


def _descriptor(number: int, item: SifObject, code: bytes) -> bytes:
    extra = struct.pack("<ii3s", _SQUASHFS, _PRIMARY, code) if item.primary else b""
    padded = item.size + -(item.offset + item.size) % _ALIGN
    return _DESCRIPTOR.pack(
        item.kind, 1, number, _GROUP, 0, item.offset, item.size, padded,
        0, 0, 0, 0, item.name.encode(), extra,
    )  # fmt: skip


def decode(stream: BinaryIO, size: int, where: str) -> tuple[str, tuple[SifObject, ...]]:
    """Architecture ("" if unknown) and objects of a SIF of ``size`` bytes.

    Raises FormatError if it is no SIF, of another version, cut off, or points outside itself.
    """
    stream.seek(0)
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size or head[32:42] != _MAGIC:
        raise FormatError(f"read {where}: not a SIF file")
    fields = _HEADER.unpack(head)
    if fields[2] != _VERSION:
        found = fields[2].rstrip(b"\0").decode("ascii", "replace")
        raise FormatError(f"read {where}: SIF version {found}, this nbrw reads 01; use a newer")
    total, offset, length = fields[8], fields[9], fields[10]
    if not 0 < total <= 1 << 16 or length != total * _DESCRIPTOR.size or offset < _HEADER.size:
        raise FormatError(f"read {where}: its table of objects is malformed")
    stream.seek(offset)
    table = stream.read(length)
    if len(table) < length:
        raise FormatError(f"read {where}: it is cut off after {size} bytes; get it again")
    names = {code: name for name, code in _ARCHITECTURES.items()}
    found_objects = []
    for row in _DESCRIPTOR.iter_unpack(table):
        if not row[1]:
            continue
        kind, begin, length, name, extra = row[0], row[5], row[6], row[12], row[13]
        if begin < 0 or length < 0 or begin + length > size:
            raise FormatError(f"read {where}: it is cut off after {size} bytes; get it again")
        primary = kind == PARTITION and struct.unpack_from("<ii", extra) == (_SQUASHFS, _PRIMARY)
        text = name.split(b"\0")[0].decode("utf-8", "replace")
        found_objects.append(SifObject(kind, text, begin, length, primary))
    return names.get(fields[3], ""), tuple(found_objects)
