"""What an audit leaves on disk, and what of it still counts. `docs/design.md`, section 2.

audit.json               format ``nbrw.audit``: kernel, cells, and the runs with the first cell
                         that each of them executed
lock                     held by the build that writes here
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbrw_builder.cache import default_cache
from nbrw_runtime.cache_kinds import to_go
from nbrw_runtime.checkpoint import CHECKPOINT_FORMAT, CHECKPOINT_VERSION, Checkpoint
from nbrw_runtime.digest import Digest, digest_json
from nbrw_runtime.errors import FormatError, StorageError, UsageError
from nbrw_runtime.recipe import RecipeCell, load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.session_file import UNSWEPT, write_atomically
from nbrw_runtime.store import DirectoryStore

AUDIT_FORMAT = "nbrw.audit"
AUDIT_VERSION = 1
#: Audits of all notebooks together; those used longest ago go first.
KEEP_BYTES = 30 << 30
_ATTEMPTS = 20


@dataclass(frozen=True)
class Run:
    """One start of the kernel: cells from ``first`` on were executed, those before restored.

    ``began`` is in seconds since the epoch.
    """

    trace: str
    first: int
    began: float = 0.0


@dataclass(frozen=True)
class AuditState:
    """What ``audit.json`` says. ``environment`` is the digest of the variables the kernel got."""

    kernel: tuple[str, ...]
    cwd: str
    cells: tuple[RecipeCell, ...] = ()
    runs: tuple[Run, ...] = ()
    environment: Digest | None = None
    python_version: str = ""
    platform: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    format: str = AUDIT_FORMAT
    version: int = AUDIT_VERSION


class AuditDirectory:
    """The audit directory of one notebook, kernel, working directory and set of parameters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trace = root / "trace"
        self.written = self.trace / "written"
        self.checkpoints = root / "checkpoints"
        self.store_root = root / "store"
        self.session = root / "session.json"
        self.log = root / "kernel.log"

    @classmethod
    def of(
        cls, notebook: Path, kernel: tuple[str, ...], cwd: Path, parameters: dict[str, Any]
    ) -> AuditDirectory:
        """Where audits of this notebook, started in this way, are kept."""
        key = digest_json([str(notebook), list(kernel), str(cwd), parameters]).hex[:16]
        return cls(default_cache() / "audits" / f"{notebook.stem[:40]}-{key}")

    @property
    def store(self) -> DirectoryStore:
        """The audit's blobs."""
        return DirectoryStore(self.store_root)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directories and keep other builds out. Raises UsageError, StorageError."""
        try:
            for directory in (self.written, self.checkpoints, self.store_root):
                directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"make the audit directory {self.root}: {error.strerror}; "
                "name another place with XDG_CACHE_HOME"
            ) from error
        try:
            if not _lock(descriptor):
                raise UsageError(
                    f"audit in {self.root}: another build of this notebook is at work; "
                    "wait for its end"
                )
            os.utime(descriptor)
            yield
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Forget all former runs."""
        for path in (self.trace, self.checkpoints, self.store_root):
            shutil.rmtree(path, ignore_errors=True)
        (self.root / "audit.json").unlink(missing_ok=True)
        self.written.mkdir(parents=True, exist_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.store_root.mkdir(parents=True, exist_ok=True)

    def read_state(self) -> AuditState | None:
        """The former audit's state; None if there is none that can be used."""
        path = self.root / "audit.json"
        try:
            value = load_document(path.read_bytes(), AUDIT_FORMAT, AUDIT_VERSION, str(path))
            return from_json(AuditState, value, str(path))
        except (OSError, FormatError):
            return None

    def write_state(self, state: AuditState) -> None:
        """Replace ``audit.json``."""
        write_atomically(self.root / "audit.json", json.dumps(to_json(state)).encode() + b"\n")

    def checkpoint_path(self, cell: int) -> Path:
        """The file of a cell's checkpoint."""
        return self.checkpoints / f"{cell:04d}.json"

    def read_checkpoint(self, cell: int) -> Checkpoint | None:
        """A cell's checkpoint, if it is there, whole, and of our version."""
        path = self.checkpoint_path(cell)
        try:
            value = load_document(
                path.read_bytes(), CHECKPOINT_FORMAT, CHECKPOINT_VERSION, str(path)
            )
            return from_json(Checkpoint, value, str(path))
        except (OSError, FormatError):
            return None

    def unswept(self) -> int | None:
        """The first cell whose checkpoint was never confirmed by a look at the whole state."""
        try:
            return int((self.checkpoints / UNSWEPT).read_text())
        except (OSError, ValueError):
            return None

    def write_outputs(self, cell: int, outputs: Digest) -> None:
        """Complete a cell's checkpoint by the blob of its outputs."""
        checkpoint = self.read_checkpoint(cell)
        if checkpoint is not None:
            whole = replace(checkpoint, outputs=outputs)
            write_atomically(
                self.checkpoint_path(cell), json.dumps(to_json(whole)).encode() + b"\n"
            )

    def drop_from(self, cell: int) -> None:
        """Remove the checkpoints of this cell and those after it."""
        unswept = self.unswept()
        if unswept is not None and unswept >= cell:
            (self.checkpoints / UNSWEPT).unlink()
        for path in self.checkpoints.glob("*.json"):
            if path.stem.isdigit() and int(path.stem) >= cell:
                path.unlink()
        for path in self.written.glob("*.json"):
            if path.stem.isdigit() and int(path.stem) >= cell:
                path.unlink()

    def tidy(self) -> None:
        """Remove blobs that no checkpoint needs any more."""
        needed: set[Digest] = set()
        for path in self.checkpoints.glob("*.json"):
            checkpoint = self.read_checkpoint(int(path.stem)) if path.stem.isdigit() else None
            if checkpoint is not None:
                needed.update(checkpoint.blobs)
        for digest in self.store:
            if digest not in needed:
                with contextlib.suppress(OSError):
                    (self.store_root / "sha256" / digest.hex).unlink()


def _lock(descriptor: int) -> bool:
    """Whether it is ours now. Who only asks whether a build is at work has it for a moment."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def prune_audits(keep: Path, limit: int = KEEP_BYTES) -> None:
    """Remove the audits used longest ago until all together have at most ``limit`` bytes.

    The one at ``keep`` and those that another build works in stay.
    """
    found = list_audits(keep.parent)
    left = limit - sum(size for _, size, root in found if root == keep)
    others = [item for item in found if item[2] != keep]
    for _, root in to_go(others, left, None):
        remove_audit(root)


def list_audits(directory: Path) -> list[tuple[float, int, Path]]:
    """All audits: when used last (since the epoch), bytes, and where."""
    found = []
    with contextlib.suppress(OSError):
        for root in directory.iterdir():
            with contextlib.suppress(OSError):
                used = (root / "lock").stat().st_mtime
                size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
                found.append((used, size, root))
    return found


def remove_audit(root: Path) -> bool:
    """Remove an audit, unless a build works in it."""
    with locked_if_idle(root) as idle:
        if idle:
            shutil.rmtree(root, ignore_errors=True)
        return idle


@contextlib.contextmanager
def locked_if_idle(root: Path) -> Iterator[bool]:
    """Keep builds out of an audit while the block lasts; False: one is at work."""
    descriptor = -1
    try:
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        idle = True
    except OSError:
        idle = False
    try:
        yield idle
    finally:
        if descriptor >= 0:
            os.close(descriptor)
