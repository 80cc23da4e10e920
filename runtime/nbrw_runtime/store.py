"""Blobs by digest. Every blob's digest is checked before its bytes are believed.

A :class:`Store` is a contract with one conformance suite (``tests/conformance/test_store.py``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Protocol

from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import IntegrityError, NotFoundError, StorageError

_CHUNK = 1 << 20
Buffer = bytes | bytearray | memoryview


class Store(Protocol):
    """Content-addressed blobs.

    ``put`` is idempotent and atomic: a blob is there whole or not at all. Who has computed the
    data's digest gives it, so that it is not computed again. ``get`` raises NotFoundError or
    IntegrityError, never returns wrong bytes.
    """

    def put(self, data: Buffer, digest: Digest | None = None) -> Digest: ...

    def get(self, digest: Digest) -> bytes: ...

    def __contains__(self, digest: Digest) -> bool: ...

    def __iter__(self) -> Iterator[Digest]: ...


class MemoryStore:
    """A Store in memory, for tests and for small documents."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def put(self, data: Buffer, digest: Digest | None = None) -> Digest:
        """Keep a copy of ``data``; returns its digest."""
        digest = digest or digest_bytes(data)
        self._blobs[digest] = bytes(data)
        return digest

    def get(self, digest: Digest) -> bytes:
        """The bytes of a blob."""
        try:
            data = self._blobs[digest]
        except KeyError:
            raise NotFoundError(f"read blob {digest}: it is not in the store") from None
        _check(digest, digest_bytes(data), "memory")
        return data

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._blobs

    def __iter__(self) -> Iterator[Digest]:
        return iter(sorted(self._blobs))


class DirectoryStore:
    """A Store of files ``<root>/sha256/<hex>``, the layout of an OCI image's ``blobs``.

    ``path`` gives a verified file to map into memory. Files are read-only once published. Without
    ``sync`` a power failure, not a killed process, may cost a blob; its digest then shows it.
    """

    def __init__(self, root: str | Path, sync: bool = True) -> None:
        self.root = Path(root)
        self.sync = sync
        self._verified: dict[Digest, tuple[int, int, int]] = {}

    def _path(self, digest: Digest) -> Path:
        return self.root / "sha256" / digest.hex

    def put(self, data: Buffer, digest: Digest | None = None) -> Digest:
        """Write a blob. Raises StorageError when the disk is full or not writable."""
        digest = digest or digest_bytes(data)
        self._publish(digest, data)
        return digest

    def put_file(self, source: str | Path) -> tuple[Digest, int]:
        """Copy a file's content into the store; returns its digest and size in bytes.

        Raises OSError if the source can't be read, StorageError if the store can't be written.
        """
        hasher = hashlib.sha256()
        size = 0
        with open(source, "rb", buffering=0) as stream, self._temporary() as (target, path):
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
                with storage_errors(self.root):
                    _write_all(target, chunk)
                size += len(chunk)
            digest = Digest.from_hex(hasher.hexdigest())
            self._rename(target, path, digest)
        return digest, size

    def get(self, digest: Digest) -> bytes:
        """The verified bytes of a blob."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"read blob {digest}: it is not in {self.root}") from None
        _check(digest, digest_bytes(data), str(self.root))
        return data

    def map(self, digest: Digest, verify: bool = True) -> memoryview:
        """The bytes as a private, writable (copy-on-write) memory map.

        Without ``verify`` the caller has :meth:`path` check them before what comes of them counts.
        """
        path = self.path(digest) if verify else self._path(digest)
        try:
            with open(path, "rb") as stream:
                if os.fstat(stream.fileno()).st_size == 0:
                    return memoryview(bytearray())
                return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
        except FileNotFoundError:
            raise NotFoundError(f"read blob {digest}: it is not in {self.root}") from None

    def path(self, digest: Digest) -> Path:
        """The path of a blob whose digest has been checked (once per change of the file)."""
        path = self._path(digest)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise NotFoundError(f"read blob {digest}: it is not in {self.root}") from None
        key = (status.st_ino, status.st_size, status.st_ctime_ns)
        if self._verified.get(digest) != key:
            hasher = hashlib.sha256()
            with open(path, "rb", buffering=0) as stream:
                while chunk := stream.read(_CHUNK):
                    hasher.update(chunk)
            _check(digest, Digest.from_hex(hasher.hexdigest()), str(self.root))
            self._verified[digest] = key
        return path

    def size(self, digest: Digest) -> int:
        """The size of a blob in bytes. Raises NotFoundError."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"read blob {digest}: it is not in {self.root}") from None

    def __contains__(self, digest: Digest) -> bool:
        return self._path(digest).is_file()

    def __iter__(self) -> Iterator[Digest]:
        directory = self.root / "sha256"
        names = sorted(os.listdir(directory)) if directory.is_dir() else []
        return iter(Digest.from_hex(name) for name in names if len(name) == 64)

    def _publish(self, digest: Digest, data: Buffer) -> None:
        with contextlib.suppress(OSError):
            # A file of another size is what a power failure left of one that was not synced.
            if self._path(digest).stat().st_size == memoryview(data).nbytes:
                return
        with self._temporary() as (target, path):
            with storage_errors(self.root):
                _write_all(target, data)
            self._rename(target, path, digest)

    @contextlib.contextmanager
    def _temporary(self):  # type: ignore[no-untyped-def]
        with storage_errors(self.root):
            directory = self.root / "sha256"
            if not directory.is_dir():
                directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".new-", dir=directory)
        path = Path(name)
        try:
            with open(descriptor, "wb", buffering=0) as target:
                yield target, path
        finally:
            path.unlink(missing_ok=True)

    def _rename(self, target, path: Path, digest: Digest) -> None:  # type: ignore[no-untyped-def]
        with storage_errors(self.root):
            target.flush()
            if self.sync:
                os.fsync(target.fileno())
            os.fchmod(target.fileno(), 0o444)
            path.rename(self._path(digest))


