"""`nbrw-build -o docker://...`: an image that is only in the registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nbrw_builder.build import BuildRequest, Built, build
from nbrw_builder.build_report import as_json_object, print_built
from nbrw_builder.cache import default_cache
from nbrw_builder.files import scratch_directory
from nbrw_builder.registry.account import as_json, lines
from nbrw_builder.registry.push import check_access, push
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry.transfers import shown
from nbrw_runtime.errors import UsageError
from nbrw_runtime.store import storage_errors

if TYPE_CHECKING:
    from rich.console import Console

    from nbrw_builder.progress import Progress
    from nbrw_builder.registry.client import Access


def build_and_push(
    request: BuildRequest,
    reference: Reference,
    access: Access,
    progress: Progress,
    console: Console | None,
    as_json_text: bool,
) -> Built:
    """Build an OCI directory in the cache, push and remove it; say so on ``console`` or as JSON.

    Whether the registry lets us is found out before the notebook runs. Raises what building and
    pushing raise.
    """
    if reference.scheme != "docker":
        raise UsageError(
            f"build to {reference}: a build makes layers; write docker://{reference.name}, or "
            "build a .sif and `nbrw push` it"
        )
    check_access(reference, access)
    place = default_cache() / "push"
    with storage_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(place) as scratch:
        with progress:
            built = build(replace(request, out=scratch / "image"), progress)
        with shown(console is None) as transfers:
            account = push(built.image.path, reference, access, transfers=transfers)
        if as_json_text:
            value = as_json_object(built)
            value["image"]["path"] = str(reference)
            click.echo(json.dumps({**value, "push": as_json(account)}, indent=1))
        elif console is not None:
            print_built(built, console, str(reference))
            for line in lines(account):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
    return built


def path_of(out: Path | Reference) -> Path:
    """Where a build would write; of a reference a name that is not used."""
    return out if isinstance(out, Path) else Path("image")
