"""What a notebook needed: software and data, by which cells and on which role.

Roles are ``kernel``, ``worker`` (a Dask worker or nanny and what it starts) and ``child`` (any
other process the kernel started).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nbrw_runtime.digest import Digest

#: Notes that begin so say what the trace does not know.
GAP_NOTE = "the trace has a gap: "


class SoftwareKind(str, enum.Enum):
    """Who owns the files of a software dependency."""

    INTERPRETER = "interpreter"  # a Python installation: executable, standard library
    DISTRIBUTION = "distribution"  # a Python distribution (its RECORD)
    LOCAL = "local"  # source of the author: editable installs, modules beside the notebook
    CONDA = "conda"
    DPKG = "dpkg"
    RPM = "rpm"
    FILE = "file"  # software files that no package owns


class DataState(str, enum.Enum):
    """How a data path was used."""

    READ = "read"  # existed before the notebook wrote it, and was read
    WRITTEN = "written"  # made or changed by the notebook
    ABSENT = "absent"  # looked for, and not there
    LISTED = "listed"  # a directory whose entries were read


@dataclass(frozen=True)
class Software:
    """One piece of software; ``root`` is the directory that its files are under (``""``: many)."""

    kind: SoftwareKind
    name: str
    version: str = ""
    root: str = ""
    cells: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    touched: int = 0  # files that the trace saw
    requires: tuple[str, ...] = ()  # why it is there although nothing was touched: its dependants


@dataclass(frozen=True)
class Data:
    """One data path; ``digest`` and ``size`` (bytes) are those at the time of first use."""

    path: str
    state: DataState
    cells: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    digest: Digest | None = None
    size: int | None = None
    changed: bool = False  # somebody else changed it while the audit ran
    entries: Digest | None = None  # of a listed directory: the digest of its sorted entry names


@dataclass(frozen=True)
class LeftOut:
    """A path that the notebook used and that is not packaged, with the reason."""

    path: str
    reason: str
    cells: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dependencies:
    """All that a notebook needed."""

    software: tuple[Software, ...] = ()
    data: tuple[Data, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    network: tuple[str, ...] = ()  # peers as "address:port", loopback left out
    online: tuple[int, ...] = ()  # cells during which something connected to one of these
    notes: tuple[str, ...] = ()  # gaps and doubts, one sentence each
