"""Layers and a configuration to the documents of an OCI image. Pure: values in, bytes out.

Source: OCI image-spec v1.1, "Image Configuration", "Image Manifest", "Annotations".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrw_builder.errors import BuildError
from nbrw_builder.layer import Layer
from nbrw_runtime.digest import Digest, canonical_json, digest_bytes

OWN = "io.github.nbrw."
PREDEFINED = "org.opencontainers.image."
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MAX_LAYERS = 125  # more than that overlay2 refuses to mount
RUNSCRIPT = "/.singularity.d/runscript"
# The same program. Apptainer puts a script of its own in the place of RUNSCRIPT when it converts an
# OCI image, and that one starts the entrypoint: it would start itself, for ever.
ENTRYPOINT = "/nbrw/bin/nbrw"


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about itself beside its layers.

    ``variables`` is the container's environment, ``created`` an RFC 3339 time (none by default,
    so that equal content gives equal bytes), ``cell_digests`` the identities of cells by number.
    ``deffile`` is what Apptainer shows as the definition.
    """

    architecture: str = "amd64"
    title: str = ""
    version: str = ""
    created: str = ""
    name: str = "nbrw:latest"
    variables: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    cell_digests: dict[int, Digest] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = (ENTRYPOINT,)
    working_directory: str = "/nbrw/work"
    deffile: str = ""

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels with the predefined OCI keys for title, version and time."""
        known = {"title": self.title, "version": self.version, "created": self.created}
        return {**{PREDEFINED + key: text for key, text in known.items() if text}, **self.labels}


@dataclass(frozen=True)
class LayerBlob:
    """A layer as it travels: the compressed tar's digest and size in bytes.

    ``compression`` is ``gzip``, ``zstd`` or ``none``.
    """

    layer: Layer
    digest: Digest
    size: int
    compression: str = "gzip"


@dataclass(frozen=True)
class Image:
    """Layers lowest first, and the configuration."""

    layers: tuple[Layer, ...]
    config: ImageConfig

    def __post_init__(self) -> None:
        check_tree(self.layers)

    def config_bytes(self) -> bytes:
        """The image configuration document."""
        config: dict[str, Any] = {
            "Entrypoint": list(self.config.entrypoint),
            "Env": [f"{key}={text}" for key, text in sorted(self.config.variables.items())],
            "Labels": self.config.all_labels,
            "WorkingDir": self.config.working_directory,
        }
        document: dict[str, Any] = {
            "architecture": self.config.architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in self.layers]},
            "history": [{"created_by": f"nbrw {layer.name}"} for layer in self.layers],
        }
        if self.config.created:
            document["created"] = self.config.created
            for step in document["history"]:
                step["created"] = self.config.created
        return canonical_json(document)

    def manifest_bytes(self, blobs: Sequence[LayerBlob]) -> bytes:
        """The manifest, for the blobs of this image's layers in the same order."""
        config = self.config_bytes()
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": descriptor(CONFIG_TYPE, digest_bytes(config), len(config)),
                "layers": [self._layer_descriptor(blob) for blob in blobs],
                "annotations": self.config.all_labels,
            }
        )

    def index_entry(
        self, manifest: bytes, marks: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The image's descriptor in an index; ``marks`` are annotations beside its own."""
        entry = descriptor(MANIFEST_TYPE, digest_bytes(manifest), len(manifest))
        entry["platform"] = {"architecture": self.config.architecture, "os": "linux"}
        entry["annotations"] = {
            **(marks or {}),
            PREDEFINED + "ref.name": self.config.name.rpartition(":")[2],
            # podman and containerd take the name from here.
            "io.containerd.image.name": f"docker.io/library/{self.config.name}",
        }
        return entry

    def docker_manifest_bytes(self, blobs: Sequence[LayerBlob]) -> bytes:
        """The ``manifest.json`` of `docker save`, pointing into the layout's blobs."""
        return canonical_json(
            [
                {
                    "Config": blob_path(digest_bytes(self.config_bytes())),
                    "RepoTags": [self.config.name],
                    "Layers": [blob_path(blob.digest) for blob in blobs],
                }
            ]
        )

    def _layer_descriptor(self, blob: LayerBlob) -> dict[str, Any]:
        suffix = "" if blob.compression == "none" else "+" + blob.compression
        found = descriptor(LAYER_TYPE + suffix, blob.digest, blob.size)
        found["annotations"] = layer_annotations(blob.layer, self.config.cell_digests)
        return found


def layer_annotations(layer: Layer, cells: dict[int, Digest]) -> dict[str, str]:
    """What a layer's descriptor says: its name, cells (comma-separated), their code digests."""
    known = {
        "layer.name": layer.name,
        "layer.directory": layer.directory,
        "cell.index": ",".join(str(cell) for cell in layer.cells),
        "cell.code-digest": ",".join(str(cells[cell]) for cell in layer.cells if cell in cells),
    }
    return {OWN + key: text for key, text in known.items() if text}


def index_bytes(entries: Sequence[dict[str, Any]]) -> bytes:
    """The ``index.json`` of a layout: the image, and what refers to it."""
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries)}
    return canonical_json(value)


def descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    """An OCI content descriptor."""
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def blob_path(digest: Digest) -> str:
    """Where an OCI layout keeps a blob."""
    return f"blobs/sha256/{digest.hex}"


def check_tree(layers: Sequence[Layer]) -> None:
    """Raise BuildError unless the layers mean the same to every consumer.

    A path may be a directory in one layer or something else in another, never both: union mounts,
    unpackers and a flattened image disagree about what then lies below it.
    """
    if len(layers) > MAX_LAYERS:
        raise BuildError(
            f"make the image: it has {len(layers)} layers, Docker mounts at most {MAX_LAYERS}; "
            "merge neighbours"
        )
    kinds: dict[str, tuple[bool, str]] = {}
    for layer in layers:
        for entry in layer.entries:
            directory, name = kinds.setdefault(entry.path, (entry.is_directory, layer.name))
            if directory != entry.is_directory:
                raise BuildError(
                    f"make the image: {entry.path} is a directory in one and something else in "
                    f"the other of the layers {name} and {layer.name}"
                )
