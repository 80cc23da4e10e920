"""What builds and `nbrw run` keep, beside results of repeats: audits, packed layers, images."""

from __future__ import annotations

import contextlib
from pathlib import Path

from nbrw_builder.audit_checkpoints import CheckpointDirectory
from nbrw_builder.audit_directory import (
    KEEP_BYTES,
    AuditDirectory,
    list_audits,
    locked_if_idle,
    remove_audit,
)
from nbrw_builder.cache import default_cache, read_note
from nbrw_builder.rootfs import LIMIT, in_use, list_trees, remove_tree
from nbrw_runtime.cache_kinds import CacheKind, Results, to_go
from nbrw_runtime.cache_report import CacheItem, Removed
from nbrw_runtime.digest import Digest, digest_file
from nbrw_runtime.errors import IntegrityError, NbrwError
from nbrw_runtime.recipe import RECIPE_PATH
from nbrw_runtime.store import DirectoryStore

_PACKED = ("blobs", "squashfs", "layers", "compressed", "registry", "registry/uploads")
_PACKED_BYTES = 40 << 30


class Audits:
    """What `nbrw-build` keeps of audits, to go on where one stopped."""

    name = "audits"

    def __init__(self, cache: Path) -> None:
        self.root = cache / "audits"

    def items(self) -> list[CacheItem]:
        """One for each notebook, kernel, directory and set of parameters."""
        found = []
        for used, size, root in list_audits(self.root):
            with locked_if_idle(root) as idle:
                parts = sum(len(found.all()) for found in _checkpoints(AuditDirectory(root)))
                found.append(CacheItem(self.name, root.name, size, used, parts, not idle))
        return found

    def prune(self, limit: int | None = None, longest: float | None = None) -> Removed:
        """See :class:`nbrw_runtime.cache_kinds.CacheKind`."""
        going = to_go(list_audits(self.root), KEEP_BYTES if limit is None else limit, longest)
        gone = [size for size, root in going if remove_audit(root)]
        busy = "a build is at work" if len(gone) < len(going) else ""
        return Removed(self.name, len(gone), sum(gone), busy)

    def check(self) -> list[str]:
        """A checkpoint that lacks a blob is dropped: its cell is executed by the next build."""
        said: list[str] = []
        for _, _, root in list_audits(self.root):
            with locked_if_idle(root) as idle:
                if idle:
                    said += _check_audit(AuditDirectory(root))
        return said

    def at_work(self) -> bool:
        """Whether any build is."""
        for _, _, root in list_audits(self.root):
            with locked_if_idle(root) as idle:
                if not idle:
                    return True
        return False


def _checkpoints(directory: AuditDirectory) -> list[CheckpointDirectory]:
    """Those of the audit, and of former ones that it still may use."""
    state = directory.read_state()
    audits = (state, *state.former) if state else ()
    return [directory.checkpoints_of(audit) for audit in audits]


def _check_audit(directory: AuditDirectory) -> list[str]:
    store: DirectoryStore = directory.store
    said = []
    for digest in store:
        try:
            store.path(digest)
        except IntegrityError as error:
            said.append(str(error))
            _unlink(directory.store_root / "sha256" / digest.hex)
        except (NbrwError, OSError):
            continue
    for checkpoints in _checkpoints(directory):
        for checkpoint in checkpoints.all():
            lost = [blob for blob in checkpoint.blobs if blob not in store]
            if lost:
                said.append(
                    f"the checkpoint of cell {checkpoint.cell} of {directory.root.name} is "
                    f"dropped: it needs {lost[0]}"
                )
                _unlink(checkpoints.path(checkpoint.cell))
    return said


class Packed:
    """Packed layers, so that none is packed twice."""

    name = "packed"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._audits = Audits(cache)

    def items(self) -> list[CacheItem]:
        """One for each form."""
        found = []
        for name in _PACKED:
            files = _files(self._cache / name)
            if files:
                used = max(used for used, _, _ in files)
                size = sum(size for _, size, _ in files)
                found.append(CacheItem(self.name, name, size, used, len(files)))
        return found

    def prune(self, limit: int | None = None, longest: float | None = None) -> Removed:
        """See :class:`nbrw_runtime.cache_kinds.CacheKind`."""
        files = [file for name in _PACKED for file in _files(self._cache / name)]
        going = to_go(files, _PACKED_BYTES if limit is None else limit, longest)
        if going and self._audits.at_work():
            return Removed(self.name, skipped="a build is at work")
        for _, path in going:
            _unlink(path)
        return Removed(self.name, len(going), sum(size for size, _ in going))

    def check(self) -> list[str]:
        """Compressed layers are named by their digests. The other files are made again in doubt."""
        said = []
        for _, _, path in _files(self._cache / "blobs"):
            with contextlib.suppress(OSError, ValueError):
                want, got = Digest.from_hex(path.name), digest_file(path)[0]
                if want != got:
                    where = str(path.parent)
                    said.append(str(IntegrityError(f"blob {want}", str(want), str(got), where)))
                    _unlink(path)
        return said


class Unpacked:
    """Images that the embedded engine has unpacked."""

    name = "images"

    def __init__(self, cache: Path) -> None:
        self.root = cache / "rootfs"

    def items(self) -> list[CacheItem]:
        """One for each image."""
        return [
            CacheItem(self.name, _title(tree), size, used, busy=in_use(tree))
            for used, size, tree in list_trees(self.root)
        ]

    def prune(self, limit: int | None = None, longest: float | None = None) -> Removed:
        """See :class:`nbrw_runtime.cache_kinds.CacheKind`."""
        going = to_go(list_trees(self.root), LIMIT if limit is None else limit, longest)
        gone = [size for size, tree in going if remove_tree(tree)]
        busy = "an image is run" if len(gone) < len(going) else ""
        return Removed(self.name, len(gone), sum(gone), busy)

    def check(self) -> list[str]:
        """They were verified when they were unpacked; their files have no digests of their own."""
        return []


def _title(tree: Path) -> str:
    title = read_note(tree / RECIPE_PATH.lstrip("/")).get("title") or "an image"
    return f"{title} ({tree.name[:8]})"


def all_kinds() -> list[CacheKind]:
    """All that is below the directory of caches."""
    cache = default_cache()
    return [Results(), Audits(cache), Packed(cache), Unpacked(cache)]


def _files(directory: Path) -> list[tuple[float, int, Path]]:
    found = []
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return found


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
