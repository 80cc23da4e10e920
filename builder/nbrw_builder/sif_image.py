"""An image as a SIF: the squashfs, and documents that a host reads without mounting it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nbrw_builder import sif
from nbrw_builder.errors import BuildError
from nbrw_builder.files import copy_into, scratch_directory, temporary_file
from nbrw_builder.image import Image
from nbrw_builder.squashfs import SquashfsCache, write_squashfs
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes, digest_file, digest_stream
from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import RECIPE_PATH

RECIPE_OBJECT = "nbrw-recipe.json"
SUMMARY_OBJECT = "nbrw-image.json"
SUMMARY_FORMAT = "nbrw.sif"
SUMMARY_VERSION = 1
_ROOT_OBJECT = "squashfs"


def write_sif(
    image: Image, out: Path, cache: SquashfsCache, progress: Callable[[str], None]
) -> Digest:
    """Write the image to the file ``out``, which appears whole or not at all; its digest.

    Raises what :func:`write_squashfs` raises.
    """
    recipe = recipe_of(image)
    with scratch_directory(out) as scratch:
        body = scratch / "squashfs"
        write_squashfs(image.layers, body, cache, progress)
        digest, size = digest_file(body)
        documents = _documents(image, recipe, digest, size)
        objects = sif.place(
            [
                (sif.PARTITION, _ROOT_OBJECT, size),
                *((kind, name, len(data)) for kind, name, data in documents),
            ]
        )
        progress("write the SIF")
        with temporary_file(out, 0o755) as stream:
            stream.write(sif.encode(objects, image.config.architecture))
            _fill(stream, objects[0].offset)
            copy_into(body, stream)
            for item, (_, _, data) in zip(objects[1:], documents, strict=True):
                _fill(stream, item.offset)
                stream.write(data)
            # So that data added later (a signature) starts on a boundary, too.
            _fill(stream, stream.tell() + -stream.tell() % 4096)
            stream.flush()
            stream.seek(0)
            return digest_stream(stream)[0]


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
