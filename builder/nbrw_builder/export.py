"""`nbrw export`: what an image's notebook used and did, written in the formats of others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbrw_builder import __version__, sbom
from nbrw_builder.binder import binder_files
from nbrw_builder.components import Component, components, wanted
from nbrw_builder.docker_image import DockerImage
from nbrw_builder.files import temporary_directory, temporary_file
from nbrw_builder.image_file import ImageFile, open_image
from nbrw_builder.lock_file import lock_file
from nbrw_builder.oci_load import manifest_digest
from nbrw_builder.oci_read import DirectoryBlobs
from nbrw_builder.ro_crate import METADATA, Person
from nbrw_builder.ro_crate_audit import CrateFile, CrateImage, CrateText, audit_graph
from nbrw_builder.ro_crate_repeat import Repeat, add_repeat
from nbrw_runtime.digest import digest_bytes, digest_file
from nbrw_runtime.errors import StorageError, UsageError
from nbrw_runtime.last_report import last_report
from nbrw_runtime.notebook import code_cells, read_notebook
from nbrw_runtime.recipe import Recipe, read_recipe


@dataclass(frozen=True)
class CrateRequest:
    """A crate with these repeats; ``agent`` ran them, ``author`` made the audit."""

    reports: tuple[Path, ...] = ()
    author: Person | None = None
    agent: Person | None = None
    licence: str = ""


class Export:
    """An image that is exported from. Raises what reading it raises.

    ``created`` is the time (RFC 3339) that documents have.
    """

    def __init__(self, path: str | Path, created: str = sbom.NO_TIME) -> None:
        self._image: ImageFile = open_image(path)
        self._bytes = self._image.recipe_bytes()
        self._created = created
        self.recipe: Recipe = read_recipe(self._bytes, str(path))
        self._components: tuple[Component, ...] | None = None

    @property
    def components(self) -> tuple[Component, ...]:
        """The software in the image, read once."""
        if self._components is None:
            self._components = components(self.recipe, self._image.members(wanted(self.recipe)))
        return self._components

    def sbom(self, name: str) -> bytes:
        """A bill of materials in this format."""
        subject = sbom.subject_of(self.recipe.title, self._bytes, __version__, self._created)
        return sbom.FORMATS[name].document(subject, self.components)

    def lock(self) -> bytes:
        """A lock file: of conda if the environment is conda's, else of pip."""
        return lock_file(self.recipe, self.components).encode()

    def binder(self) -> dict[str, bytes]:
        """The files of a `binder` directory."""
        found = binder_files(self.recipe, self.components)
        return {name: text.encode() for name, text in found.items()}

    def crate(self, request: CrateRequest) -> dict[str, bytes]:
        """The files of a crate. Raises UsageError for a report that is not of this image."""
        recipe = self.recipe
        title = recipe.title or "notebook"
        files: dict[str, bytes] = {}

        def add(name: str, data: bytes) -> CrateFile:
            files[name] = data
            return CrateFile(name, digest_bytes(data), len(data))

        notebook = add(f"{title}.ipynb", _notebook_bytes(recipe.notebook))
        text = CrateText(self._created, request.licence, request.author)
        graph = audit_graph(recipe, notebook, self._crate_image(), __version__, text)
        for number, path in enumerate(request.reports, 1):
            report = last_report(recipe.title, Path(), path)
            if report.recipe not in (None, digest_bytes(self._bytes)):
                raise UsageError(
                    f"read {path}: it is of a repeat of another image of this title; "
                    "name another with --report FILE"
                )
            data = _executed(path, report.notebook)
            executed = json.loads(data)
            if len(code_cells(executed)) != len(report.cells):
                raise UsageError(
                    f"read {path}: its notebook has other cells than the report; name the notebook "
                    "that the repeat wrote, as it wrote it"
                )
            file = add(f"{title}.repeat-{number}.ipynb", data)
            repeat = Repeat(report, executed, file)
            add_repeat(graph, recipe, notebook.identifier, repeat, number, request.agent)
        value = json.dumps(graph.document(), indent=1, ensure_ascii=False)
        return {METADATA: value.encode("utf-8", "replace") + b"\n", **files}

    def _crate_image(self) -> CrateImage:
        path, kind = self._image.path, self._image.kind
        if isinstance(self._image, DockerImage):
            digest = self._image.identity
        elif kind == "oci-dir":
            digest = manifest_digest(DirectoryBlobs(path), str(path))
        else:
            digest = digest_file(path)[0]
        return CrateImage(path.name, kind, digest)


def _notebook_bytes(notebook: object) -> bytes:
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _executed(path: Path, notebook: str) -> bytes:
    """The notebook that a repeat wrote: the named file, or the one that the report in it names."""
    data = path.read_bytes()
    if "nbformat" in json.loads(data):
        return data
    try:
        read_notebook(notebook)
        return Path(notebook).read_bytes()
    except (OSError, UsageError) as error:
        raise UsageError(
            f"read {notebook}, which {path} names: it is not there or no notebook; name the "
            "notebook that the repeat wrote with --report"
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError, UsageError."""
    _check_parent(path)
    with _errors(path), temporary_file(path) as stream:
        stream.write(data)


def write_files(path: Path, files: dict[str, bytes]) -> None:
    """Write a new directory whole or not at all. Raises StorageError, UsageError."""
    check_directory(path)
    with _errors(path):
        if path.is_dir():
            path.rmdir()
        with temporary_directory(path) as fresh:
            for name, data in files.items():
                (fresh / name).write_bytes(data)


def check_directory(path: Path) -> None:
    """Raise UsageError unless a new directory can have this name."""
    _check_parent(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"write {path}: it is there already and not empty; name another")


def check_files(paths: Sequence[Path]) -> None:
    """Raise UsageError unless all of these can be written."""
    for path in paths:
        _check_parent(path)
        if path.is_dir():
            raise UsageError(f"write {path}: a directory of this name is in the way; name another")


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"write {path}: {error.strerror or error}; make room, or name another place"
        ) from error


def _check_parent(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"write {path}: there is no directory {path.parent}; make it first")