class StackedStore:
    """Stores read in order, the first that has a blob serving it; writes go to the first."""

    def __init__(self, stores: Iterable[DirectoryStore]) -> None:
        self.stores = tuple(stores)

    def put(self, data: Buffer, digest: Digest | None = None) -> Digest:
        """Write a blob to the first store."""
        return self.stores[0].put(data, digest)

    def put_file(self, source: str | Path) -> tuple[Digest, int]:
        """Copy a file's content into the first store."""
        return self.stores[0].put_file(source)

    def get(self, digest: Digest) -> bytes:
        """The verified bytes of a blob."""
        return self._holder(digest).get(digest)

    def map(self, digest: Digest, verify: bool = True) -> memoryview:
        """The bytes as a copy-on-write memory map."""
        return self._holder(digest).map(digest, verify)

    def path(self, digest: Digest) -> Path:
        """The path of a verified blob."""
        return self._holder(digest).path(digest)

    def size(self, digest: Digest) -> int:
        """The size of a blob in bytes."""
        return self._holder(digest).size(digest)

    def _holder(self, digest: Digest) -> DirectoryStore:
        for store in self.stores:
            if digest in store:
                return store
        places = ", ".join(str(store.root) for store in self.stores)
        raise NotFoundError(f"read blob {digest}: it is in none of {places}")

    def __contains__(self, digest: Digest) -> bool:
        return any(digest in store for store in self.stores)

    def __iter__(self) -> Iterator[Digest]:
        return iter(sorted({digest for store in self.stores for digest in store}))


def _write_all(target: RawIOBase, data: Buffer) -> None:
    # One write(2) takes 2 GiB at most, and less than it was given when the disk fills up.
    left = memoryview(data).cast("B")
    while left:
        left = left[target.write(left) or 0 :]


@contextlib.contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn the OSErrors of a full or forbidden disk into a StorageError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"write to {root}: the disk is full; free some space or set XDG_CACHE_HOME "
                "to a directory with room, then run the same command again"
            ) from error
        raise StorageError(f"write to {root}: {error.strerror}") from error


def _check(want: Digest, got: Digest, where: str) -> None:
    if want != got:
        raise IntegrityError(f"blob {want}", str(want), str(got), where)
