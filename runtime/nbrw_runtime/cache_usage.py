"""What the caller's store holds, and making it smaller: under its lock, held exclusively."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError, IntegrityError, NbrwError
from nbrw_runtime.result_files import Kept, ResultFiles
from nbrw_runtime.store import DirectoryStore

# Once it is too much, so much goes that not every repeat has to remove something.
_LEAVE = 0.9


@dataclass(frozen=True)
class KeptResult:
    """A result with the size of its own file and the time of its last use (since the epoch)."""

    kept: Kept
    size: int
    used: float

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """What it needs."""
        return self.kept.result.checkpoint.blobs


@dataclass
class Usage:
    """All that is below ``root``; sizes in bytes. ``results`` are in order of use, oldest first.

    ``spoilt`` are results that cannot be read, with the reason, ``foreign`` those of another
    version; ``unfinished`` files of writers that were killed, or that are at work.
    """

    root: Path
    results: list[KeptResult] = field(default_factory=list)
    blobs: dict[Digest, int] = field(default_factory=dict)
    spoilt: dict[Path, str] = field(default_factory=dict)
    foreign: dict[Path, str] = field(default_factory=dict)
    unfinished: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of blobs and results together."""
        return sum(self.blobs.values()) + sum(found.size for found in self.results)

    def needed(self) -> set[Digest]:
        """The blobs that any result needs."""
        return {blob for found in self.results for blob in found.blobs}

    def size_of(self, results: Iterable[KeptResult]) -> int:
        """Bytes of these results with their blobs, each counted once."""
        chosen = list(results)
        blobs = {blob for found in chosen for blob in found.blobs}
        return sum(f.size for f in chosen) + sum(self.blobs.get(blob, 0) for blob in blobs)


def usage(root: Path) -> Usage:
    """Look at all of it; what does not exist is empty."""
    found = Usage(root)
    files = ResultFiles(root / "results")
    for path in files:
        try:
            status = path.stat()
            found.results.append(KeptResult(files.read(path), status.st_size, status.st_mtime))
        except FileNotFoundError:
            continue
        except FormatError as error:
            found.foreign[path] = str(error)
        except (OSError, IntegrityError) as error:
            found.spoilt[path] = str(error)
    found.results.sort(key=lambda kept: (kept.used, kept.kept.path))
    found.unfinished += files.unfinished()
    # What workers of kernels that were killed have left, or of those that are at work.
    found.unfinished += sorted(_spools(root).glob("*/*"))
    with contextlib.suppress(OSError), os.scandir(root / "blobs" / "sha256") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if len(entry.name) == 64:
                    found.blobs[Digest.from_hex(entry.name)] = entry.stat().st_size
                else:
                    found.unfinished.append(Path(entry.path))
    return found


def _spools(root: Path) -> Path:
    return root / "blobs" / "tasks"


def blobs_size(root: Path) -> int:
    """Bytes of all blobs, unfinished ones too."""
    with os.scandir(root / "blobs" / "sha256") as entries:
        return sum(_size(entry) for entry in entries)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class Pruned:
    """What was removed: results, and bytes of all files."""

    results: int
    size: int


def prune(found: Usage, limit: int, longest: float | None = None) -> Pruned:
    """Remove what nothing names and, used longest ago first, results until all have at most
    ``limit`` bytes; also those not used for ``longest`` seconds, and those of other versions.
    """
    users: dict[Digest, int] = {}
    for kept in found.results:
        for blob in kept.blobs:
            users[blob] = users.get(blob, 0) + 1
    garbage = [blob for blob in found.blobs if blob not in users]
    left = found.size - sum(found.blobs[blob] for blob in garbage)
    target = int(limit * _LEAVE) if left > limit else limit
    oldest = None if longest is None else time.time() - longest
    going = []
    for kept in found.results:
        if left <= target and (oldest is None or kept.used >= oldest):
            break
        going.append(kept)
        left -= kept.size
        for blob in kept.blobs:
            users[blob] -= 1
            if not users[blob]:
                garbage.append(blob)
                left -= found.blobs.get(blob, 0)
    return _remove(found, going, garbage)


def _remove(found: Usage, results: list[KeptResult], blobs: list[Digest]) -> Pruned:
    files, store = ResultFiles(found.root / "results"), DirectoryStore(found.root / "blobs")
    # Results first: if this ends in the middle, none names a blob that is gone.
    gone = [kept.kept.path for kept in results]
    for path in (*gone, *found.spoilt, *found.foreign, *found.unfinished):
        files.remove(path)
    for blob in blobs:
        remove_blob(store, blob)
    files.tidy()
    for spool in _spools(found.root).glob("*"):
        with contextlib.suppress(OSError):
            spool.rmdir()
    size = sum(kept.size for kept in results) + sum(found.blobs.get(blob, 0) for blob in blobs)
    return Pruned(len(results), size)


def check(found: Usage) -> list[str]:
    """Read everything, and remove what is corrupt; a sentence for each thing that was.

    May run beside repeats (with the lock held shared): what it removes nobody can use.
    """
    files, store = ResultFiles(found.root / "results"), DirectoryStore(found.root / "blobs")
    said = []
    for path, reason in found.spoilt.items():
        files.remove(path)
        said.append(reason)
    bad = set()
    for blob in sorted(found.blobs):
        try:
            store.path(blob)
        except IntegrityError as error:
            remove_blob(store, blob)
            bad.add(blob)
            said.append(str(error))
        except (NbrwError, OSError):  # removed meanwhile, or not to be read
            bad.add(blob)
    for kept in found.results:
        lost = [blob for blob in kept.blobs if blob in bad or blob not in store]
        if lost:
            files.remove(kept.kept.path)
            result = kept.kept.result
            said.append(
                f"the result of cell {result.checkpoint.cell} of {result.title or 'a notebook'} "
                f"is dropped: it needs {lost[0]}"
            )
    return said


def remove_blob(blobs: DirectoryStore, digest: Digest) -> None:
    """Remove a blob's file, so that it can be stored again."""
    with contextlib.suppress(OSError):
        (blobs.root / "sha256" / digest.hex).unlink()
