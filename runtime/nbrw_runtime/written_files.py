"""What a cell of a repeat wrote, compared with what the author's cell wrote.

Where the author's file lay outside the working directory it is looked for at its own path, and in
the caller's home if that path lies in a home. Names that `tempfile` draws have no counterpart.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_runtime.checkpoint import Checkpoint, StoredFile
from nbrw_runtime.compare_content import LIMIT, content_difference
from nbrw_runtime.digest import Digest, digest_file
from nbrw_runtime.store import StackedStore
from nbrw_runtime.tolerance import Tolerance
from nbrw_runtime.versions import FILE_PREFIX
from nbrw_runtime.workdir import WorkDirectory

_CACHES = {"__pycache__", "dask-scratch-space"}
_NO_RESULTS = ("/var/", "/run/")  # what is written there an audit does not keep
_DRAWN = re.compile(r"/tmp[a-z0-9_]{8}(?:\.[^/]*)?(?:/|$)")
_HOME = re.compile(r"(?:/home/[^/]+|/Users/[^/]+|/root)/")
_MOST = 100_000  # files of a work directory that are looked at

Stamp = tuple[int, int, int]


@dataclass
class Comparison:
    """How a cell's files compare.

    ``names`` differ, below the work directory if they are; ``differences`` is a sentence for each,
    ``remarks`` what else there is to say; ``equal`` are author's paths that are as they were.
    """

    names: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    equal: dict[str, Digest] = field(default_factory=dict)

    def differs(self, name: str, how: str) -> None:
        """Another file that is not as the author's cell left it."""
        self.names.append(name)
        self.differences.append(f"file {name}: {how}")


class WrittenFiles:
    """Compares the files of each cell that runs.

    ``thorough``: files are looked for that the author's cell did not write, or wrote outside the
    working directory.
    """

    def __init__(self, work: WorkDirectory, tolerance: Tolerance, thorough: bool = False) -> None:
        self._work = work
        self._tolerance = tolerance
        self._thorough = thorough
        self._before: dict[str, Stamp] | None = None

    def begin(self) -> None:
        """A cell is about to run."""
        self._before = self._look() if self._thorough else None

    def compare(self, checkpoint: Checkpoint, store: StackedStore) -> Comparison:
        """The cell has run; ``checkpoint`` is what the author's left, ``store`` has its files.

        Raises IntegrityError, NotFoundError.
        """
        found = Comparison()
        for stored in checkpoint.files:
            place = self._place(stored.path)
            if place is not None:
                self._compare(stored, place, store, found)
        if self._thorough:
            self._more(checkpoint, found)
        return found

    def _place(self, path: str) -> Path | None:
        """Where a file of the author's is to be looked for; None: it is not compared."""
        place = self._work.place(path)
        if not self._thorough:
            return place
        if _DRAWN.search(path):
            return None
        if place is None:
            place, home = Path(path), os.path.expanduser("~")
            if not os.path.lexists(place) and _HOME.match(path):
                place = Path(_HOME.sub(lambda match: home + "/", path, count=1))
        return place

    def _name(self, place: Path) -> str:
        root = self._work.root
        return str(place.relative_to(root)) if place.is_relative_to(root) else str(place)

    def _compare(
        self, stored: StoredFile, place: Path, store: StackedStore, found: Comparison
    ) -> None:
        name = self._name(place)
        if stored.link:
            if self._thorough and not (place.is_symlink() and os.readlink(place) == stored.link):
                found.differs(name, f"it is no link to {stored.link}")
            return
        if stored.directory:
            if not place.is_dir():
                found.differs(name, "it is missing")
            return
        if not place.is_file():
            found.differs(name, "it is missing")
            return
        digest, size = digest_file(place)
        if digest == stored.digest:
            found.equal[stored.path] = digest
            return
        how: str | None = f"its bytes differ ({size} of them instead of {stored.size})"
        if max(size, stored.size) <= LIMIT:
            how = content_difference(
                place.name, store.get(stored.digest), place.read_bytes(), self._tolerance
            )
        if how is None:
            found.remarks.append(f"file {name}: its bytes differ, what it holds is equal")
        else:
            found.differs(name, how)

    def _more(self, checkpoint: Checkpoint, found: Comparison) -> None:
        """Files that the author's cell did not write, or did not remove."""
        for omitted in checkpoint.omitted:
            if omitted.name.startswith(FILE_PREFIX):
                path = omitted.name[len(FILE_PREFIX) :]
                found.remarks.append(f"file {path}: not compared, as it was not stored")
        for path in checkpoint.removed:
            place = self._place(path)
            if place is not None and os.path.lexists(place):
                found.differs(self._name(place), "it is there, and the author's cell removed it")
        if self._work.author_cwd.startswith(_NO_RESULTS):
            return
        now = self._look()
        if now is None or self._before is None:
            found.remarks.append(
                "files that the author's cell did not write were not looked for: there are more "
                f"than {_MOST} files in the work directory; repeat in an empty one with --work-dir"
            )
            return
        told = {
            *(self._within(stored.path) for stored in checkpoint.files),
            *map(self._within, checkpoint.removed),
            *(self._within(o.name[len(FILE_PREFIX) :]) for o in checkpoint.omitted),
        }
        for name in sorted({*now, *self._before} - told):
            if name not in now:
                found.differs(name, "it is gone, and the author's cell did not remove it")
            elif now[name] != self._before.get(name):
                act = "change" if name in self._before else "write"
                found.differs(name, f"the author's cell did not {act} it")

    def _within(self, path: str) -> str:
        place = self._work.place(path)
        return "" if place is None else str(place.relative_to(self._work.root))

    def _look(self) -> dict[str, Stamp] | None:
        """The files in the work directory, but for hidden ones and caches; None: too many."""
        found: dict[str, Stamp] = {}
        root = str(self._work.root)
        for place, directories, names in os.walk(root):
            directories[:] = [d for d in directories if d[0] != "." and d not in _CACHES]
            for name in names:
                path = os.path.join(place, name)
                if name[0] != "." and not _DRAWN.search(path[len(root) :]):
                    stamp = _stamp(path)
                    if stamp is not None:
                        found[path[len(root) + 1 :]] = stamp
            if len(found) > _MOST:
                return None
        return found


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
