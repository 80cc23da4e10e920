"""A SIF of an image's layers: the very one that the author would have got."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.extract import unpack_layer
from nbrw_builder.files import scratch_directory
from nbrw_builder.image import OWN, PREDEFINED, Image, ImageConfig
from nbrw_builder.layer import Layer, pack
from nbrw_builder.oci_read import decompressed
from nbrw_builder.registry.descriptor import Blob, Manifest
from nbrw_builder.registry.recipe_layer import layer_ref
from nbrw_builder.sif_image import write_sif
from nbrw_builder.squashfs import SquashfsCache
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError, UsageError


def write_sif_of(
    manifest: Manifest,
    files: Mapping[Digest, Path],
    out: Path,
    cache: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the SIF ``out`` of layers in files; it appears whole.

    Each layer is packed again and must be the one that the configuration names. Raises UsageError
    for an image that nbrw did not make, and what :func:`nbrw_builder.sif_image.write_sif` raises.
    """
    config = json.loads(files[manifest.config.digest].read_bytes())
    with scratch_directory(out) as scratch:
        layers = []
        for number, (blob, want) in enumerate(
            zip(manifest.layers, _diff_ids(config, manifest), strict=True)
        ):
            progress(f"unpack {blob.name}")
            found = _layer(blob, files[blob.digest], scratch / str(number))
            if str(found.diff_id) != want:
                raise _foreign(out, f"layer {blob.name or blob.digest} is not as nbrw packs them")
            layers.append(found)
        write_sif(Image(tuple(layers), _config(config)), out, SquashfsCache(cache), progress)


def _diff_ids(config: Any, manifest: Manifest) -> list[str]:
    try:
        found = [str(text) for text in config["rootfs"]["diff_ids"]]
    except (KeyError, TypeError) as error:
        raise FormatError(f"read the configuration {manifest.config.digest}: {error!r}") from error
    if len(found) != len(manifest.layers):
        raise FormatError(f"read the configuration {manifest.config.digest}: it has other layers")
    return found


def _layer(blob: Blob, path: Path, root: Path) -> Layer:
    root.mkdir()
    entries = []
    for read in (_entries, None):
        with (
            open(path, "rb") as stream,
            decompressed(stream, layer_ref(blob)) as raw,
            tarfile.open(fileobj=raw, mode="r|") as tar,
        ):
            if read is None:
                unpack_layer(tar, root, str(path))
            else:
                entries = read(tar, root)
    return pack(LayerPlan(blob.name, tuple(entries), blob.cells, blob.directory))


def _entries(tar: tarfile.TarFile, root: Path) -> list[Entry]:
    found = []
    for member in tar:
        name = "/" + member.name.strip("/")
        if member.isdir():
            found.append(Entry(name, member.mode))
        elif member.issym():
            found.append(Entry(name, member.mode, target=member.linkname))
        elif member.isreg():
            found.append(Entry(name, member.mode, source=root / name[1:]))
        else:
            raise _foreign(root, f"{name} is no file, directory or symbolic link")
    return found


def _config(value: Mapping[str, Any]) -> ImageConfig:
    labels = {str(k): str(v) for k, v in (value.get("config", {}).get("Labels") or {}).items()}
    title = labels.get(PREDEFINED + "title", "")
    version = labels.get(OWN + "version")
    return ImageConfig(
        architecture=str(value.get("architecture", "amd64")),
        title=title,
        labels=labels,
        # As nbrw-build says it; an image of layers has no place for it.
        deffile=f"# Written by nbrw {version} from {title}.ipynb\n" if version else "",
    )


def _foreign(out: Path, cause: str) -> UsageError:
    return UsageError(
        f"make {out.name}: {cause}: nbrw did not make this image; pull it to a directory, or with "
        "`apptainer pull`"
    )
