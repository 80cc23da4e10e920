"""What goes into a layer: paths in the image and where their bytes are. Values only, no I/O."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from nbrw_runtime.digest import Digest

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Entry:
    """One path of a layer.

    ``path`` is absolute and normalised, ``mode`` holds permission bits only. Exactly one of
    ``source`` (a host file whose bytes are taken), ``data`` (the bytes themselves) and ``target``
    (a symbolic link's text) is set; none of them makes a directory. ``stamp`` is the source's
    (device, inode, size, ctime_ns): with equal stamps the bytes are believed to be equal. If
    ``digest`` is given, packing fails unless the bytes have it. ``head`` takes the place of the
    source's first bytes (the time that a ``.pyc`` says its source has).
    """

    path: str
    mode: int = 0o644
    source: Path | None = None
    data: bytes | None = None
    target: str | None = None
    stamp: Stamp | None = None
    digest: Digest | None = None
    head: bytes = b""

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or posixpath.normpath(self.path) != self.path:
            raise ValueError(f"not an absolute normalised path: {self.path!r}")
        if sum(part is not None for part in (self.source, self.data, self.target)) > 1:
            raise ValueError(f"{self.path}: more than one of source, data and target")

    def with_stamp(self, stamp: Stamp) -> Entry:
        """The same entry with this stamp."""
        # What was checked once is not checked again: an image has tens of thousands of these.
        made = object.__new__(Entry)
        made.__dict__.update(self.__dict__, stamp=stamp)
        return made

    @property
    def is_directory(self) -> bool:
        """Whether this makes a directory."""
        return self.source is None and self.data is None and self.target is None


@dataclass(frozen=True)
class LayerPlan:
    """A layer before it has digests: entries in any order (missing parent directories are made).

    ``name`` is one of ``system``, ``interpreter``, ``distributions``, ``distribution:<name>``,
    ``runtime``, ``data``, ``cell:<number>``, ``recipe``. ``cells`` are the cells whose checkpoints
    it holds and ``directory`` their top-level directory in the image.
    """

    name: str
    entries: tuple[Entry, ...]
    cells: tuple[int, ...] = ()
    directory: str = ""
