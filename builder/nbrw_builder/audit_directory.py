"""What an audit leaves on disk, and what of it still counts. `docs/design.md`, section 2.

audit.json               format ``nbrw.audit``: kernel, cells, and the runs with the cells that each
                         of them executed; until all of its cells are known also the audits before
checkpoints*/            one directory for each of these audits
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_builder.audit_checkpoints import CheckpointDirectory
from nbrw_builder.cache import default_cache
from nbrw_runtime.cache_kinds import to_go
from nbrw_runtime.digest import Digest, digest_json
from nbrw_runtime.errors import FormatError, StorageError, UsageError
from nbrw_runtime.recipe import RecipeCell, load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.session_file import write_atomically
from nbrw_runtime.store import DirectoryStore

AUDIT_FORMAT = "nbrw.audit"
AUDIT_VERSION = 1
#: Audits of all notebooks together; those used longest ago go first.
KEEP_BYTES = 30 << 30
_ATTEMPTS = 20


@dataclass(frozen=True)
class Run:
    """One start of the kernel; ``first`` is the first cell that it executed.

    ``began`` is in seconds since the epoch. ``cells`` has a pair for each cell of the audit that
    was executed then: its number in the trace, and its number now. If it is empty, all cells from
    ``first`` on were executed, up to those that a later run has.
    """

    trace: str
    first: int
    began: float = 0.0
    cells: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class AuditState:
    """What ``audit.json`` says. ``environment`` is the digest of the variables the kernel got.

    ``checkpoints`` is the name of the directory of the checkpoints. ``former`` are the audits
    before, newest first, whose cells are still of use: this one was cut off, or is under way.
    """

    kernel: tuple[str, ...]
    cwd: str
    cells: tuple[RecipeCell, ...] = ()
    runs: tuple[Run, ...] = ()
    environment: Digest | None = None
    python_version: str = ""
    platform: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    checkpoints: str = "checkpoints"
    former: tuple[AuditState, ...] = ()
    format: str = AUDIT_FORMAT
    version: int = AUDIT_VERSION


class AuditDirectory:
    """The audit directory of one notebook, kernel, working directory and set of parameters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trace = root / "trace"
        self.written = self.trace / "written"
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
            for directory in (self.written, self.store_root):
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
        """Forget all former audits."""
        (self.root / "audit.json").unlink(missing_ok=True)
        for path in (self.trace, self.store_root, *self.root.glob("checkpoints*")):
            shutil.rmtree(path, ignore_errors=True)
        self.written.mkdir(parents=True, exist_ok=True)
        self.store_root.mkdir(parents=True, exist_ok=True)

    def checkpoints_of(self, state: AuditState) -> CheckpointDirectory:
        """Where an audit's checkpoints are."""
        return CheckpointDirectory(self.root / Path(state.checkpoints).name, self.written)

    def new_checkpoints(self) -> str:
        """The name of a new, empty directory of checkpoints."""
        name, number = "checkpoints", 1
        while (self.root / name).exists():
            number += 1
            name = f"checkpoints-{number}"
        (self.root / name).mkdir()
        return name

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

    def tidy(self, state: AuditState) -> None:
        """Remove what neither this audit nor those that it names as former need any more."""
        audits = (state, *state.former)
        needed: set[Digest] = set()
        for audit in audits:
            for checkpoint in self.checkpoints_of(audit).all():
                needed.update(checkpoint.blobs)
        directories = {audit.checkpoints for audit in audits}
        for path in self.root.glob("checkpoints*"):
            if path.name not in directories:
                shutil.rmtree(path, ignore_errors=True)
        traces = {run.trace for audit in audits for run in audit.runs}
        for path in self.trace.iterdir():
            number = path.name.split(".")[0]
            if number.isdigit() and path.is_file() and number not in traces:
                with contextlib.suppress(OSError):
                    path.unlink()
        # What workers of a kernel that was killed left.
        shutil.rmtree(self.store_root / "tasks", ignore_errors=True)
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
