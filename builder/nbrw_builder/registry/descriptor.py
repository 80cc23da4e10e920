"""Manifests and the blobs they name. Pure. Source: OCI image-spec v1.1, "Image Manifest"."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_builder.image import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, OWN
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes
from nbrw_runtime.errors import FormatError, UsageError

DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
SIF_CONFIG_TYPE = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"
#: The second is that of Singularity before 3.7, spelt so.
SIF_LAYER_TYPES = (SIF_LAYER_TYPE, "appliciation/vnd.sylabs.sif.layer.tar")
INDEX_TYPES = (INDEX_TYPE, DOCKER_INDEX_TYPE)
MANIFEST_TYPES = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
EMPTY = b"{}"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class Blob:
    """A blob as a manifest names it: digest, size in bytes; ``name`` is the layer's, if it says."""

    digest: Digest
    size: int
    media_type: str
    name: str = ""
    cells: tuple[int, ...] = ()
    directory: str = ""


@dataclass(frozen=True)
class Manifest:
    """A manifest: its very bytes, and the blobs it names, each once, configuration first."""

    data: bytes
    media_type: str
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def digest(self) -> Digest:
        """The image's identity."""
        return digest_bytes(self.data)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Configuration and layers, each digest once."""
        return each_once((self.config, *self.layers))

    @property
    def is_sif(self) -> bool:
        """Whether it is a SIF as `apptainer push` stores it."""
        return len(self.layers) == 1 and self.layers[0].media_type in SIF_LAYER_TYPES


def each_once(*groups: Iterable[Blob]) -> tuple[Blob, ...]:
    """Blobs in their order, each digest once: as it is named first."""
    found: dict[Digest, Blob] = {}
    for blob in itertools.chain(*groups):
        found.setdefault(blob.digest, blob)
    return tuple(found.values())


def read_manifest(data: bytes, where: str, media_type: str = "") -> Manifest:
    """The manifest in these bytes. Raises FormatError."""
    try:
        value = json.loads(data)
        kind = str(value.get("mediaType") or media_type or MANIFEST_TYPE)
        if value["schemaVersion"] != 2 or kind not in MANIFEST_TYPES:
            raise ValueError(f"{kind}, schema version {value['schemaVersion']}")
        config, *layers = (_blob(found) for found in (value["config"], *value["layers"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: not a manifest that nbrw reads: {error!r}") from error
    return Manifest(data, kind, config, tuple(layers))


def _blob(value: Mapping[str, Any]) -> Blob:
    notes = value.get("annotations") or {}
    cells = tuple(int(text) for text in str(notes.get(OWN + "cell.index", "")).split(",") if text)
    size = int(value["size"])
    if size < 0:
        raise ValueError(f"a blob of {size} bytes")
    return Blob(
        Digest(value["digest"]),
        size,
        str(value["mediaType"]),
        str(notes.get(OWN + "layer.name", "")),
        cells,
        str(notes.get(OWN + "layer.directory", "")),
    )


def choose_manifest(data: bytes, where: str, architecture: str) -> Digest:
    """Of an index the manifest for this architecture. Raises FormatError, UsageError."""
    try:
        found = [
            (entry.get("platform") or {}, Digest(entry["digest"]))
            for entry in json.loads(data)["manifests"]
            if entry.get("mediaType") in MANIFEST_TYPES and "artifactType" not in entry
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: not an index that nbrw reads: {error!r}") from error
    for platform, digest in found:
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return digest
    if len(found) == 1:
        return found[0][1]
    raise UsageError(f"pull {where}: it has no image for linux on {architecture}")


def sif_manifest(digest: Digest, size: int, title: str) -> Manifest:
    """The manifest of a SIF, as `apptainer push` makes it."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": SIF_CONFIG_TYPE,
            "digest": str(digest_bytes(EMPTY)),
            "size": len(EMPTY),
        },
        "layers": [
            {
                "mediaType": SIF_LAYER_TYPE,
                "digest": str(digest),
                "size": size,
                "annotations": {_TITLE: title},
            }
        ],
    }
    return read_manifest(canonical_json(value), title)


def is_image(manifest: Manifest) -> bool:
    """Whether it is an image of layers, not another kind of artifact."""
    return manifest.config.media_type in (
        CONFIG_TYPE,
        "application/vnd.docker.container.image.v1+json",
    )
