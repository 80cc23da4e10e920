"""Single files out of an image, by their place in it; nothing is run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nbrw_builder.entry import Entry
from nbrw_builder.process import run


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether an absolute path matches one of the glob patterns; ``*`` stays within a name.

    Beside ``*`` they have nothing special but what ``glob.escape`` makes.
    """
    found = re.compile("|".join(map(_regular, patterns)) or r"(?!)", re.DOTALL)
    return lambda path: found.fullmatch(path) is not None


def _regular(pattern: str) -> str:
    # Not fnmatch: there `*` crosses slashes.
    parts = re.split(r"(\*|\[[*?[]\])", pattern)
    return "".join(
        re.escape(part) if at % 2 == 0 else "[^/]*" if part == "*" else re.escape(part[1])
        for at, part in enumerate(parts)
    )


def of_squashfs(path: Path, offset: int, patterns: Sequence[str]) -> dict[str, bytes]:
    """Regular files of the file system that begins at ``offset``. Needs unsquashfs.

    Raises HostError, ProcessError.
    """
    if not patterns:
        return {}
    with tempfile.TemporaryDirectory(prefix="nbrw-members-") as scratch:
        root = Path(scratch, "root")
        argv = ["unsquashfs", "-no-progress", "-no-xattrs", "-dest", str(root)]
        names = [pattern.lstrip("/") for pattern in patterns]
        run([*argv, "-offset", str(offset), str(path), *names])
        matches = matcher(patterns)
        return {
            name: found.read_bytes()
            for found in sorted(root.rglob("*"))
            if not found.is_symlink()
            and found.is_file()
            and matches(name := f"/{found.relative_to(root)}")
        }


def of_entries(entries: Iterable[Entry], patterns: Sequence[str]) -> dict[str, bytes]:
    """Regular files of layers that are planned, lowest layer first. Raises OSError."""
    matches = matcher(patterns)
    found: dict[str, bytes] = {}
    for entry in entries:
        if not matches(entry.path):
            continue
        if entry.data is not None:
            found[entry.path] = entry.data
        elif entry.source is not None:
            found[entry.path] = entry.head + entry.source.read_bytes()[len(entry.head) :]
    return found
