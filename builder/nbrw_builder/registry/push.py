"""An image to a registry: blobs first, several at a time; the tag last, so it is never half."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nbrw_builder.cache import default_cache
from nbrw_builder.image_file import open_image
from nbrw_builder.registry.account import Account, Moved
from nbrw_builder.registry.client import SECURE, Access, Client
from nbrw_builder.registry.descriptor import Blob, Manifest
from nbrw_builder.registry.errors import RegistryError
from nbrw_builder.registry.known import KnownBlobs
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.referrers import put_referrers
from nbrw_builder.registry.source import Source, layout_source, sif_source
from nbrw_builder.registry.transfers import Transfers
from nbrw_builder.registry.upload import PIECE, Upload
from nbrw_builder.registry.workers import run_all
from nbrw_runtime.errors import UsageError

_MOUNTS = 3  # remembered repositories that a token is asked for


def push(
    path: Path,
    reference: Reference,
    access: Access = SECURE,
    *,
    sources: Sequence[str] = (),
    cache: Path | None = None,
    transfers: Transfers | None = None,
    piece: int = PIECE,
    referrers: bool = True,
) -> Account:
    """Push the image at ``path``; blobs and manifest stay as they are, and so do digests.

    ``sources`` are repositories of the same registry that may have some of the blobs, beside those
    that ``cache`` remembers. ``referrers``: with what refers to the image in its layout. Raises
    UsageError, RegistryError, FormatError, NotFoundError, IntegrityError, StorageError. When it is
    interrupted, the next push goes on where this stopped.
    """
    check_target(reference)
    image = open_image(path)
    with contextlib.ExitStack() as stack:
        if reference.scheme == "oras":
            if image.kind != "sif":
                raise UsageError(
                    f"push {path} to {reference}: oras:// is for a SIF; "
                    f"push it to docker://{reference.name}"
                )
            source = sif_source(path)
        elif image.kind == "sif":
            raise UsageError(
                f"push {path} to {reference}: a SIF is one file system, and the layers it was made "
                "of cannot be had from it again; push it as it is to "
                f"oras://{reference.name}, or build the layers: nbrw-build NOTEBOOK -o {reference} "
                "(cells are not run again)"
            )
        else:
            source = stack.enter_context(layout_source(image))
        if not referrers:
            source = replace(source, referrers=())
        known = KnownBlobs(cache or default_cache(), reference)
        return _push(source, reference, access, tuple(sources), known, transfers, piece)


def check_target(reference: Reference) -> None:
    """Raise UsageError for what cannot be pushed to."""
    if reference.digest is not None:
        raise UsageError(f"push to {reference}: a digest follows from the image; name a tag")


def check_access(reference: Reference, access: Access = SECURE) -> None:
    """Raise what a push would, as far as it is known before there is an image."""
    check_target(reference)
    client = Client(reference, access, push=True)
    act = f"push to {reference}"
    answer = client.ask("POST", client.url("blobs/uploads/"), act, (202,))
    with contextlib.suppress(RegistryError):
        client.ask("DELETE", client.location(answer, act), act, (202, 204, 404, 405))


def _push(
    source: Source,
    reference: Reference,
    access: Access,
    sources: tuple[str, ...],
    known: KnownBlobs,
    transfers: Transfers | None,
    piece: int,
) -> Account:
    began = time.monotonic()
    stop = threading.Event()
    shown = transfers or Transfers()
    manifest, blobs = source.manifest, source.blobs
    others = known.others((blob.digest for blob in blobs), _MOUNTS)
    client = Client(reference, access, push=True, sources=(*sources, *others), stop=stop)
    shown.begin(f"push {reference.name}", sum(blob.size for blob in blobs))
    moved: dict[Blob, Moved] = {}

    def send(blob: Blob) -> None:
        hint = known.repository(blob.digest)
        candidates = tuple(dict.fromkeys([*([hint] if hint in others else []), *sources]))
        place = source.places[blob.digest]
        upload = Upload(client, known, blob, place, candidates, shown.advance, piece)
        moved[blob] = upload.run()

    try:
        # The largest first: the last one to end is then a small one.
        order = sorted(blobs, key=lambda blob: -blob.size)
        run_all([functools.partial(send, blob) for blob in order], stop)
        # Before the tag: who finds the image finds its signatures.
        put_referrers(client, manifest.digest, source.referrers)
        _put_manifest(client, manifest)
    finally:
        known.save()
    return Account(
        "push",
        str(reference),
        str(manifest.digest),
        tuple(moved[blob] for blob in blobs),
        time.monotonic() - began,
        referrers=tuple(found.kind for found in source.referrers),
    )


def _put_manifest(client: Client, manifest: Manifest) -> None:
    act = f"put the tag {client.reference}"
    url = client.url(f"manifests/{client.reference.version}")
    answer = client.ask(
        "PUT", url, act, (200, 201, 202), {"Content-Type": manifest.media_type}, manifest.data
    )
    said = answer.headers.get("Docker-Content-Digest")
    if said and said != str(manifest.digest):
        raise RegistryError(
            f"{act}: the registry stored {said} instead of {manifest.digest}; it changes what it "
            "is given, so take another registry"
        )
