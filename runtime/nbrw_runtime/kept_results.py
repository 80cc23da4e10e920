"""What earlier repeats computed, as a repeat sees it: found by a cell's key, kept after a cell ran.

The caller's store (`caller_store.py`) knows bytes; here it is decided whether a result still holds,
by the files that the cell used, and whether one may be kept at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import filterfalse
from pathlib import Path

from nbrw_runtime.accesses import Stamp, Used
from nbrw_runtime.caller_store import CallerStore
from nbrw_runtime.checkpoint import DIRECTORY, Checkpoint, StoredFile
from nbrw_runtime.digest import Digest, digest_file, digest_json
from nbrw_runtime.errors import StorageError
from nbrw_runtime.kept_tasks import TASKS_KEY, why_not, with_uses
from nbrw_runtime.names import names_of
from nbrw_runtime.notebook import Cell
from nbrw_runtime.result import Result
from nbrw_runtime.result_files import Kept
from nbrw_runtime.result_paths import is_result, is_scratch, listed_names
from nbrw_runtime.task_record import read_tasks, write_tasks
from nbrw_runtime.task_worker import digest_of
from nbrw_runtime.versions import Versions, changes_of, listed_by_imports, may_list
from nbrw_runtime.walk import Known
from nbrw_runtime.workdir import WorkDirectory

#: Kept results are numbered from here on, as cells of the audit are from 1 on.
FIRST = 100_000


class NotKept(Exception):
    """A result cannot be kept; the message says why."""


@dataclass(frozen=True)
class Ran:
    """A cell that ran: what it depended on beside files, and what it did."""

    key: str
    conditions: Mapping[str, str | None]
    checkpoint: Checkpoint
    used: Used
    source: str


class KeptResults:
    """The results of one environment. ``cwd`` is where the kernel works, as it sees it."""

    def __init__(
        self, store: CallerStore, environment: Digest, work: WorkDirectory, cwd: str, title: str
    ) -> None:
        self.store = store
        self.title = title
        self._environment = environment
        self._work = work
        self._cwd = cwd
        self._numbers: dict[Path, int] = {}
        self._kept: dict[int, Kept] = {}
        self._digests: dict[tuple[str, Stamp], str] = {}

    # -- finding -------------------------------------------------------------------------------

    def find(self, key: str, now: Versions) -> list[Known]:
        """The results under this key whose files are as the cell found them."""
        found = []
        for kept in self.store.find(self._environment, key):
            result = kept.result
            if self._holds(result, now):
                number = self._numbers.setdefault(kept.path, FIRST + len(self._numbers))
                self._kept[number] = kept
                checkpoint = replace(result.checkpoint, cell=number)
                changes = changes_of(checkpoint, key)
                conditions = result.conditions
                found.append(
                    Known(number, checkpoint, changes, key, {}, conditions, {}, {}, "", True)
                )
        return found

    def checkpoint(self, number: int | None) -> Checkpoint | None:
        """The checkpoint of a result that was found, under its number."""
        kept = self._kept.get(number or 0)
        return replace(kept.result.checkpoint, cell=number or 0) if kept else None

    def restored(self, number: int) -> None:
        """It was used."""
        self.store.used(self._kept[number])

    def drop(self, number: int) -> None:
        """A blob of it is lost."""
        if number in self._kept:
            self.store.drop(self._kept.pop(number))

    def _holds(self, result: Result, now: Versions) -> bool:
        for path, version in result.files.items():
            if path in now.file_makers:
                if now.files.get(path) != version:
                    return False
            elif self._version(self._real(path)) != version:
                return False
        for path, entries in result.listings.items():
            if self._is_made_in(path, now) or self._entries(self._real(path)) != entries:
                return False
        return True

    # -- keeping -------------------------------------------------------------------------------

    def read_by(self, used: Used, source: str, now: Versions) -> str | None:
        """A digest of all that a cell of this source found in files and directories; None: nobody
        knows.
        """
        try:
            return digest_json([dict(found) for found in self._found(used, source, now)]).hex
        except NotKept:
            return None

    def _found(
        self, used: Used, source: str, now: Versions
    ) -> tuple[dict[str, str | None], dict[str, str]]:
        """What a cell found in files, and in directories. Raises NotKept if nobody can tell."""
        if used.unseen:
            raise NotKept(f"it may have used what nobody saw: {used.unseen[0]}")
        if used.remote:
            raise NotKept(f"it connected to {used.remote[0]}")
        own = used.written | used.removed | used.temporary
        files = {
            self._author(path): self._seen(path, stamp)
            for path, stamp in {**used.read, **used.executed}.items()
            if (path not in own or stamp is not None) and not is_scratch(path)
        }
        listings = {}
        by_imports: frozenset[str] = frozenset()
        if not may_list(names_of(source), now):
            by_imports = listed_by_imports(self._work.author_cwd)
        for path in filterfalse(is_scratch, used.listed):
            if self._author(path) in by_imports:
                continue
            if any(os.path.dirname(written) == path for written in own):
                raise NotKept(f"it lists {path}, and writes there")
            if self._is_made_in(self._author(path), now):
                raise NotKept(f"it lists {path}, where other cells write")
            listings[self._author(path)] = self._entries(path)
        return files, listings

    def result(self, ran: Ran, now: Versions) -> Result:
        """The result of a cell that ran, its files in the store. Raises NotKept.

        ``now`` is what was known before the cell ran.
        """
        used = ran.used
        files, listings = self._found(used, ran.source, now)
        written, removed = self._files(used)
        checkpoint = replace(ran.checkpoint, files=written, removed=removed)
        return Result(
            self._environment,
            ran.key,
            checkpoint,
            conditions=dict(ran.conditions),
            files=files,
            listings=listings,
            title=self.title,
            source=ran.source,
        )

    def written(self, used: Used) -> dict[str, str | None]:
        """What a cell left in the work directory, by the author's paths: it is the repeat's own.

        None: it removed what was there.
        """
        paths = {path: self._author(path) for path in (*used.written, *used.removed)}
        return {
            author: self._version(path)
            for path, author in paths.items()
            if self._work.place(author) is not None and is_result(path)
        }

    # -- Dask's tasks --------------------------------------------------------------------------

    def task_documents(self) -> dict[Digest, Kept]:
        """The documents of tasks that ran in earlier repeats."""
        found = self.store.find(self._environment, TASKS_KEY)
        return {k.result.checkpoint.tasks: k for k in found if k.result.checkpoint.tasks}

    def keep_tasks(
        self, cell: Cell, document: Digest, seen: Used, kernel: AbstractSet[int]
    ) -> None:
        """Keep the tasks of a cell that ran; ``kernel`` are its threads.

        Raises NotKept, or what reading the document raises.
        """
        records = read_tasks(self.store.blobs.get(document), f"the tasks of cell {cell.number}")
        reason = why_not(seen, records, kernel)
        if reason:
            raise NotKept(reason)
        used = with_uses(records, seen, kernel, self._content)
        if used is None:
            raise NotKept("a file that it used has changed")
        kept = self.store.blobs.put(write_tasks(used))
        blobs = {b for r in used if r.segment is not None for b in (r.segment, *r.buffers)}
        here = tuple(sorted(blob for blob in blobs if blob in self.store.blobs))
        checkpoint = Checkpoint(cell.number, cell.digest, tasks=kept, task_blobs=here)
        self.store.keep(
            Result(
                self._environment,
                TASKS_KEY,
                checkpoint,
                conditions={"tasks": str(kept)},
                title=self.title,
                source=cell.source,
            )
        )

    def _content(self, path: str, stamp: Stamp) -> str | None:
        try:
            return digest_of(path) if _stamp(path.rstrip("/")) == stamp else None
        except OSError:
            return None

    def keep(self, results: Iterable[Result]) -> None:
        """Publish results."""
        for result in results:
            self.store.keep(result)

    def _files(self, used: Used) -> tuple[tuple[StoredFile, ...], tuple[str, ...]]:
        written, removed = [], []
        for path in sorted(used.written):
            author = self._author(path)
            if not os.path.lexists(path) or not is_result(path):
                continue
            status = os.lstat(path)
            if self._work.place(author) is None:
                if stat.S_ISDIR(status.st_mode):
                    continue
                raise NotKept(f"it writes {path}, outside the work directory")
            if stat.S_ISDIR(status.st_mode):
                empty = self.store.blobs.put(b"")
                mode = stat.S_IMODE(status.st_mode)
                written.append(StoredFile(author, empty, 0, mode, directory=True))
                continue
            if not stat.S_ISREG(status.st_mode):
                raise NotKept(f"it makes {path}, which is no file")
            try:
                digest, size = self.store.blobs.put_file(path)
            except (OSError, StorageError) as error:
                raise NotKept(f"{path} cannot be stored: {error}") from error
            written.append(StoredFile(author, digest, size, stat.S_IMODE(status.st_mode)))
        for path in sorted(used.removed):
            if os.path.lexists(path) or not is_result(path):
                continue
            if self._work.place(self._author(path)) is None:
                raise NotKept(f"it removes {path}, outside the work directory")
            removed.append(self._author(path))
        return tuple(written), tuple(removed)

    # -- paths ---------------------------------------------------------------------------------

    def _author(self, path: str) -> str:
        """A path as on the author's host; what is not in the work directory is where it is."""
        for root in (self._cwd, str(self._work.root)):
            if path == root or path.startswith(f"{root}/"):
                return self._work.author_cwd + path[len(root) :]
        return path

    def _real(self, path: str) -> str:
        place = self._work.place(path)
        return str(place) if place is not None else path

    def _seen(self, path: str, stamp: Stamp | None) -> str | None:
        """The version of what a cell found. Raises NotKept if it is not there any more."""
        if stamp is None:
            return None
        if _stamp(path) != stamp:
            raise NotKept(f"{path} has changed since it was read")
        return self._version(path)

    def _version(self, path: str) -> str | None:
        """The digest of a file; None: there is nothing. All directories are one."""
        stamp = _stamp(path)
        if stamp is None:
            return None
        if stamp.is_directory:
            return DIRECTORY
        if not stat.S_ISREG(stamp.mode):
            return "special"
        if (path, stamp) not in self._digests:
            try:
                self._digests[path, stamp] = str(digest_file(path)[0])
            except OSError as error:
                self._digests[path, stamp] = f"unreadable: {error.strerror}"
        return self._digests[path, stamp]

    def _entries(self, path: str) -> str:
        """The version of a listed directory; what repeats leave there does not count."""
        try:
            names = listed_names(path, self._author(path) != self._work.author_cwd)
        except OSError:
            return "none"
        return digest_json(names).hex

    def _is_made_in(self, path: str, now: Versions) -> bool:
        return any(os.path.dirname(made) == path for made in now.file_makers)


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
        found.st_mode,
    )  # fmt: skip
