"""The file tree that a sandboxed image sees: which mount, link or directory is where.

The image's directories are bound one by one wherever a mount point lies below them that the image
lacks, as its root is read-only. Apptainer calls that an underlay.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAKE = "make"  # an empty directory
BIND = "bind"  # a directory or file of the image, read-only
LINK = "link"  # a symbolic link; source is its text


@dataclass(frozen=True)
class Step:
    """Make ``path`` (absolute, in the new root); ``source`` as ``act`` says."""

    act: str
    path: str
    source: str = ""


def plan_tree(root: Path, targets: Sequence[str]) -> list[Step]:
    """The steps that show the image at ``root`` and have a directory at each target.

    A target hides what the image has there. Where the image has a symbolic link on the way to a
    target, what the link leads to is linked entry by entry beside the target: nothing below
    ``/nbrw/root`` is ever hidden, for that is where the environment is.
    """
    wanted = {target for target in targets if target != "/"}
    steps: list[Step] = []
    _directory(root, root, "/", frozenset(outermost(wanted)), steps)
    return steps


def outermost(targets: Iterable[str]) -> list[str]:
    """Those that lie below no other, sorted, each once: what is below comes with the mount."""
    each = set(targets)
    return sorted(path for path in each if not any(_below(path, top) for top in each))


def _below(path: str, top: str) -> bool:
    return path.startswith(top.rstrip("/") + "/")


def _directory(
    root: Path, source: Path | None, path: str, targets: frozenset[str], steps: list[Step]
) -> None:
    """Fill the directory ``path``, whose content the image has at ``source``, if it has any."""
    inside = sorted(target for target in targets if _below(target, path))
    children = {path.rstrip("/") + "/" + target[len(path.rstrip("/")) + 1 :].split("/")[0]: 0
                for target in inside}  # fmt: skip
    # Reached through a link: its entries are shown as links into the image.
    aside = source is not None and str(source) != os.path.normpath(f"{root}/{path}")
    if source is not None:
        for name in sorted(os.listdir(source)):
            child = posixpath.join(path, name)
            if child not in children:
                steps.append(_entry(root, source / name, child, aside))
    for child in children:
        steps.append(Step(MAKE, child))
        if child not in targets:
            below = _resolve(root, source / posixpath.basename(child)) if source else None
            _directory(root, below, child, targets, steps)


def _entry(root: Path, source: Path, path: str, aside: bool) -> Step:
    if aside:
        return Step(LINK, path, "/" + str(source.relative_to(root)))
    if stat.S_ISLNK(source.lstat().st_mode):
        return Step(LINK, path, str(source.readlink()))
    return Step(BIND, path, str(source))


def _resolve(root: Path, path: Path) -> Path | None:
    """The directory that a path of the image leads to, inside the image; None if there is none."""
    for _ in range(40):
        if not path.is_symlink():
            return path if path.is_dir() else None
        text = str(path.readlink())
        start = root if text.startswith("/") else path.parent
        inside = posixpath.normpath("/" + str((start / text.lstrip("/")).relative_to(root)))
        path = _walk(root, inside)
    return None


def _walk(root: Path, inside: str) -> Path:
    """``inside`` with the links in its directories followed as in a root of its own."""
    path = root
    *parents, last = [part for part in inside.split("/") if part] or [""]
    for part in parents:
        found = _resolve(root, path / part)
        path = found if found is not None else path / part
    return path / last if last else path
