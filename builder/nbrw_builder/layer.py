"""Entries to a deterministic tar, and the :class:`Layer` it makes. `docs/format/image.md`.

The same entries give the same bytes, whoever packs them, when and where: members sorted, owner
0:0, modes normalised, one fixed time. A layer's identity is the digest of that tar, its diff_id
(OCI image-spec v1.1, "Image Layer Filesystem Changeset" and "Layer DiffID").
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.errors import BuildError
from nbrw_builder.files import file_stamp
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import IntegrityError

# Not 0: zip files hold no time before 1980, in any time zone, so whoever zips a file of the image
# (`Client.upload_file`, building a wheel) would fail.
FIXED_TIME = 315_619_200  # 1980-01-02T00:00:00Z
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A packed layer: its tar is ``size`` bytes whose digest is ``diff_id``.

    ``entries`` are complete (every parent directory is there) and sorted. The tar itself is not
    kept: it is made again, and checked, whenever it is written.
    """

    name: str
    diff_id: Digest
    size: int
    cells: tuple[int, ...] = ()
    directory: str = ""
    entries: tuple[Entry, ...] = ()

    def write_tar(self, stream: Sink) -> None:
        """Write the tar. Raises BuildError or IntegrityError if the host's files have changed."""
        sink = HashingWriter(stream)
        write_tar(self.entries, sink)
        if sink.digest != self.diff_id:
            raise IntegrityError(f"layer {self.name}", str(self.diff_id), str(sink.digest), "tar")


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes, /) -> object: ...


class KnownLayers(Protocol):
    """Remembers the diff_id and size that a list of entries gave."""

    def get(self, entries: tuple[Entry, ...]) -> tuple[Digest, int] | None: ...

    def put(self, entries: tuple[Entry, ...], diff_id: Digest, size: int) -> None: ...


def pack(plan: LayerPlan, cache: KnownLayers | None = None) -> Layer:
    """The layer of a plan.

    Every host file is looked at; it is read only if ``cache`` does not know the entries. Raises
    BuildError naming a host file that is missing or differs from its stamp, and IntegrityError
    for bytes that differ from their entry's digest.
    """
    entries = tuple(stamped(entry) for entry in complete(plan))
    known = cache.get(entries) if cache else None
    if known is None:
        sink = HashingWriter(None)
        write_tar(entries, sink)
        known = (sink.digest, sink.size)
        if cache:
            cache.put(entries, *known)
    return Layer(plan.name, known[0], known[1], plan.cells, plan.directory, entries)


def complete(plan: LayerPlan) -> tuple[Entry, ...]:
    """The plan's entries sorted by path with all parent directories, each path once.

    Raises BuildError if a path is there twice with different content, lies below something that
    is no directory, or outside the plan's ``directory``.
    """
    found: dict[str, Entry] = {}
    for entry in plan.entries:
        other = found.setdefault(entry.path, entry)
        if other != entry:
            raise BuildError(f"pack layer {plan.name}: it has {entry.path} twice, and they differ")
    for path in list(found):
        parent = posixpath.dirname(path)
        while parent != "/":
            above = found.get(parent)
            if above is not None:
                if not above.is_directory:
                    raise BuildError(
                        f"pack layer {plan.name}: {path} lies below {parent}, which is no directory"
                    )
                break  # what is above it is looked at in its own turn, or was made with it
            found[parent] = Entry(parent, 0o755)
            parent = posixpath.dirname(parent)
    found.pop("/", None)
    if plan.directory:
        for path in found:
            if path != plan.directory and not path.startswith(plan.directory + "/"):
                raise BuildError(f"pack layer {plan.name}: {path} is outside {plan.directory}")
    return tuple(found[path] for path in sorted(found, key=os.fsencode))


def normal_mode(entry: Entry) -> int:
    """The permission bits an entry gets in the image: readable by everyone, writable by nobody.

    A directory that is sticky and writable for all (``/tmp``) stays so.
    """
    if entry.target is not None:
        return 0o777
    if entry.is_directory:
        return 0o1777 if entry.mode & 0o1002 == 0o1002 else 0o755
    return 0o755 if entry.mode & 0o111 else 0o644


