"""What the caller's cache remembers of registries: which repository has a blob, and uploads begun.

Hints only: whatever is wrong here costs a request. No credentials are among it; an upload's address
is kept if it is the registry's own, which asks for credentials again.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nbrw_builder.cache import read_note, write_note
from nbrw_builder.registry.reference import Reference
from nbrw_runtime.digest import Digest, digest_bytes

_LIMIT = 20_000  # digests of one registry
_DIRECTORY = "registry"


class KnownBlobs:
    """Of one registry, below ``cache/registry``."""

    def __init__(self, cache: Path, reference: Reference) -> None:
        self._root = cache / _DIRECTORY
        self._repository = reference.repository
        self._host = reference.host
        self._path = self._root / f"{reference.host}.json"
        value = read_note(self._path)
        found = value.get("repositories") if isinstance(value, dict) else None
        self._where = dict(found) if isinstance(found, dict) else {}
        self._new: dict[str, str] = {}
        self._lock = threading.Lock()

    def repository(self, digest: Digest) -> str | None:
        """Another repository of the registry which had the blob."""
        found = self._where.get(digest.hex)
        return found if isinstance(found, str) and found != self._repository else None

    def others(self, digests: Iterable[Digest], number: int) -> tuple[str, ...]:
        """The other repositories that had the most of these blobs."""
        found = Counter(self.repository(digest) for digest in digests)
        found.pop(None, None)
        return tuple(name for name, _ in found.most_common(number) if name)

    def note(self, digest: Digest) -> None:
        """The repository has the blob."""
        with self._lock:
            self._new[digest.hex] = self._repository

    def save(self) -> None:
        """Remember what was noted, together with what others noted meanwhile."""
        with self._lock:
            value = read_note(self._path)
            found = value.get("repositories") if isinstance(value, dict) else None
            merged = dict(found) if isinstance(found, dict) else {}
            for key, name in self._new.items():
                merged.pop(key, None)  # used last, forgotten last
                merged[key] = name
            kept = dict(list(merged.items())[-_LIMIT:])
            write_note(self._path, {"repositories": kept})

    # -- uploads --------------------------------------------------------------------------------

    def upload(self, digest: Digest) -> str | None:
        """Where an upload of the blob to the repository was begun."""
        value = read_note(self._upload(digest))
        found = value.get("location") if isinstance(value, dict) else None
        return found if isinstance(found, str) else None

    def begun(self, digest: Digest, location: str) -> None:
        """An upload of the blob can be resumed there."""
        write_note(self._upload(digest), {"location": location})

    def ended(self, digest: Digest) -> None:
        """There is nothing to resume."""
        with contextlib.suppress(OSError):
            self._upload(digest).unlink()

    def _upload(self, digest: Digest) -> Path:
        name = digest_bytes(f"{self._host}/{self._repository}@{digest}".encode()).hex
        return self._root / "uploads" / f"{name}.json"
