"""`nbrw run IMAGE ARGS...`: run an image with whatever this host has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nbrw_builder.cache import default_cache
from nbrw_builder.docker_client import KIND
from nbrw_builder.engine import Engine, RunRequest, refusals
from nbrw_builder.engine_apptainer import ApptainerEngine
from nbrw_builder.engine_docker import DockerEngine
from nbrw_builder.engine_embedded import EmbeddedEngine
from nbrw_builder.engine_podman import PodmanEngine
from nbrw_builder.errors import HostError
from nbrw_builder.files import scratch_directory
from nbrw_builder.image_file import ImageFile, open_image
from nbrw_builder.partial_image import read_partial
from nbrw_builder.sign import require, run_identity, signatures
from nbrw_builder.signature import statement
from nbrw_runtime.errors import UsageError
from nbrw_runtime.report import SIGNATURE_VARIABLE
from nbrw_runtime.store import storage_errors


def all_engines() -> tuple[Engine, ...]:
    """Every engine, in the order of preference."""
    return (ApptainerEngine(), DockerEngine(), PodmanEngine(), EmbeddedEngine())


def choose_engine(
    kind: str, wanted: str | None = None, engines: Sequence[Engine] | None = None
) -> Engine:
    """The engine for an image of this kind: the one wanted, else the first that can run it.

    Apptainer is only chosen for SIF by itself: it converts OCI images at every change.

    Raises UsageError for a name that is none, HostError that says what each engine lacks.
    """
    engines = all_engines() if engines is None else engines
    if wanted is not None:
        named = [engine for engine in engines if engine.name == wanted]
        if not named:
            names = ", ".join(engine.name for engine in engines)
            raise UsageError(f"run with {wanted}: no such engine; there are {names}")
        lacking = named[0].missing(kind)
        if lacking:
            raise HostError(f"run with {wanted}: {lacking}")
        return named[0]
    fit = [engine for engine in engines if kind == "sif" or engine.name != "apptainer"]
    for engine in fit:
        if engine.missing(kind) is None:
            return engine
    raise HostError(f"run an image of kind {kind}: nothing here can:\n{refusals(fit, kind)}")


def _engine_of(image: ImageFile, wanted: str | None) -> str | None:
    """The engine wanted; a partial image only the embedded one can run."""
    partial = read_partial(image.path) if image.kind == "oci-partial" else None
    if partial is None:
        return wanted
    if wanted not in (None, "embedded"):
        raise UsageError(
            f"run {image.path} with {wanted}: the image is partial, which only the embedded engine "
            f"can run; `{partial.command}` makes it whole"
        )
    return "embedded"


def run_image(
    path: str | Path,
    arguments: Sequence[str] = (),
    *,
    engine: str | None = None,
    directory: str | Path | None = None,
    contain: bool = False,
    keys: Sequence[Path] = (),
) -> int:
    """Run an image's runscript with these arguments; returns its exit code.

    ``directory`` (default: the current one) is the work directory, where inputs are looked for and
    outputs go. ``contain``: home and ``/tmp`` are empty, and gone afterwards. ``keys``: the image
    must be signed with one of them. Raises UsageError (no image, no directory), HostError (no
    engine), SignatureError, IntegrityError, StorageError.
    """
    image = open_image(path)
    work = Path(os.path.abspath(directory or ""))
    if not work.is_dir():
        raise UsageError(f"run {path}: the work directory {work} is not a directory")
    chosen = choose_engine(image.kind, _engine_of(image, engine))
    # What runs in the image cannot see the image's file: it is told.
    found = require(image, keys) if keys else signatures(image, check=False)
    said = "not checked: a Docker Engine keeps no signatures"
    variables = {SIGNATURE_VARIABLE: said if image.kind == KIND else statement(found)}
    identity = run_identity(image) if keys else ""
    request = RunRequest(image, tuple(arguments), work, None, variables, identity)
    if not contain:
        return chosen.run(request)
    # Not in /tmp, which may be small: the notebook's own temporary files go there.
    place = default_cache() / "contained"
    with storage_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(place) as scratch:
        return chosen.run(replace(request, contain=scratch))
