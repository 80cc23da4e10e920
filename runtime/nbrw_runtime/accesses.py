"""What a program was seen to use, in order; and what follows for the cell that it ran for. Pure."""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Use(str, enum.Enum):
    """How something was used; the call may still have failed."""

    READ = "read"  # opened for reading, or looked for
    LIST = "list"  # a directory, opened to read its entries
    WRITE = "write"  # made, or emptied and written
    UPDATE = "update"  # written, and what was in it before matters
    REMOVE = "remove"
    EXECUTE = "execute"
    CONNECT = "connect"  # ``path`` is an address, see :func:`is_local`
    UNSEEN = "unseen"  # ``path`` is a sentence: something that could not be followed


class Stamp(NamedTuple):
    """Facts of a file; equal stamps mean that it was not changed in between (times in ns)."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int
    mode: int

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


class Access(NamedTuple):
    """One use. ``path`` is absolute; symbolic links in it are not followed, ``stamp`` is of what
    it led to right before the call (None: nothing there). ``pid`` is the thread's id."""

    use: Use
    path: str
    stamp: Stamp | None
    pid: int


@dataclass
class Used:
    """What one cell used, by first use: what it had written before is nothing that it depends on.

    ``read`` maps paths to what was there (None: looked for in vain); ``listed`` directories.
    ``temporary``: what it made itself and removed again. ``unseen`` says why all this may
    be incomplete; ``connected`` are addresses. ``users`` are the threads that used a path.
    """

    read: dict[str, Stamp | None] = field(default_factory=dict)
    listed: dict[str, Stamp] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    temporary: set[str] = field(default_factory=set)
    executed: dict[str, Stamp] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    users: dict[str, set[int]] = field(default_factory=dict)

    @property
    def remote(self) -> list[str]:
        """Addresses beyond this machine."""
        return [address for address in self.connected if not is_local(address)]


def used(accesses: Iterable[Access]) -> Used:
    """The accesses of one cell, in order, taken together."""
    found = Used()
    own: set[str] = set()
    made: set[str] = set()  # where there was nothing before
    for use, path, stamp, pid in accesses:
        if use is Use.UNSEEN:
            _once(found.unseen, path)
        elif use is Use.CONNECT:
            _once(found.connected, path)
        else:
            found.users.setdefault(path, set()).add(pid)
            if use in (Use.READ, Use.UPDATE, Use.LIST, Use.EXECUTE) and path not in own:
                _depends(found, use, path, stamp)
            if use in (Use.WRITE, Use.UPDATE):
                if stamp is None and path not in own:
                    made.add(path)
                own.add(path)
                found.written.add(path)
                found.removed.discard(path)
                found.temporary.discard(path)
            elif use is Use.REMOVE:
                own.add(path)
                (found.temporary if path in made else found.removed).add(path)
                found.written.discard(path)
    return found


def _depends(found: Used, use: Use, path: str, stamp: Stamp | None) -> None:
    if stamp is not None and use is Use.LIST:
        found.listed.setdefault(path, stamp)
    elif stamp is not None and use is Use.EXECUTE:
        found.executed.setdefault(path, stamp)
    else:
        found.read.setdefault(path, stamp)


def _once(known: list[str], text: str) -> None:
    if text not in known:
        known.append(text)


def is_local(address: str) -> bool:
    """Whether an address, as ``CONNECT`` has it, is of this machine.

    ``unix:<path>``, ``127.0.0.1:8786``, ``[::1]:8786``.
    """
    return address.startswith(("unix:", "127.", "[::1]:", "[::ffff:127.", "0.0.0.0:", "[::]:"))
