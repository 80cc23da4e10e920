"""`nbrw-build`: audit a notebook, find what it needs, pack an image."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbrw_builder import __version__
from nbrw_builder.audit import Audit, AuditRequest, audited
from nbrw_builder.audit_directory import prune_audits
from nbrw_builder.audit_execution import CellDone
from nbrw_builder.audit_traces import load_traces
from nbrw_builder.build_image import WrittenImage, kind_of, replace_last_layer, write_image
from nbrw_builder.cache import default_cache
from nbrw_builder.checkpoint_layers import checkpoint_layers
from nbrw_builder.contents import ContentOptions, software_layers
from nbrw_builder.docker_client import is_reference, reference
from nbrw_builder.docker_write import check_engine
from nbrw_builder.entry import LayerPlan
from nbrw_builder.errors import HostError, TraceError
from nbrw_builder.host import RealHost
from nbrw_builder.image import ImageConfig
from nbrw_builder.interpreter import ask_python
from nbrw_builder.kernelspec import runtime_root
from nbrw_builder.layer import Layer
from nbrw_builder.process import find_program
from nbrw_builder.progress import Progress
from nbrw_builder.relocate import ImageEnvironment, image_environment
from nbrw_builder.resolve import Resolved, ResolveOptions, resolve
from nbrw_builder.runtime_entries import runtime_support_entries
from nbrw_builder.sbom_layer import recipe_layer
from nbrw_builder.verify_image import VerifyRequest, engine_to_verify, verify_image
from nbrw_runtime.cache_place import xdg_cache_home
from nbrw_runtime.dependency import Dependencies
from nbrw_runtime.errors import UsageError
from nbrw_runtime.recipe import (
    Environment,
    Recipe,
    RecipeLayer,
    recipe_cells,
)
from nbrw_runtime.task_record import read_tasks
from nbrw_runtime.task_summary import summary

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class BuildRequest:
    """What to build. ``include_private`` are paths that are packed although they look private.

    ``verify`` says how the image is repeated before the build ends; None: it is not. ``sbom`` names
    the formats of bills of materials that the image gets.
    """

    audit: AuditRequest
    out: Path
    include_private: tuple[str, ...] = ()
    minimal: bool = False
    compression: str = "gzip"
    verify: VerifyRequest | None = None
    sbom: tuple[str, ...] = ()


@dataclass(frozen=True)
class Built:
    """A built image, its recipe, notes for the user, and how long each part took, in seconds.

    ``cells`` says of each cell what the audit did with it.
    """

    image: WrittenImage
    recipe: Recipe
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    cells: tuple[CellDone, ...] = ()


def build(request: BuildRequest, progress: Progress) -> Built:
    """Audit a notebook and write its image; verify it, if that is asked for.

    Raises what :func:`nbrw_builder.audit.audited`, :func:`nbrw_builder.build_image.write_image` and
    :func:`nbrw_builder.verify_image.verify_image` raise; what is missing to write the image is
    found before the notebook runs, and so is what is missing to verify it. An image that could not
    be verified, or that did not repeat, is there all the same.
    """
    _check(request)
    clock = _Clock()
    with audited(request.audit, progress) as audit:
        clock.ended("audit")
        built = _pack(request, audit, progress, clock)
        audit.directory.tidy(audit.state)
        prune_audits(audit.directory.root)
        return built


class _Clock:
    """How long each part took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def ended(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = round(now - self._began, 3)
        self._began = now


def _check(request: BuildRequest) -> None:
    out = request.out
    if is_reference(out):
        reference(out)
        check_engine()
    elif not out.parent.is_dir():
        raise UsageError(f"write {out}: there is no directory {out.parent}; make it first")
    elif not os.access(out.parent, os.W_OK):
        raise HostError(f"write {out}: {out.parent} cannot be written; name another place")
    if kind_of(out) == "sif":
        find_program("mksquashfs")
    if request.verify is not None:
        engine_to_verify(kind_of(out))


def _import_path(environ: Mapping[str, str], cwd: str) -> tuple[str, ...]:
    places = environ.get("PYTHONPATH", "").split(os.pathsep)
    return tuple(os.path.normpath(os.path.join(cwd, place)) for place in places if place)


def _pack(request: BuildRequest, audit: Audit, progress: Progress, clock: _Clock) -> Built:
    progress.stage("find software and data")
    traces = load_traces(audit.directory, audit.state)
    if not traces:
        raise TraceError(
            f"read the trace in {audit.directory.trace}: it is missing or broken; "
            "build with --fresh"
        )
    host = RealHost()
    home = str(Path.home())
    notebook = os.path.abspath(request.audit.notebook)
    options = ResolveOptions(
        cwd=audit.state.cwd,
        home=home,
        notebook=notebook,
        python=ask_python(audit.kernel.python),
        ignore=(
            str(audit.directory.root),
            str(runtime_root() / "nbrw_runtime"),
            str(default_cache()),
            str(xdg_cache_home()),
        ),
        include_private=request.include_private,
        preserved_root=str(audit.directory.trace / "preserved"),
        import_path=_import_path(os.environ, audit.state.cwd),
    )
    resolved = resolve(traces, host, options)
    environment = image_environment(resolved, audit.kernel.python, os.environ)
    title = Path(notebook).stem
    labels = _labels(audit, title)
    support = runtime_support_entries(
        environment.python,
        environment.library_path,
        environment.variables,
        title=title,
        labels=labels,
    )
    layers = software_layers(
        resolved,
        host,
        ContentOptions(runtime_root(), request.minimal, tuple(support), audit.state.cwd),
    )
    layers += checkpoint_layers(audit.checkpoints, audit.directory.store.path)
    recipe: list[Recipe] = []

    def finish(packed: Sequence[Layer]) -> LayerPlan:
        recipe.append(_recipe(request, audit, resolved, environment, title, packed))
        return recipe_layer(recipe[0], request.sbom, layers)

    config = ImageConfig(
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        title=title,
        name=f"{_image_name(title)}:latest",
        variables=dict(environment.variables),
        labels=labels,
        cell_digests={cell.number: cell.digest for cell in audit.cells},
        deffile=f"# Written by nbrw {__version__} from {Path(notebook).name}\n",
    )
    clock.ended("resolve")
    progress.stage("pack the image")
    written = write_image(
        layers,
        request.out,
        config=config,
        finish=finish,
        progress=progress.stage,
        compression=request.compression,
    )
    clock.ended("pack")
    final = recipe[0]
    if request.verify is not None:
        progress.stage("repeat the image from cell 1 in a clean container")
        found = verify_image(written.path, written.kind, request.verify)
        clock.ended("verify")
        final = replace(final, verification=found)
        written = replace_last_layer(
            written,
            recipe_layer(final, request.sbom, layers),
            config=config,
            compression=request.compression,
        )
        clock.ended("record")
    notes = (*audit.notes, *_notes(final.dependencies))
    return Built(written, final, notes, clock.seconds, audit.done)


def _labels(audit: Audit, title: str) -> dict[str, str]:
    return {
        "io.github.nbrw.notebook": title,
        "io.github.nbrw.cells": str(len(audit.cells)),
        "io.github.nbrw.version": __version__,
        "io.github.nbrw.python": audit.state.python_version,
    }


def _image_name(title: str) -> str:
    """A repository name, as the OCI distribution-spec allows it."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "notebook"


def _recipe(
    request: BuildRequest,
    audit: Audit,
    resolved: Resolved,
    environment: ImageEnvironment,
    title: str,
    packed: Sequence[Layer],
) -> Recipe:
    return Recipe(
        notebook=audit.notebook,
        cells=recipe_cells(audit.cells),
        checkpoints=audit.checkpoints,
        environment=Environment(
            python=environment.python,
            cwd=audit.state.cwd,
            kernel=audit.kernel.argv,
            python_version=audit.state.python_version,
            platform=audit.state.platform,
            variables=dict(environment.variables),
        ),
        dependencies=resolved.dependencies,
        layers=tuple(
            RecipeLayer(layer.name, layer.diff_id, layer.size, layer.cells, layer.directory)
            for layer in packed
        ),
        created_by=f"nbrw {__version__}",
        title=title,
        parameters=request.audit.parameters,
        uses_dask=any(
            software.name.lower() in ("dask", "distributed")
            for software in resolved.dependencies.software
        ),
        tasks=tuple(
            summary(found.cell, read_tasks(audit.directory.store.get(found.tasks), "the audit"))
            for found in audit.checkpoints
            if found.tasks is not None
        ),
    )


def _notes(dependencies: Dependencies) -> tuple[str, ...]:
    changed = [data.path for data in dependencies.data if data.changed]
    notes = [
        f"{path} was changed by another program while the notebook ran; the image has it as it "
        "is now, and the cells that read it run again on repeat"
        for path in changed
    ]
    notes += [f"left out: {left.path}: {left.reason}" for left in dependencies.left_out]
    return (*notes, *dependencies.notes)
