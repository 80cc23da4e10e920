"""The work directory of a repeat: the author's inputs appear in it, and results stay in it.

Inputs that the author had below the working directory become symbolic links into the image, copies
if the notebook changes them. What the caller has there is never replaced: a file that differs from
the author's counts as a changed input, and the cells that read it run. A manifest says what was
made.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_runtime.checkpoint import StoredFile
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import Digest, digest_file
from nbrw_runtime.errors import StorageError, UsageError
from nbrw_runtime.paths import image_path
from nbrw_runtime.result_paths import listed_names
from nbrw_runtime.session_file import write_atomically

MANIFEST = ".nbrw-work.json"


@dataclass
class WorkDirectory:
    """One work directory. ``changed`` maps author's paths to how the caller's file differs."""

    root: Path
    author_cwd: str
    changed: dict[str, str] = field(default_factory=dict)
    _links: list[str] = field(default_factory=list)
    _files: dict[str, str] = field(default_factory=dict)
    _brought: set[str] = field(default_factory=set)  # inputs that came from the image

    def place(self, path: str) -> Path | None:
        """Where a path of the author's is in the work directory; None if it is not below it."""
        if path == self.author_cwd:
            return self.root
        if not path.startswith(self.author_cwd + "/"):
            return None
        return self.root / path[len(self.author_cwd) + 1 :]

    def outside(self, dependencies: Dependencies) -> list[str]:
        """The author's inputs that do not lie below the working directory."""
        read = (data.path for data in dependencies.data if data.digest is not None)
        return [path for path in read if self.place(path) is None]

    def open(self, dependencies: Dependencies) -> None:
        """Bring the inputs in. Raises StorageError if the directory cannot be written."""
        self._read_manifest()
        rewritten = {d.path for d in dependencies.data if d.state is DataState.WRITTEN}
        try:
            for data in dependencies.data:
                place = self.place(data.path)
                if place is None:
                    continue
                if data.state is DataState.LISTED:
                    place.mkdir(parents=True, exist_ok=True)
                    if place != self.root:
                        self._links.append(f"{place.relative_to(self.root)}/")
                elif data.state is DataState.READ:
                    self._bring(data, place, data.path in rewritten)
                elif data.state is DataState.ABSENT and self._is_callers(place):
                    self.changed[data.path] = "is there, where the author had nothing"
        except OSError as error:
            raise StorageError(
                f"prepare the work directory {self.root}: {error.strerror} ({error.filename}); "
                "name another one with --work-dir"
            ) from error
        for data in dependencies.data:
            if data.state is DataState.LISTED:
                self._look_for_more(data.path, dependencies)
            if data.changed:
                self.changed[data.path] = "was changed by another program during the audit"
        self._write_manifest()

    def _look_for_more(self, path: str, dependencies: Dependencies) -> None:
        """Files of the caller's in a directory that a cell lists, which the audit never met."""
        place = self.place(path)
        if place is None:
            return
        below = path.rstrip("/") + "/"
        known = {
            data.path[len(below) :].partition("/")[0]
            for data in dependencies.data
            if data.path.startswith(below) and data.state is not DataState.ABSENT
        }
        made = (str(self.root / name.rstrip("/")) for name in (*self._files, *self._links))
        known.update(os.path.basename(name) for name in made if os.path.dirname(name) == str(place))
        with contextlib.suppress(OSError):
            names = listed_names(str(place), with_notebooks=place != self.root)
            more = [name for name in names if name not in known]
            if more:
                self.changed[path] = f"has {more[0]}, which the author had not"

    def is_ours(self, path: str) -> bool:
        """Whether a repeat, this one or an earlier, made the file of this author's path."""
        place = self.place(path)
        return place is not None and str(place.relative_to(self.root)) in self._files

    def is_brought(self, path: str) -> bool:
        """Whether the input at this author's path is the image's, and :meth:`open` brings it."""
        place = self.place(path)
        name = "" if place is None else str(place.relative_to(self.root))
        return name in self._brought and os.path.exists(image_path(path))

    def _is_callers(self, place: Path) -> bool:
        return place.exists() and str(place.relative_to(self.root)) not in self._files

    def _bring(self, data: Data, place: Path, copy: bool) -> None:
        source = image_path(data.path)
        name = str(place.relative_to(self.root))
        if place.is_symlink() and os.readlink(place) == source:
            self._links.append(name)
            return
        if os.path.lexists(place):
            if os.path.exists(source) and os.path.samefile(place, source):
                return
            if place.is_file() and digest_file(place)[0] == data.digest:
                return
            if not (
                name in self._brought and os.path.exists(source) and self._is_ours(name, place)
            ):
                self.changed[data.path] = "differs from the author's in the work directory"
                self._brought.discard(name)
                return
            place.unlink()  # what an earlier repeat made of the author's
        if not os.path.exists(source):
            return
        self._brought.add(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(source, place)
            self._files[name] = str(data.digest)
        else:
            place.symlink_to(source)
            self._links.append(name)

    def restore_files(
        self, files: Iterable[StoredFile], removed: Iterable[str], blob: Callable[[Digest], Path]
    ) -> list[str]:
        """Place what restored cells wrote; returns author's paths that could not be placed.

        A file of the caller's that differs is left alone: raises UsageError naming it.
        """
        unplaced = []
        for stored in files:
            place = self.place(stored.path)
            if place is None:
                unplaced.append(stored.path)
                continue
            self._restore(stored, place, blob)
        for path in removed:
            place = self.place(path)
            if place is None:
                continue
            name = str(place.relative_to(self.root))
            if f"{name}/" in self._files and place.is_dir() and not place.is_symlink():
                with contextlib.suppress(OSError):
                    place.rmdir()
            elif name in self._links or name in self._files:
                place.unlink(missing_ok=True)
        self._write_manifest()
        return unplaced

    def _restore(self, stored: StoredFile, place: Path, blob: Callable[[Digest], Path]) -> None:
        name = str(place.relative_to(self.root))
        if stored.directory:
            if not place.is_dir():
                self._make_directory(stored, place)
            return
        source = None if stored.link else blob(stored.digest)
        if os.path.lexists(place):
            if stored.link:
                if place.is_symlink() and os.readlink(place) == stored.link:
                    return
            elif place.is_file() and digest_file(place)[0] == stored.digest:
                if not place.is_symlink() and self._is_ours(name, place):
                    place.chmod(stored.mode | 0o200)
                return
            if not (place.is_symlink() and name in self._links) and not self._is_ours(name, place):
                raise UsageError(
                    f"restore {name}: the work directory {self.root} has another file of this "
                    "name; move it away, or repeat in an empty directory with --work-dir"
                )
            place.unlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            place.symlink_to(stored.link)
            self._files[name] = _leads_to(place)
            return
        temporary = place.with_name(f".{place.name}.nbrw-new")
        try:
            shutil.copyfile(source, temporary)
            temporary.chmod(stored.mode | 0o200)
            temporary.rename(place)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"restore {place}: {error.strerror}; make room") from error
        self._files[name] = str(stored.digest)

    def _make_directory(self, stored: StoredFile, place: Path) -> None:
        name = str(place.relative_to(self.root))
        if place.is_symlink() and name in self._links:
            place.unlink()
        try:
            place.mkdir(parents=True)
            place.chmod(stored.mode | 0o700)
        except FileExistsError:
            raise UsageError(
                f"restore the directory {name}: the work directory {self.root} has a file of this "
                "name; move it away, or repeat in an empty directory with --work-dir"
            ) from None
        except OSError as error:
            raise StorageError(f"restore {place}: {error.strerror}") from error
        self._files[f"{name}/"] = ""

    def _is_ours(self, name: str, place: Path) -> bool:
        """Whether an earlier repeat made this file and nobody changed it since."""
        known = self._files.get(name)
        if place.is_symlink() and known == _leads_to(place):
            return True
        return known is not None and place.is_file() and str(digest_file(place)[0]) == known

    def note_written(self, paths: Mapping[str, Digest | str | None]) -> None:
        """Files and links that a cell of this repeat wrote are ours from now on.

        With the digests of files; what has none is no file.
        """
        for path, digest in paths.items():
            place = self.place(path)
            if place is None:
                continue
            name = str(place.relative_to(self.root))
            if place.is_symlink():
                self._files[name] = _leads_to(place)
            elif str(digest).startswith("sha256:"):
                self._files[name] = str(digest)

    def close(self) -> None:
        """Remove the links that were made, and directories that are empty then; results stay."""
        directories: set[Path] = set()
        for name in self._links:
            place = self.root / name
            if name.endswith("/"):
                directories.add(place)
            elif place.is_symlink():
                with contextlib.suppress(OSError):
                    place.unlink()
                    directories.add(place.parent)
        for directory in sorted(directories, key=lambda d: len(d.parts), reverse=True):
            while directory != self.root and self.root in directory.parents:
                try:
                    directory.rmdir()
                except OSError:
                    break
                directory = directory.parent
        self._links = []
        self._write_manifest()

    def _read_manifest(self) -> None:
        try:
            value = json.loads((self.root / MANIFEST).read_bytes())
            files = {str(k): str(v) for k, v in value.get("files", {}).items()}
            self._links += [str(name) for name in value.get("links", ())]
            self._files = files | self._files  # what this repeat wrote is known better here
            self._brought |= {str(name) for name in value.get("brought", ())}
        except (OSError, ValueError, AttributeError):
            return

    def _write_manifest(self) -> None:
        path = self.root / MANIFEST
        value = {
            "format": "nbrw.work", "version": 1,
            "links": sorted(set(self._links)), "files": dict(sorted(self._files.items())),
            "brought": sorted(self._brought & self._files.keys()),
        }  # fmt: skip
        with contextlib.suppress(OSError):
            if value["links"] or value["files"]:
                write_atomically(path, json.dumps(value, indent=1).encode() + b"\n")
            else:
                path.unlink(missing_ok=True)


def _leads_to(link: Path) -> str:
    """What the manifest says of a link, where it has a file's digest."""
    return f"link to {os.readlink(link)}"
