"""What the kernel is told when it starts: a JSON file, named by ``--session`` to the launcher.

In the audit the builder writes it, in a repeat `nbrw_runtime.repeat` does.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_runtime.dependency import Data
from nbrw_runtime.digest import Digest
from nbrw_runtime.recipe import RecipeCell, load_document
from nbrw_runtime.records import from_json, to_json

SESSION_FORMAT = "nbrw.session"
SESSION_VERSION = 1
#: A file beside the checkpoints: the first cell whose checkpoint a sweep may still refute.
UNSWEPT = "unswept"


@dataclass(frozen=True)
class ClusterOrders:
    """Where Dask's tasks run in a repeat.

    ``kind`` is ``local`` (on this machine), ``as-written`` (where the notebook says) or ``joined``:
    on the scheduler at ``address``, encrypted with the certificates in ``tls`` unless that is
    empty, which must be of the image with the digest ``image``. ``workers``, and ``threads`` of
    each, are what was asked for; 0 if nothing was. Where ``most`` is above ``workers`` they come
    when there are tasks and go again.
    """

    kind: str = "local"
    address: str = ""
    tls: str = ""
    image: str = ""
    workers: int = 0
    threads: int = 0
    most: int = 0

    @property
    def adaptive(self) -> bool:
        """Whether workers come and go."""
        return self.most > self.workers


@dataclass(frozen=True)
class Session:
    """One kernel's orders.

    ``mode`` is ``audit`` (mark cells, take checkpoints) or ``repeat`` (restore on demand).
    ``stores`` are store roots, the first writable, the rest read-only; ``checkpoints`` is the
    directory of ``<NNNN>.json``; ``written`` the directory where the tracer leaves the list of
    files written by a cell (empty: not traced), ``traces`` what the names of traces of workers
    elsewhere begin with. ``author_cwd`` is the author's working directory
    and ``cwd`` that of this kernel.
    """

    mode: str
    cells: tuple[RecipeCell, ...]
    stores: tuple[str, ...]
    checkpoints: str
    cwd: str
    author_cwd: str = ""
    written: str = ""
    traces: str = ""
    tasks: bool = False  # in a repeat: results of the audit's tasks may be loaded,
    worker_data: tuple[Data, ...] = ()  # given what its workers used,
    kernel_data: tuple[Data, ...] = ()  # and what only the kernel did, and what it started
    kept_tasks: tuple[Digest, ...] = ()  # and those of earlier repeats: documents
    keep_tasks: bool = False  # those that run are stored
    cluster: ClusterOrders = field(default_factory=ClusterOrders)
    format: str = SESSION_FORMAT
    version: int = SESSION_VERSION


def write_session(session: Session, path: str | Path) -> None:
    """Write the file atomically."""
    write_atomically(path, json.dumps(to_json(session), indent=1).encode() + b"\n")


def read_session(path: str | Path) -> Session:
    """Read the file. Raises FormatError or OSError."""
    value = load_document(Path(path).read_bytes(), SESSION_FORMAT, SESSION_VERSION, str(path))
    return from_json(Session, value, str(path))


def write_atomically(path: str | Path, data: bytes) -> None:
    """Replace a file by these bytes; a reader sees the old or the new content, nothing between."""
    path = Path(path)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
