"""What every way to run an image has in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nbrw_builder.image_file import ImageFile
from nbrw_runtime.cache_place import results_root

# Where the caller's directories are, in engines without host paths.
WORK_DIRECTORY = "/nbrw/work"
CACHE_DIRECTORY = "/nbrw/cache"


@dataclass(frozen=True)
class RunRequest:
    """Run ``image`` with ``arguments`` for its runscript, in the host's directory ``directory``.

    ``contain`` is an empty directory of the host that stands in for the caller's home and ``/tmp``,
    where the engine would show them; None: it shows the caller's. ``variables`` are told the image
    beside those that engines pass on by themselves. ``identity`` is not empty if the image's
    signature was checked: the digest of what is signed.
    """

    image: ImageFile
    arguments: tuple[str, ...]
    directory: Path
    contain: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""


class Engine(Protocol):
    """A way to run images."""

    @property
    def name(self) -> str:
        """As in ``--engine NAME``."""
        ...

    def missing(self, kind: str) -> str | None:
        """Why images of this kind cannot be run here, with the remedy; None if they can."""
        ...

    def run(self, request: RunRequest) -> int:
        """Run to the end with the caller's input and output; returns the exit code.

        Raises HostError if the engine fails before the image's own program starts.
        """
        ...


@dataclass(frozen=True)
class CacheMount:
    """The directory of what repeats keep, as an engine without host paths shows it to the image.

    ``source`` is on the host (None: it cannot be made, or is not to be seen, and nothing is kept),
    ``variables`` tell the image where it is there.
    """

    source: Path | None
    target: str
    variables: dict[str, str]


def cache_mount(request: RunRequest) -> CacheMount:
    """The caller's, unless the run is contained."""
    if request.contain is not None:
        return CacheMount(None, "", {})
    size = os.environ.get("NBRW_CACHE_SIZE")
    variables = {"NBRW_CACHE_SIZE": size} if size else {}
    try:
        source = results_root()
        source.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return CacheMount(None, "", variables)
    variables["NBRW_CACHE_DIR"] = CACHE_DIRECTORY
    return CacheMount(source, f"{CACHE_DIRECTORY}/{source.name}", variables)


def hint_at(name: str, status: int, own: Sequence[int]) -> int:
    """The exit code, with a hint if it is among the engine's ``own`` for what it cannot start.

    No other engine is tried by itself: the image's program may have ended so, its work half done.
    """
    if status in own:
        print(
            f"nbrw: {name} ended with {status}: if it could not start the image, "
            f"`nbrw run --engine embedded` needs no {name}",
            file=sys.stderr,
        )
    return status


def refusals(engines: Sequence[Engine], kind: str) -> str:
    """One line for each engine with what it lacks."""
    return "\n".join(f"  {engine.name}: {engine.missing(kind)}" for engine in engines)
