"""Signatures in a SIF, as Apptainer makes and checks them with PEM keys, and reading PGP ones.

Source: sylabs/sif, pkg/integrity (metadata version 1); DSSE 1.0, "Protocol".
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nbrw_builder import sif
from nbrw_builder.errors import BuildError
from nbrw_builder.signature import INVALID, UNCHECKED, VALID, Signature, no_key
from nbrw_builder.signing_keys import PrivateKey, PublicKey
from nbrw_runtime.errors import FormatError

SIGNATURE = 0x4005
_PAYLOAD = "application/vnd.sylabs.sif-metadata+json"
_GROUPS = 0xF0000000
_SHA256 = 1
_PGP = b"-----BEGIN PGP SIGNED MESSAGE-----"
_CHUNK = 1 << 20
_LARGEST = 1 << 20  # bytes of a signature


@dataclass(frozen=True)
class SifSignature:
    """A signature object: its bytes, the group it is of (0: none), a PGP key's fingerprint."""

    data: bytes
    group: int
    fingerprint: str

    @property
    def is_pgp(self) -> bool:
        """Whether it is a clear-signed message."""
        return self.data.startswith(_PGP)


class SifFile:
    """A SIF that is open, with what is signed of it. Raises FormatError if it is malformed."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream = stream
        self._where = where
        self._metadata: dict[int, dict[str, Any]] = {}
        self.table = sif.read_table(stream, os.fstat(stream.fileno()).st_size, where)

    @property
    def signatures(self) -> tuple[SifSignature, ...]:
        """All signature objects."""
        found = []
        for row in self.table.used:
            if row.kind == SIGNATURE:
                if row.size > _LARGEST:
                    raise FormatError(f"read {self._where}: a signature of {row.size} bytes")
                self._stream.seek(row.offset)
                data = self._stream.read(row.size)
                mark = row.extra[4:24]
                group = row.link & ~_GROUPS if row.link & _GROUPS == _GROUPS else 0
                found.append(SifSignature(data, group, mark.hex().upper() if any(mark) else ""))
        return tuple(found)

    def metadata(self, group: int) -> dict[str, Any]:
        """What a signature of a group signs: digests of the header and of each of its objects.

        All of the image is read the first time.
        """
        if group not in self._metadata:
            self._metadata[group] = self._made(group)
        return self._metadata[group]

    def _made(self, group: int) -> dict[str, Any]:
        rows = [row for row in self.table.used if row.group == group | _GROUPS]
        first = min(row.number for row in rows)
        return {
            "version": 1,
            "header": {"digest": _digest(self.table.signed_header)},
            "objects": [
                {
                    "relativeId": row.number - first,
                    "descriptorDigest": _digest(row.signed(first)),
                    "objectDigest": f"sha256:{self._hash(row)}",
                }
                for row in sorted(rows, key=lambda row: row.number)
            ],
        }

    def uncovered(self, group: int) -> list[str]:
        """Names of objects that a signature of a group does not cover."""
        return [
            row.name
            for row in self.table.used
            if row.kind != SIGNATURE and row.group != group | _GROUPS
        ]

    def disagreement(self, payload: bytes, group: int) -> str:
        """How the image differs from what was signed, in words; empty if it does not."""
        try:
            signed = json.loads(payload)
            objects = {item["relativeId"]: item for item in signed["objects"]}
            version, header = signed["version"], signed["header"]["digest"]
            whole = len(objects) == len(signed["objects"])
        except (ValueError, KeyError, TypeError):
            return "what it signs is malformed"
        if version != 1 or not whole:
            return "what it signs is of a version that nbrw does not know"
        others = self.uncovered(group)
        if others:
            return f"it does not cover {', '.join(others)}"
        found = self.metadata(group)
        if header != found["header"]["digest"]:
            return "the header was changed"
        if set(objects) != {item["relativeId"] for item in found["objects"]}:
            return "objects were added or removed"
        changed = [item for item in found["objects"] if objects[item["relativeId"]] != item]
        return f"object {changed[0]['relativeId'] + 1} was changed" if changed else ""

    def _hash(self, row: sif.Row) -> str:
        hasher, left = hashlib.sha256(), row.size
        self._stream.seek(row.offset)
        while left:
            chunk = self._stream.read(min(left, _CHUNK))
            if not chunk:
                raise FormatError(f"read {self._where}: it is cut off; get it again")
            hasher.update(chunk)
            left -= len(chunk)
        return hasher.hexdigest()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_pem(
    file: SifFile, found: SifSignature, keys: Sequence[PublicKey], check: bool
) -> Signature:
    """What is known of a signature with a PEM key; without ``check`` only that it is there."""
    try:
        envelope = json.loads(found.data)
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
        made = [base64.b64decode(item["sig"]) for item in envelope["signatures"]]
    except (ValueError, KeyError, TypeError):
        return Signature("PEM", UNCHECKED, detail="it is of a form that nbrw does not know")
    if kind != _PAYLOAD:
        return Signature("PEM", UNCHECKED, detail=f"it signs {kind}, which nbrw does not know")
    if not found.group:
        return Signature("PEM", UNCHECKED, detail="it is of a single object, not of the image")
    if not check:
        return Signature("PEM", UNCHECKED)
    wrong = file.disagreement(payload, found.group)
    if wrong:
        return Signature("PEM", INVALID, detail=wrong)
    data = _encoded(payload)
    for key in keys:
        if any(key.valid(signature, data) for signature in made):
            return Signature("PEM", VALID, key.words)
    return Signature("PEM", UNCHECKED, detail=no_key(keys))


def _encoded(payload: bytes) -> bytes:
    """What is signed in DSSE."""
    kind = _PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_sif(path: Path, key: PrivateKey, now: int | None = None) -> None:
    """Add a signature of the whole image, in place, as Apptainer does.

    The descriptor is written last: who is interrupted leaves an unsigned image that is sound.
    Raises BuildError if the image has no room or objects that no group holds, OSError, FormatError.
    """
    with open(path, "r+b") as stream:
        file = SifFile(stream, str(path))
        groups = {row.group & ~_GROUPS for row in file.table.used if row.kind != SIGNATURE}
        if len(groups) != 1 or 0 in groups:
            raise BuildError(f"sign {path}: its objects are not of one group; sign with apptainer")
        free = file.table.free
        if free is None:
            raise BuildError(f"sign {path}: it has no free descriptor; build it again")
        (group,) = groups
        payload = json.dumps(file.metadata(group), separators=(",", ":")).encode()
        envelope = {
            "payloadType": _PAYLOAD,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": "", "sig": base64.b64encode(key.sign(_encoded(payload))).decode()}
            ],
        }
        data = json.dumps(envelope).encode()
        end = stream.seek(0, os.SEEK_END)
        offset = end + -end % 4096
        stream.write(bytes(offset - end) + data)
        stream.flush()
        os.fsync(stream.fileno())
        when = int(time.time()) if now is None else now
        extra = struct.pack("<i", _SHA256)
        row = sif.Row(
            SIGNATURE, free, _GROUPS, group | _GROUPS, offset, len(data), len(data) + offset - end,
            when, when, 0, 0, b"", extra,
        )  # fmt: skip
        sif.add_row(stream, file.table, row, when)
        os.fsync(stream.fileno())
