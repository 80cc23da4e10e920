"""A store that waits: blobs are written when it is known that they are worth it."""

from __future__ import annotations

from collections.abc import Iterator

from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import NotFoundError
from nbrw_runtime.store import Buffer, Store


class HeldStore:
    """Holds what is put without a copy, until :meth:`release`. The data must not change until then.

    A Store as far as ``put`` goes; it gives nothing back.
    """

    def __init__(self) -> None:
        self._held: dict[Digest, Buffer] = {}

    def put(self, data: Buffer, digest: Digest | None = None) -> Digest:
        """Hold the data."""
        digest = digest or digest_bytes(data)
        self._held[digest] = data
        return digest

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(memoryview(data).nbytes for data in self._held.values())

    def release(self, store: Store) -> None:
        """Write it all. Raises StorageError."""
        for digest, data in self._held.items():
            store.put(data, digest)
        self._held.clear()

    def get(self, digest: Digest) -> bytes:
        """Raises NotFoundError."""
        raise NotFoundError(f"read blob {digest}: it is not written yet")

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._held

    def __iter__(self) -> Iterator[Digest]:
        return iter(sorted(self._held))
