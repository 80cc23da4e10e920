"""Digests as OCI writes them (``sha256:<hex>``), and the one canonical form of JSON.

Source: OCI image-spec v1.1, "Descriptors / Digests".
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_PATTERN = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CHUNK = 1 << 20


@dataclass(frozen=True, order=True)
class Digest:
    """A SHA-256 digest; ``str()`` gives ``sha256:<64 hex digits>``.

    Raises ValueError for anything else, so a Digest that exists is well-formed.
    """

    __slots__ = ("value",)
    value: str

    def __post_init__(self) -> None:
        if not _PATTERN.match(self.value):
            raise ValueError(f"not a sha256 digest: {self.value!r}")

    def __str__(self) -> str:
        return self.value

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits alone."""
        return self.value[7:]

    @classmethod
    def from_hex(cls, digits: str) -> Digest:
        """The digest with these 64 hexadecimal digits."""
        return cls("sha256:" + digits)


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of a buffer (C-contiguous)."""
    return Digest.from_hex(hashlib.sha256(data).hexdigest())


def digest_stream(stream: BinaryIO) -> tuple[Digest, int]:
    """The digest and the number of bytes of the rest of a binary stream."""
    hasher = hashlib.sha256()
    size = 0
    while chunk := stream.read(_CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    return Digest.from_hex(hasher.hexdigest()), size


def digest_file(path: str | Path) -> tuple[Digest, int]:
    """The digest and the size in bytes of a file. Raises OSError."""
    with open(path, "rb", buffering=0) as stream:
        return digest_stream(stream)  # type: ignore[arg-type]


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only: equal values give equal bytes.

    NaN and infinities are refused (ValueError): they are not JSON.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def digest_json(value: Any) -> Digest:
    """The digest of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))
