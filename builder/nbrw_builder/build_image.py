"""Planned layers to an image on disk: one call for a SIF, an OCI directory or a tar."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbrw_builder.cache import LayerCache, default_cache
from nbrw_builder.docker_client import KIND, is_reference, reference
from nbrw_builder.docker_write import write_docker
from nbrw_builder.entry import LayerPlan
from nbrw_builder.errors import ProcessError
from nbrw_builder.image import Image, ImageConfig
from nbrw_builder.layer import Layer, pack
from nbrw_builder.oci_layout import BlobCache, write_archive, write_directory
from nbrw_builder.sif_image import write_sif
from nbrw_builder.squashfs import SquashfsCache
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import StorageError, UsageError

Finish = Callable[[Sequence[Layer]], LayerPlan]


@dataclass(frozen=True)
class WrittenImage:
    """What was written: ``kind`` is ``sif``, ``oci-dir``, ``oci-tar`` or ``docker-daemon``.

    ``digest`` is the file's for a SIF, the image's id in a Docker Engine, else the manifest's.
    ``layers`` are lowest first.
    """

    path: Path
    kind: str
    digest: Digest
    layers: tuple[Layer, ...]


def kind_of(out: Path) -> str:
    """The kind of image that a name asks for: by its suffix, a directory without one we know;
    ``docker-daemon`` for what begins so.
    """
    if is_reference(out):
        return KIND
    return {".sif": "sif", ".tar": "oci-tar"}.get(out.suffix, "oci-dir")


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Spare the search for cycles: many small objects are made here, all of them to stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def write_image(
    layers: Sequence[LayerPlan],
    out: Path,
    *,
    config: ImageConfig,
    finish: Finish | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
    compression: str = "gzip",
    level: int | None = None,
) -> WrittenImage:
    """Pack the layers (lowest first) and write the image to ``out``.

    ``finish`` is given the packed layers and plans the last one, the recipe. ``cache`` is
    ``$XDG_CACHE_HOME/nbrw`` by default. On any error, and on Ctrl-C, what was at ``out`` before
    is there still and nothing else is left. Raises BuildError, HostError, IntegrityError,
    ProcessError, StorageError (a full disk), UsageError.
    """
    root = default_cache() if cache is None else cache
    out = Path(out)
    if is_reference(out):
        config = replace(config, name=reference(out))
    elif not out.parent.is_dir():
        raise UsageError(f"write {out}: there is no directory {out.parent}; make it first")
    if out.is_dir() != (kind_of(out) == "oci-dir") and out.exists():
        other = "a directory" if out.is_dir() else "a file"
        raise UsageError(f"write {out}: {other} of this name is in the way; name another")
    with _storage_errors(out, root):
        packed = []
        for plan in layers:
            progress(f"look at {plan.name}")
            packed.append(pack(plan, LayerCache(root)))
        if finish:
            packed.append(pack(finish(tuple(packed)), LayerCache(root)))
        return _write(Image(tuple(packed), config), out, root, progress, compression, level)


@_no_collection()
def replace_last_layer(
    written: WrittenImage,
    last: LayerPlan,
    *,
    config: ImageConfig,
    cache: Path | None = None,
    compression: str = "gzip",
) -> WrittenImage:
    """Write an image again with another last layer; the other layers are not looked at again.

    Raises what :func:`write_image` raises.
    """
    root = default_cache() if cache is None else cache
    if written.kind == KIND:
        config = replace(config, name=reference(written.path))
    with _storage_errors(written.path, root):
        image = Image((*written.layers[:-1], pack(last, LayerCache(root))), config)
        return _write(image, written.path, root, lambda text: None, compression, None)


def _write(
    image: Image,
    out: Path,
    root: Path,
    progress: Callable[[str], None],
    compression: str,
    level: int | None,
) -> WrittenImage:
    kind = kind_of(out)
    digest = _write_kind(image, out, kind, root, progress, compression, level)
    return WrittenImage(out, kind, digest, image.layers)


def _write_kind(
    image: Image,
    out: Path,
    kind: str,
    root: Path,
    progress: Callable[[str], None],
    compression: str,
    level: int | None,
) -> Digest:
    if kind == "sif":
        squashfs = SquashfsCache(root) if level is None else SquashfsCache(root, level)
        return write_sif(image, out, squashfs, progress)
    if kind == KIND:
        return write_docker(image, progress)
    blobs = BlobCache(root, compression, level)
    write = write_archive if kind == "oci-tar" else write_directory
    digest = write(image, out, blobs, progress)
    blobs.prune()
    return digest


@contextlib.contextmanager
def _storage_errors(out: Path, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage(out, root, error) from error
    except ProcessError as error:
        # What mksquashfs says of a full disk.
        if os.strerror(errno.ENOSPC) in error.tail:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise _storage(out, root, full) from error
        raise


def _storage(out: Path, root: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"make room, or delete the cache {root}"
    else:
        remedy = "name a place that can be written"
    where = error.filename or out
    return StorageError(f"write {out}: {error.strerror or error} ({where}); {remedy}")
