"""An image as a SIF: the squashfs, and documents that a host reads without mounting it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nbrw_builder import sif
from nbrw_builder.errors import BuildError
from nbrw_builder.files import scratch_directory, temporary_file
from nbrw_builder.image import Image
from nbrw_builder.squashfs import SquashfsCache, write_squashfs
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes
from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import RECIPE_PATH

if TYPE_CHECKING:
    from nbrw_builder.sbom_layer import ImageSbom

RECIPE_OBJECT = "nbrw-recipe.json"
SUMMARY_OBJECT = "nbrw-image.json"
SUMMARY_FORMAT = "nbrw.sif"
SUMMARY_VERSION = 1
_ROOT_OBJECT = "squashfs"
_NO_DIGEST = Digest.from_hex("0" * 64)
_CHUNK = 1 << 20


def _sboms(image: Image) -> tuple[ImageSbom, ...]:
    # Whoever only reads images does without what finds out about software.
    from nbrw_builder.sbom_layer import sboms_of

    return sboms_of(image)


def write_sif(
    image: Image, out: Path, cache: SquashfsCache, progress: Callable[[str], None]
) -> Digest:
    """Write the image to the file ``out``, which appears whole or not at all; its digest.

    Raises what :func:`write_squashfs` raises.
    """
    recipe = recipe_of(image)
    start = sif.place([(sif.PARTITION, _ROOT_OBJECT, 0)])[0].offset
    with scratch_directory(out) as scratch, temporary_file(out, 0o755) as stream:
        _fill(stream, start)
        write_squashfs(image.layers, stream, scratch, cache, progress)
        size = stream.tell() - start
        progress("write the SIF")
        # A digest's length is known before the digest, and so are all sizes.
        sizes = [
            (kind, name, len(data))
            for kind, name, data in _documents(image, recipe, _NO_DIGEST, size)
        ]
        objects = _with_formats(sif.place([(sif.PARTITION, _ROOT_OBJECT, size), *sizes]), image)
        stream.seek(0)
        stream.write(sif.encode(objects, image.config.architecture))
        stream.flush()
        body, whole = _hash_from(stream, start, 0)
        documents = _documents(image, recipe, Digest.from_hex(body.hexdigest()), size)
        stream.seek(start + size)
        for item, (_, _, data) in zip(objects[1:], documents, strict=True):
            _fill(stream, item.offset)
            stream.write(data)
        # So that data added later (a signature) starts on a boundary, too.
        _fill(stream, stream.tell() + -stream.tell() % 4096)
        stream.flush()
        stream.seek(start + size)
        whole.update(stream.read())
        return Digest.from_hex(whole.hexdigest())


def _with_formats(objects: Sequence[sif.SifObject], image: Image) -> tuple[sif.SifObject, ...]:
    numbers = {found.name: found.format.sif_number for found in _sboms(image)}
    return tuple(
        replace(item, format=numbers[item.name]) if item.kind == sif.SBOM else item
        for item in objects
    )


def _hash_from(stream: BinaryIO, *starts: int) -> list[Any]:
    """For each start the hasher of what follows it; side by side, while the file goes to disk."""

    def hashed(start: int) -> Any:
        hasher = hashlib.sha256()
        while chunk := os.pread(stream.fileno(), _CHUNK, start):
            hasher.update(chunk)
            start += len(chunk)
        return hasher

    with ThreadPoolExecutor(len(starts) + 1) as pool:
        pool.submit(os.fsync, stream.fileno())
        return list(pool.map(hashed, starts))


def recipe_of(image: Image) -> bytes:
    """The recipe's bytes, from the topmost layer that has it. Raises BuildError if none has."""
    for layer in reversed(image.layers):
        for entry in layer.entries:
            if entry.path == RECIPE_PATH:
                return entry.data if entry.data is not None else _read(entry.source)
    raise BuildError(f"make the image: no layer holds {RECIPE_PATH}")


def _read(source: Path | None) -> bytes:
    if source is None:
        raise BuildError(f"make the image: {RECIPE_PATH} is not a file")
    return source.read_bytes()


def _documents(
    image: Image, recipe: bytes, digest: Digest, size: int
) -> list[tuple[int, str, bytes]]:
    labels = image.config.all_labels
    attributes: dict[str, Any] = {"labels": labels}
    if image.config.deffile:
        attributes["deffile"] = image.config.deffile
    # Without this object `apptainer inspect` starts the container to look for it.
    inspect = {"data": {"attributes": attributes}, "type": "container"}
    summary = {
        "format": SUMMARY_FORMAT,
        "version": SUMMARY_VERSION,
        "layers": [
            {"name": layer.name, "diff_id": str(layer.diff_id), "size": layer.size}
            for layer in image.layers
        ],
        "recipe": str(digest_bytes(recipe)),
        "squashfs": {"digest": str(digest), "size": size},
    }
    documents = [
        (sif.LABELS, "labels", canonical_json(labels)),
        (sif.JSON, "inspect-metadata.json", canonical_json(inspect)),
        (sif.JSON, SUMMARY_OBJECT, canonical_json(summary)),
        (sif.JSON, RECIPE_OBJECT, recipe),
    ]
    documents += [(sif.SBOM, found.name, found.data) for found in _sboms(image)]
    if image.config.deffile:
        documents.insert(0, (sif.DEFFILE, "deffile", image.config.deffile.encode()))
    return documents


def read_summary(data: bytes, where: str) -> dict[str, Any]:
    """The summary object of a SIF. Raises FormatError if it is malformed or of a newer version."""
    try:
        value = json.loads(data)
        found = value["version"] if value["format"] == SUMMARY_FORMAT else None
        Digest(value["squashfs"]["digest"]), Digest(value["recipe"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"read {where}: its object {SUMMARY_OBJECT} is malformed") from error
    if found != SUMMARY_VERSION:
        raise FormatError(
            f"read {where}: it is of {SUMMARY_FORMAT} version {found}, this nbrw reads version "
            f"{SUMMARY_VERSION}; use a newer nbrw"
        )
    return dict(value)


def _fill(stream: BinaryIO, offset: int) -> None:
    stream.write(bytes(offset - stream.tell()))
