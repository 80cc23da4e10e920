"""What one cell added to or changed in the state. `docs/format.md`, section "Checkpoint"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nbrw_runtime.digest import Digest, digest_json
from nbrw_runtime.records import to_json

CHECKPOINT_FORMAT = "nbrw.checkpoint"
CHECKPOINT_VERSION = 1
#: The version of every directory.
DIRECTORY = "directory"


@dataclass(frozen=True)
class StoredObject:
    """Names that share objects (a co-variable), stored together.

    ``digest`` is the content's identity: equal digests mean equal objects. ``blob`` is the pickle
    of a dict ``{name: object}``, ``buffers`` its out-of-band buffers (pickle protocol 5) in order.
    ``refers`` are global names that functions inside refer to, and ``futures`` the blobs of the
    Dask results inside.
    """

    names: tuple[str, ...]
    digest: Digest
    blob: Digest
    buffers: tuple[Digest, ...] = ()
    codec: str = "pickle"  # or "dill"
    size: int = 0  # bytes of blob and buffers together
    types: tuple[str, ...] = ()  # "module.Class" of each name's value
    refers: tuple[str, ...] = ()
    futures: tuple[Digest, ...] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Every blob that a restore of these names may read."""
        return (self.blob, *self.buffers, *self.futures)


@dataclass(frozen=True)
class Omitted:
    """A name whose object could not be stored, and why, in a sentence for the user."""

    name: str
    type: str
    reason: str


@dataclass(frozen=True)
class StoredFile:
    """A file as a cell left it; ``path`` absolute on the author's host, ``mode`` its bits.

    Of a directory that a cell made nothing but that is stored: its content is empty.
    """

    path: str
    digest: Digest
    size: int
    mode: int = 0o644
    link: str = ""  # of a symbolic link: where it points (digest is that of the text)
    directory: bool = False

    @property
    def version(self) -> str:
        """Equal versions mean equal content."""
        return DIRECTORY if self.directory else str(self.digest)


@dataclass(frozen=True)
class Checkpoint:
    """The effect of one cell.

    ``status`` is ``ok`` or ``error``. ``outputs`` is the blob of the cell's nbformat outputs as
    canonical JSON. ``seconds`` and ``overhead`` (time the cell ran, time storing took) do not
    count towards its identity.
    """

    cell: int
    code: Digest
    status: str = "ok"
    objects: tuple[StoredObject, ...] = ()
    deleted: tuple[str, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    files: tuple[StoredFile, ...] = ()
    removed: tuple[str, ...] = ()
    outputs: Digest | None = None
    seconds: float = 0.0
    overhead: float = 0.0
    notes: tuple[str, ...] = ()
    format: str = CHECKPOINT_FORMAT
    version: int = CHECKPOINT_VERSION
    reads: tuple[str, ...] = field(default=())  # global names that the cell's code mentions
    tasks: Digest | None = None  # the document of its Dask tasks, `docs/format/task.md`
    task_blobs: tuple[Digest, ...] = ()  # their results

    @property
    def digest(self) -> Digest:
        """Identity: everything but timings, which the tasks' document has, too."""
        return digest_json(
            to_json(replace(self, seconds=0.0, overhead=0.0, tasks=None, task_blobs=()))
        )

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Every blob this checkpoint needs, sorted, each once."""
        needed = {blob for stored in self.objects for blob in stored.blobs}
        needed.update(stored.digest for stored in self.files)
        if self.outputs:
            needed.add(self.outputs)
        if self.tasks:
            needed.update((self.tasks, *self.task_blobs))
        return tuple(sorted(needed))