def stamped(entry: Entry) -> Entry:
    """The entry with its source's stamp, which is compared with the one it has."""
    if entry.source is None:
        return entry
    try:
        status = os.stat(entry.source)
    except OSError as error:
        raise _gone(entry, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise BuildError(f"pack {entry.path}: {entry.source} is not a regular file any more")
    found = file_stamp(status)
    if entry.stamp is not None and entry.stamp != found:
        raise _changed(entry)
    return entry.with_stamp(found)


def write_tar(entries: Iterable[Entry], sink: Sink) -> None:
    """Write complete, sorted entries as a tar (POSIX pax, extended headers only where needed)."""
    for entry in entries:
        _write_member(entry, sink)
    sink.write(bytes(2 * tarfile.BLOCKSIZE))


class HashingWriter:
    """Passes bytes on to ``stream`` (or drops them, if None) and knows their digest and number."""

    def __init__(self, stream: Sink | None) -> None:
        self._write: Callable[[bytes], object] = stream.write if stream else len
        self._hasher = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass ``data`` on."""
        self._hasher.update(data)
        self._write(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        """Of all bytes so far."""
        return Digest.from_hex(self._hasher.hexdigest())


def tar_header(path: str, kind: bytes, mode: int, size: int = 0, target: str = "") -> bytes:
    """The header of one member; ``path`` without a leading slash."""
    info = tarfile.TarInfo(path)
    info.type = kind
    info.mode = mode
    info.size = size
    info.linkname = target
    info.mtime = FIXED_TIME
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _write_member(entry: Entry, sink: Sink) -> None:
    path = entry.path[1:]
    mode = normal_mode(entry)
    if entry.target is not None:
        sink.write(tar_header(path, tarfile.SYMTYPE, mode, target=entry.target))
    elif not entry.is_directory:
        size = entry.stamp[2] if entry.stamp else len(entry.data or b"")
        sink.write(tar_header(path, tarfile.REGTYPE, mode, size))
        write_content(entry, sink)
        if rest := size % tarfile.BLOCKSIZE:
            sink.write(bytes(tarfile.BLOCKSIZE - rest))
    else:
        sink.write(tar_header(path + "/", tarfile.DIRTYPE, mode))


def write_content(entry: Entry, sink: Sink) -> None:
    """Write a stamped file entry's bytes, checked from the first to the last.

    Raises BuildError if the source differs from its stamp, IntegrityError if the bytes differ from
    the entry's digest.
    """
    if entry.data is not None:
        sink.write(entry.data)
        _check(entry, hashlib.sha256(entry.data).hexdigest() if entry.digest else "")
        return
    if entry.source is None or entry.stamp is None:
        raise BuildError(f"pack {entry.path}: it is no file, or has no stamp")
    stamp = entry.stamp
    hasher = hashlib.sha256() if entry.digest else None
    try:
        # A path that became a FIFO must not block.
        descriptor = os.open(entry.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _gone(entry, error) from error
    try:
        if file_stamp(os.fstat(descriptor)) != stamp:
            raise _changed(entry)
        left = stamp[2]
        while left:
            try:
                data = os.read(descriptor, min(left, _CHUNK))
            except OSError as error:
                raise _gone(entry, error) from error
            if not data:
                raise _changed(entry)
            if entry.head and left == stamp[2]:
                data = entry.head + data[len(entry.head) :]
            if hasher:
                hasher.update(data)
            sink.write(data)
            left -= len(data)
        if file_stamp(os.fstat(descriptor)) != stamp:
            raise _changed(entry)
    finally:
        os.close(descriptor)
    _check(entry, hasher.hexdigest() if hasher else "")


def _check(entry: Entry, digits: str) -> None:
    if entry.digest is not None and entry.digest.hex != digits:
        where = str(entry.source or "the plan")
        raise IntegrityError(entry.path, str(entry.digest), "sha256:" + digits, where)


def _gone(entry: Entry, error: OSError) -> BuildError:
    return BuildError(
        f"pack {entry.path}: {entry.source} cannot be read any more: {error.strerror}; "
        "put it back, or audit the notebook again"
    )


def _changed(entry: Entry) -> BuildError:
    return BuildError(
        f"pack {entry.path}: {entry.source} has changed since it was audited; "
        "audit the notebook again"
    )
