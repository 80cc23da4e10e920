"""Repeat a fresh image from its first cell where nothing of the author's is to be seen."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import nbrw_builder
import nbrw_runtime
from nbrw_builder.cache import default_cache
from nbrw_builder.docker_client import KIND
from nbrw_builder.engine_embedded import EmbeddedEngine
from nbrw_builder.errors import HostError, ProcessError
from nbrw_builder.files import scratch_directory
from nbrw_builder.process import run
from nbrw_builder.run_image import choose_engine
from nbrw_runtime.errors import EXIT_CELL, EXIT_DIFFERENT, EXIT_OK
from nbrw_runtime.records import from_json
from nbrw_runtime.report import Report
from nbrw_runtime.store import storage_errors
from nbrw_runtime.tolerance import DEFAULT, Tolerance
from nbrw_runtime.verification import Verification, verification_of

_OURS = [str(Path(found.__file__ or "").parent.parent) for found in (nbrw_builder, nbrw_runtime)]
_RUN = f"import sys; sys.path[:0] = {_OURS!r}; from nbrw_builder.cli import main; sys.exit(main())"
_GRACE = 15.0  # seconds that a kernel and its cluster have to end when the build is interrupted


@dataclass(frozen=True)
class VerifyRequest:
    """How to repeat: ``timeout`` in seconds for each cell, as the audit had it."""

    tolerance: Tolerance = DEFAULT
    timeout: float | None = None
    allow_errors: bool = False


def engine_to_verify(kind: str) -> str:
    """The engine's name: the embedded one, where it has what it needs, as that loads nothing into
    anybody's store; otherwise the one that `nbrw run` chooses. Raises HostError if there is none.
    """
    return "embedded" if EmbeddedEngine().missing(kind) is None else choose_engine(kind).name


def verify_image(path: Path, kind: str, request: VerifyRequest) -> Verification:
    """Run all cells of the image in an empty directory with an empty home; what came of each.

    Nothing is left. Raises HostError, StorageError; the image is as it was.
    """
    engine = engine_to_verify(kind)
    words = ["--verify", "--json", "--tolerance", _tolerance(request.tolerance)]
    if request.timeout is not None:
        words += ["--timeout", repr(request.timeout)]
    if request.allow_errors:
        words.append("--allow-errors")
    place = default_cache() / "verify"
    with storage_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(place) as scratch:
        work = scratch / "work"
        work.mkdir()
        image = str(path) if kind == KIND else os.path.abspath(path)
        argv = [sys.executable, "-c", _RUN, "run", "--engine", engine, "--contain", image]
        try:
            text = run(
                [*argv, "repeat", *words],
                cwd=work,
                # The image is unpacked for this once: with its record it will be another.
                env={"XDG_CACHE_HOME": str(scratch / "cache")},
                without=("NBRW_CACHE_DIR",),
                ok=(EXIT_OK, EXIT_CELL, EXIT_DIFFERENT),
                grace=_GRACE,
            )
        except ProcessError as error:
            last = (error.tail.strip().splitlines() or ["no message"])[-1]
            raise HostError(
                f"verify {path}: its repeat ended with {error.status}: {last}; the image is "
                "written, but not verified; try `nbrw run --contain` on it"
            ) from error
    return verification_of(_report(text, path))


def _tolerance(tolerance: Tolerance) -> str:
    return f"{tolerance.relative!r},{tolerance.absolute!r}"


def _report(text: str, path: Path) -> Report:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise HostError(
            f"verify {path}: its repeat printed no report; the image is written, but not "
            "verified; try `nbrw run --contain` on it"
        ) from error
    return from_json(Report, value, "the report of the repeat")
