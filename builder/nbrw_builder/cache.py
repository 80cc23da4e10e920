"""What builds leave for later builds below ``$XDG_CACHE_HOME/nbrw``: all of it may be deleted."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbrw_builder.entry import Entry
from nbrw_builder.files import file_stamp, temporary_file
from nbrw_runtime.cache_place import cache_home
from nbrw_runtime.digest import Digest, digest_bytes, digest_file, digest_json

# A file that changed this recently may change again without a new ctime (the clock of a file
# system ticks in milliseconds, some in two seconds).
_RACY_NS = 2_500_000_000
_VERSION = 1


def default_cache() -> Path:
    """``$NBRW_CACHE_DIR``, ``$XDG_CACHE_HOME/nbrw`` or ``~/.cache/nbrw``."""
    return cache_home()


@dataclass(frozen=True)
class LayerCache:
    """Below ``root/layers``: which diff_id and size a list of stamped entries gave."""

    root: Path

    def get(self, entries: tuple[Entry, ...]) -> tuple[Digest, int] | None:
        """What ``put`` was given for the same entries, or None."""
        value = read_note(self._path(entries))
        try:
            return Digest(value["diff_id"]), int(value["size"])
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, entries: tuple[Entry, ...], diff_id: Digest, size: int) -> None:
        """Remember; does nothing for files so new that they may yet change unnoticed."""
        newest = max((e.stamp[3] for e in entries if e.stamp and not e.digest), default=0)
        if time.time_ns() - newest > _RACY_NS:
            write_note(self._path(entries), {"diff_id": str(diff_id), "size": size})

    def _path(self, entries: tuple[Entry, ...]) -> Path:
        return self.root / "layers" / f"{entries_key(entries).hex}.json"


def entries_key(entries: tuple[Entry, ...]) -> Digest:
    """Equal keys mean equal tars, as far as stamps tell."""
    return digest_json([_VERSION, [_entry_key(entry) for entry in entries]])


def _entry_key(entry: Entry) -> list[Any]:
    content: Any = None
    if entry.data is not None:
        content = [str(digest_bytes(entry.data)), str(entry.digest or "")]
    elif entry.target is not None:
        content = ["->", entry.target]
    elif entry.source is not None and entry.stamp is not None:
        known = entry.digest
        content = [str(known), entry.stamp[2]] if known else list(entry.stamp)
        content.append(entry.head.hex())
    return [entry.path, entry.mode, content]


def read_note(path: Path) -> Any:
    """A small JSON document of the cache; {} if it is missing or spoilt."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def write_note(path: Path, value: Any) -> None:
    """Write one, atomically. The cache is no promise: a host that refuses it loses time only."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as stream:
            stream.write(json.dumps(value, sort_keys=True).encode())


def remember(kept: Path, note: Path, digest: Digest) -> None:
    """Note the digest of a kept file, and that it was used just now."""
    with contextlib.suppress(OSError):
        os.utime(kept)
        status = kept.stat()
        stamp = list(file_stamp(status))
        write_note(note, {"digest": str(digest), "size": status.st_size, "stamp": stamp})


def remembered(kept: Path, note: Path) -> Digest | None:
    """The digest of a kept file, if its bytes have it still.

    As with all files, the bytes are believed to be the same where the stamp is.
    """
    value = read_note(note)
    try:
        digest = Digest(value["digest"])
        if list(file_stamp(kept.stat())) == value.get("stamp") or digest_file(kept)[0] == digest:
            return digest
    except (OSError, KeyError, TypeError, ValueError):
        pass
    return None


def prune(directory: Path, keep_bytes: int, keep_files: int) -> None:
    """Remove the files used longest ago until both limits hold; the newest always stays."""
    total = 0
    for number, (size, path) in enumerate(_newest_first(directory)):
        total += size
        if number and (total > keep_bytes or number >= keep_files):
            with contextlib.suppress(OSError):
                path.unlink()


def _newest_first(directory: Path) -> Iterator[tuple[int, Path]]:
    found = []
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
    for _, size, path in sorted(found, reverse=True):
        yield size, path
