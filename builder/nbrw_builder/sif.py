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
SBOM = 0x4009
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
    """One object: ``kind`` (DEFFILE, LABELS, PARTITION, JSON, SBOM), ``name``, place and size.

    ``primary`` marks the one partition that is the root file system, ``format`` is SIF's number of
    the format of an SBOM.
    """

    kind: int
    name: str
    offset: int
    size: int
    primary: bool = False
    format: int = 0


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
    if item.kind == SBOM:
        extra = struct.pack("<i", item.format)
    padded = item.size + -(item.offset + item.size) % _ALIGN
    return _DESCRIPTOR.pack(
        item.kind, 1, number, _GROUP, 0, item.offset, item.size, padded,
        0, 0, 0, 0, item.name.encode(), extra,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A descriptor as it stands in the file; ``number`` counts from 1."""

    kind: int
    number: int
    group: int
    link: int
    offset: int
    size: int
    padded: int
    created: int
    modified: int
    uid: int
    gid: int
    label: bytes
    extra: bytes

    @property
    def name(self) -> str:
        """The object's name."""
        return self.label.split(b"\0")[0].decode("utf-8", "replace")

    def signed(self, first: int) -> bytes:
        """What a signature protects of it; ``first`` is the lowest number in its group."""
        head = struct.pack(
            "<iBIIqqqq", self.kind, 1, self.number - first, self.link, self.size, self.created,
            self.uid, self.gid,
        )  # fmt: skip
        return head + self.label + self.extra


@dataclass(frozen=True)
class Table:
    """The header's bytes, descriptors in use, the first number that is free, where they begin."""

    header: bytes
    used: tuple[Row, ...]
    free: int | None
    offset: int

    @property
    def signed_header(self) -> bytes:
        """What a signature protects of the header: launch script, magic, version, identity."""
        fields = _HEADER.unpack(self.header)
        return bytes(fields[0] + fields[1] + fields[2] + fields[4])


def read_table(stream: BinaryIO, size: int, where: str) -> Table:
    """Header and descriptors of a SIF of ``size`` bytes.

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
    used, free = [], None
    for place, fields in enumerate(_DESCRIPTOR.iter_unpack(table), 1):
        if not fields[1]:
            free = free or place
            continue
        row = Row(fields[0], *fields[2:])
        if row.offset < 0 or row.size < 0 or row.offset + row.size > size:
            raise FormatError(f"read {where}: it is cut off after {size} bytes; get it again")
        used.append(row)
    return Table(head, tuple(used), free, offset)


def add_row(stream: BinaryIO, table: Table, row: Row, now: int) -> None:
    """Write one more descriptor, at its number, whose data is at the end of the file."""
    fields = list(_HEADER.unpack(table.header))
    fields[6], fields[7] = now, fields[7] - 1
    fields[12] = row.offset + row.size - fields[11]
    stream.seek(0)
    stream.write(_HEADER.pack(*fields))
    stream.seek(table.offset + (row.number - 1) * _DESCRIPTOR.size)
    place = (row.offset, row.size, row.padded, row.created, row.modified, row.uid, row.gid)
    words = (row.kind, 1, row.number, row.group, row.link, *place, row.label, row.extra)
    stream.write(_DESCRIPTOR.pack(*words))
    stream.flush()


def decode(stream: BinaryIO, size: int, where: str) -> tuple[str, tuple[SifObject, ...]]:
    """Architecture ("" if unknown) and objects. Raises what :func:`read_table` raises."""
    table = read_table(stream, size, where)
    names = {code: name for name, code in _ARCHITECTURES.items()}
    found = []
    for row in table.used:
        is_root = struct.unpack_from("<ii", row.extra) == (_SQUASHFS, _PRIMARY)
        primary = row.kind == PARTITION and is_root
        found.append(SifObject(row.kind, row.name, row.offset, row.size, primary))
    return names.get(_HEADER.unpack(table.header)[3], ""), tuple(found)
