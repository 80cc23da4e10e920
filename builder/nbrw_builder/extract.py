"""Unpacking layers that may come from a stranger: nothing is written outside the root."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from nbrw_runtime.errors import FormatError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def find_member(tar: tarfile.TarFile, path: str) -> bytes | None:
    """The bytes of the file at an absolute path of a layer, or None."""
    for member in tar:
        if "/" + member.name.lstrip("./") == path and member.isfile():
            stream = tar.extractfile(member)
            return stream.read() if stream else None
    return None


def find_members(
    tar: tarfile.TarFile, matches: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """The regular files of a layer whose absolute path matches, with their bytes."""
    for member in tar:
        path = "/" + member.name.removeprefix("./").lstrip("/")
        if member.isfile() and matches(path):
            stream = tar.extractfile(member)
            yield path, stream.read() if stream else b""


def unpack_layer(tar: tarfile.TarFile, root: Path, where: str) -> None:
    """Apply a layer to the directory ``root`` (OCI image-spec v1.1, "Applying Changesets").

    Directories, files, symbolic and hard links only. Raises FormatError for anything else, for
    ``..`` in a name, and for a path that leads through a symbolic link.
    """
    for member in tar:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if not parts:
            continue
        target = _inside(root, parts, where)
        if parts[-1].startswith(_WHITEOUT):
            _white_out(target, parts[-1])
            continue
        if not (member.isdir() and target.is_dir() and not target.is_symlink()):
            _remove(target)
        _make(tar, member, target, root, where)


def _make(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path, where: str
) -> None:
    if member.isdir():
        target.mkdir(exist_ok=True)
    elif member.issym():
        target.symlink_to(member.linkname)
        return
    elif member.islnk():
        parts = [part for part in member.linkname.split("/") if part not in ("", ".")]
        os.link(_inside(root, parts, where), target, follow_symlinks=False)
        return
    elif member.isfile():
        source = tar.extractfile(member)
        # "x": a file that is there already is never opened, so no link is ever followed.
        with open(target, "xb") as stream:
            if source:
                shutil.copyfileobj(source, stream, 1 << 20)
    else:
        raise FormatError(f"unpack {where}: {member.name} is a device or a pipe; nbrw makes none")
    target.chmod(stat.S_IMODE(member.mode) & 0o1777)
    os.utime(target, (member.mtime, member.mtime))


def _inside(root: Path, parts: list[str], where: str) -> Path:
    """The path below root, made of real directories only."""
    path = root
    for part in parts[:-1]:
        path = _step(path, part, where)
        if path.is_symlink():
            raise FormatError(f"unpack {where}: {'/'.join(parts)} leads through a symbolic link")
        if not path.is_dir():
            path.mkdir()
    return _step(path, parts[-1], where)


def _step(path: Path, part: str, where: str) -> Path:
    if part == "..":
        raise FormatError(f"unpack {where}: a name in it leads outside the image")
    return path / part


def _white_out(target: Path, name: str) -> None:
    if name == _OPAQUE:
        for path in target.parent.iterdir():
            _remove(path)
    else:
        _remove(target.with_name(name[len(_WHITEOUT) :]))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
