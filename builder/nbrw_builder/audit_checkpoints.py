"""The checkpoints of one run through a notebook, and what each cell wrote, in a directory."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path

from nbrw_runtime.checkpoint import (
    CHECKPOINT_FORMAT,
    CHECKPOINT_VERSION,
    Checkpoint,
    Omitted,
    StoredObject,
)
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import load_document
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.session_file import UNSWEPT, write_atomically

_RESULT = re.compile(r"_\d+\Z")


class CheckpointDirectory:
    """``<NNNN>.json`` per cell, ``<NNNN>.written`` beside it: what its window wrote or removed.

    ``lists`` is where the tracer leaves the latter as ``<N>.json``, before they are kept here.
    """

    def __init__(self, root: Path, lists: Path) -> None:
        self.root = root
        self.lists = lists

    def path(self, cell: int) -> Path:
        """The file of a cell's checkpoint."""
        return self.root / f"{cell:04d}.json"

    def read(self, cell: int) -> Checkpoint | None:
        """A cell's checkpoint, if it is there, whole, and of our version."""
        path = self.path(cell)
        try:
            value = load_document(
                path.read_bytes(), CHECKPOINT_FORMAT, CHECKPOINT_VERSION, str(path)
            )
            return from_json(Checkpoint, value, str(path))
        except (OSError, FormatError):
            return None

    def write(self, checkpoint: Checkpoint) -> None:
        """Publish a cell's checkpoint."""
        data = json.dumps(to_json(checkpoint)).encode() + b"\n"
        write_atomically(self.path(checkpoint.cell), data)

    def remove(self, cell: int) -> None:
        """The cell counts as never run."""
        self.path(cell).unlink(missing_ok=True)

    def all(self) -> list[Checkpoint]:
        """All checkpoints that are whole, by cell."""
        numbers = sorted(int(p.stem) for p in self.root.glob("*.json") if p.stem.isdigit())
        found = (self.read(number) for number in numbers)
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def write_outputs(self, cell: int, outputs: Digest) -> Checkpoint | None:
        """Complete a cell's checkpoint by the blob of its outputs; returns it, if it is there."""
        checkpoint = self.read(cell)
        if checkpoint is None:
            return None
        whole = replace(checkpoint, outputs=outputs)
        self.write(whole)
        return whole

    def unswept(self) -> int | None:
        """The first cell whose checkpoint was never confirmed by a look at the whole state."""
        try:
            return int((self.root / UNSWEPT).read_text())
        except (OSError, ValueError):
            return None

    def written(self, cell: int) -> bytes:
        """The list of what a cell wrote or removed, as the tracer made it; empty: there is none."""
        for path in (self.root / f"{cell:04d}.written", self.lists / f"{cell}.json"):
            with contextlib.suppress(OSError):
                return path.read_bytes()
        return b""

    def keep_written(self, cell: int, data: bytes | None = None) -> None:
        """Keep a cell's list here: this one, or the one that the tracer has just left."""
        found = self.written(cell) if data is None else data
        if found:
            write_atomically(self.root / f"{cell:04d}.written", found)


def without_results(checkpoint: Checkpoint) -> Checkpoint:
    """The same without names such as ``_5``, which say where a cell stands and not what it did."""
    objects = []
    for stored in checkpoint.objects:
        kept = [i for i, name in enumerate(stored.names) if not _RESULT.match(name)]
        if len(kept) == len(stored.names):
            objects.append(stored)
        elif kept:
            objects.append(_only(stored, kept))
    omitted: tuple[Omitted, ...] = tuple(
        found for found in checkpoint.omitted if not _RESULT.match(found.name)
    )
    deleted = tuple(name for name in checkpoint.deleted if not _RESULT.match(name))
    return replace(checkpoint, objects=tuple(objects), omitted=omitted, deleted=deleted)


def _only(stored: StoredObject, kept: list[int]) -> StoredObject:
    types = tuple(stored.types[i] for i in kept if i < len(stored.types))
    return replace(stored, names=tuple(stored.names[i] for i in kept), types=types)
