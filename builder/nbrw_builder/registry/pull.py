"""An image from a registry to a directory, a tar or a SIF.

Beside the target lies ``.<name>.nbrw-pull`` meanwhile: it holds what was fetched, and stays if the
pull is interrupted, so that the next one goes on there.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_builder.build_image import kind_of
from nbrw_builder.cache import default_cache
from nbrw_builder.errors import HostError
from nbrw_builder.image import blob_path
from nbrw_builder.oci_layout import has_blob, is_layout
from nbrw_builder.oci_read import DirectoryBlobs
from nbrw_builder.registry.account import Account, Moved, State
from nbrw_builder.registry.client import SECURE, Access, Client
from nbrw_builder.registry.descriptor import Blob, Manifest, each_once, is_image
from nbrw_builder.registry.download import Download, fetch_manifest, storage
from nbrw_builder.registry.known import KnownBlobs
from nbrw_builder.registry.layout_out import (
    index_bytes,
    move_file,
    remove,
    write_archive_of,
    write_layout,
)
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.referrers import Referrer, fetch_referrers, together
from nbrw_builder.registry.source import layout_manifests
from nbrw_builder.registry.transfers import Transfers
from nbrw_builder.registry.unpacked_sif import write_sif_of
from nbrw_builder.registry.workers import run_all
from nbrw_runtime.errors import NbrwError, UsageError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pull(
    reference: Reference,
    out: Path,
    access: Access = SECURE,
    *,
    start: int | None = None,
    cache: Path | None = None,
    transfers: Transfers | None = None,
    referrers: bool = True,
) -> Account:
    """Pull an image to ``out``, whose name says what it becomes; it appears whole or not at all.

    Of an OCI directory that is there already only what it lacks is fetched. ``start``: only the
    layers that a repeat from that cell needs. ``referrers``: with what refers to the image, to a
    directory. Raises UsageError, RegistryError, IntegrityError, FormatError, HostError,
    StorageError.
    """
    began = time.monotonic()
    _check(reference, out, start)
    client = Client(reference, access, stop=threading.Event())
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    manifest = fetch_manifest(client, architecture)
    _check_kind(reference, out, manifest)
    root = cache or default_cache()
    known = KnownBlobs(root, reference)
    with _work(out) as work:
        fetch = _Fetch(client, manifest, out, work, transfers or Transfers())
        left: frozenset[Blob] = frozenset()
        if start is not None:
            from nbrw_builder.registry.partial import left_behind
            from nbrw_builder.registry.recipe_layer import recipe_of_layer

            fetch.run(manifest.layers[-1:])
            recipe = recipe_of_layer(fetch.file(manifest.layers[-1]), manifest.layers[-1])
            # What is there already stays: a whole image is not made partial.
            unneeded = {layer.digest for layer in left_behind(recipe, manifest.layers, start)}
            left = frozenset(
                blob
                for blob in manifest.blobs
                if blob.digest in unneeded and not fetch.is_there(blob)
            )
        fetch.run(blob for blob in manifest.blobs if blob not in left)
        about: tuple[Referrer, ...] = ()
        if kind_of(out) == "oci-dir":
            about = fetch_referrers(client, manifest.digest) if referrers else ()
            about = together(about, _there(out, manifest))
            more = each_once(manifest.blobs, *(found.blobs for found in about))
            fetch.run(more[len(manifest.blobs) :])
        with storage(out):
            _publish(fetch, reference, manifest, about, start if left else None, root)
        remove(work)
    for blob in fetch.moved:
        known.note(blob.digest)
    known.save()
    moved = {**{blob: Moved(blob, State.LEFT) for blob in left}, **fetch.moved}
    order = dict.fromkeys([*manifest.blobs, *moved])
    return Account(
        "pull",
        str(reference),
        str(manifest.digest),
        tuple(moved[blob] for blob in order),
        time.monotonic() - began,
        str(out),
        tuple(found.kind for found in about),
    )


def _check(reference: Reference, out: Path, start: int | None) -> None:
    kind = kind_of(out)
    if not out.parent.is_dir():
        raise UsageError(f"write {out}: there is no directory {out.parent}; make it first")
    if out.exists() and out.is_dir() != (kind == "oci-dir"):
        other = "a directory" if out.is_dir() else "a file"
        raise UsageError(f"write {out}: {other} of this name is in the way; name another")
    if out.is_dir() and any(out.iterdir()) and not is_layout(out):
        raise UsageError(f"write {out}: the directory is not empty and no OCI image; name another")
    if reference.scheme == "oras" and kind != "sif":
        raise UsageError(f"pull {reference}: it is a SIF; name it {out.with_suffix('.sif')}")
    if start is not None and kind != "oci-dir":
        raise UsageError(
            f"pull --from {start} to {out}: only an OCI directory can have layers that are left "
            "behind; name one without .sif or .tar"
        )
    if start is not None and start < 1:
        raise UsageError(f"pull --from {start}: cells are numbered from 1")


def _check_kind(reference: Reference, out: Path, manifest: Manifest) -> None:
    if reference.scheme == "oras" and not manifest.is_sif:
        raise UsageError(
            f"pull {reference}: it is no SIF; pull docker://{reference.name}, also to a .sif"
        )
    if reference.scheme == "docker" and not is_image(manifest):
        what = "a SIF" if manifest.is_sif else "no image"
        raise UsageError(f"pull {reference}: it is {what}; pull oras://{reference.name} to a .sif")


def _there(out: Path, manifest: Manifest) -> tuple[Referrer, ...]:
    """What a directory of this very image has of what refers to it; that stays."""
    try:
        there, found = layout_manifests(DirectoryBlobs(out), str(out))
    except (NbrwError, OSError):
        return ()
    if there.digest != manifest.digest:
        return ()
    return tuple(
        one
        for one in found
        if all(has_blob(out / blob_path(b.digest), b.digest, b.size) for b in one.blobs)
    )


@contextlib.contextmanager
def _work(out: Path) -> Iterator[Path]:
    """The directory of the pull, held by one process at a time."""
    work = out.parent / f".{out.name}.nbrw-pull"
    with storage(work):
        work.mkdir(exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(f"pull to {out}: another pull to it is at work; wait for it") from None
        yield work
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            work.rmdir()  # if nothing was fetched


@dataclass
class _Fetch:
    """What is fetched to a pull's directory. ``moved``: what became of each blob."""

    client: Client
    manifest: Manifest
    out: Path
    work: Path
    transfers: Transfers
    moved: dict[Blob, Moved] = field(default_factory=dict)

    def file(self, blob: Blob) -> Path:
        """Where a fetched blob is."""
        fetched = self.work / blob.digest.hex
        return fetched if fetched.exists() else self.out / blob_path(blob.digest)

    def is_there(self, blob: Blob) -> bool:
        """Whether the directory that is brought up to date has the blob."""
        return blob in self.moved or (
            self.out.is_dir()
            and has_blob(self.out / blob_path(blob.digest), blob.digest, blob.size)
        )

    def run(self, blobs: Iterable[Blob]) -> None:
        """Fetch what is not there, the largest first."""
        wanted = sorted(
            (blob for blob in blobs if blob not in self.moved), key=lambda blob: -blob.size
        )
        if not wanted:
            return
        total = sum(blob.size for blob in wanted)
        self.transfers.begin(f"pull {self.client.reference.name}", total)
        run_all([functools.partial(self._one, blob) for blob in wanted], self.client.stop)

    def _one(self, blob: Blob) -> None:
        path = self.work / blob.digest.hex
        if self.is_there(blob):
            self.transfers.advance(blob.size)
            self.moved[blob] = Moved(blob, State.PRESENT)
        elif has_blob(path, blob.digest, blob.size):
            self.transfers.advance(blob.size)
            self.moved[blob] = Moved(blob, State.FETCHED, 0, blob.size)
        else:
            download = Download(self.client, blob, path, self.transfers.advance)
            download.run()
            self.moved[blob] = Moved(blob, State.FETCHED, download.travelled, download.resumed)


def _publish(
    fetch: _Fetch,
    reference: Reference,
    manifest: Manifest,
    about: Sequence[Referrer],
    start: int | None,
    cache: Path,
) -> None:
    out, kind = fetch.out, kind_of(fetch.out)
    files = {blob.digest: fetch.file(blob) for blob in fetch.moved}
    if manifest.is_sif:
        move_file(files[manifest.layers[0].digest], out, 0o755)
    elif kind == "oci-dir":
        new = {digest: path for digest, path in files.items() if path.parent == fetch.work}
        index = index_bytes(manifest, reference, about, start, fetch.client.plain_http)
        write_layout(out, manifest, about, index, new, fetch.work)
    elif kind == "oci-tar":
        write_archive_of(out, manifest, index_bytes(manifest, reference), files, reference)
    else:
        write_sif_of(manifest, files, out, cache)
