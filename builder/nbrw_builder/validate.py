"""Whether an image agrees with its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from nbrw_builder.image import blob_path
from nbrw_builder.oci_read import Blobs, OciDocuments, decompressed
from nbrw_runtime.digest import digest_stream
from nbrw_runtime.errors import FormatError, IntegrityError
from nbrw_runtime.recipe import read_recipe


def check_digest(what: str, want: str, got: str, where: str) -> None:
    """Raise IntegrityError unless both digests are equal."""
    if want != got:
        raise IntegrityError(what, want, got, where)


def check_oci(blobs: Blobs, documents: OciDocuments, where: str) -> None:
    """Check each layer's blob digest and size, and its tar against the diff_id.

    Raises IntegrityError, or NotFoundError for a missing blob.
    """
    for layer, diff_id in zip(documents.layers, documents.diff_ids, strict=True):
        what = f"layer {layer.name or layer.digest}"
        with blobs.file(blob_path(layer.digest)) as raw:
            digest, size = digest_stream(raw)  # type: ignore[arg-type]
        check_digest(what, str(layer.digest), str(digest), where)
        if size != layer.size:
            raise FormatError(f"read {where}: {what} has {size} bytes, not {layer.size}")
        with blobs.file(blob_path(layer.digest)) as raw, decompressed(raw, layer) as tar:
            _check_tar(tar, what, str(diff_id), where)


def _check_tar(tar: IO[bytes], what: str, diff_id: str, where: str) -> None:
    check_digest(f"the tar of {what}", diff_id, str(digest_stream(tar)[0]), where)  # type: ignore[arg-type]


def check_recipe(recipe: bytes, layers: Sequence[tuple[str, str]], where: str) -> None:
    """Check that the layers a recipe names are the image's layers, (name, diff_id) lowest first.

    A recipe cannot name its own layer, which is the last. Raises FormatError.
    """
    known = read_recipe(recipe, where).layers
    named = [(layer.name, str(layer.diff_id)) for layer in known]
    if named and named != list(layers)[: len(named)]:
        raise FormatError(f"read {where}: its recipe belongs to other layers; build it again")
