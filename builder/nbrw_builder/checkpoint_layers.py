"""Checkpoints to layers: each cell's new blobs in a directory named by the checkpoint. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nbrw_builder.entry import Entry, LayerPlan
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import Digest, digest_json

#: Checkpoint layers of an image at most, so that with the others it stays below overlay2's limit.
MAX_CHECKPOINT_LAYERS = 80


def checkpoint_layers(
    checkpoints: Sequence[Checkpoint],
    where: Callable[[Digest], Path],
    limit: int = MAX_CHECKPOINT_LAYERS,
) -> list[LayerPlan]:
    """A layer for each cell that stored anything, in order of cells.

    ``where`` gives the file that holds a blob. A blob lies in the first cell's layer that needs it.
    With more cells than ``limit``, neighbours share a layer, the earliest ones first: cells near
    the end are the likeliest to be edited.
    """
    seen: set[Digest] = set()
    cells: list[tuple[Checkpoint, tuple[Digest, ...]]] = []
    for checkpoint in sorted(checkpoints, key=lambda found: found.cell):
        new = tuple(blob for blob in checkpoint.blobs if blob not in seen)
        seen.update(new)
        if new:
            cells.append((checkpoint, new))
    return [_layer(group, where) for group in _groups(cells, limit)]


def _groups(
    cells: list[tuple[Checkpoint, tuple[Digest, ...]]], limit: int
) -> list[list[tuple[Checkpoint, tuple[Digest, ...]]]]:
    groups = [[cell] for cell in cells]
    surplus = len(groups) - limit
    if surplus <= 0:
        return groups
    # Ten cells to a shared layer bounds what an edit of one of them makes travel again.
    merged: list[list[tuple[Checkpoint, tuple[Digest, ...]]]] = []
    size = 10
    while len(groups) - (-(-len(cells) // size)) < surplus:
        size *= 2
    index = 0
    while surplus > 0:
        take = min(size, surplus + 1)
        merged.append([cell for group in groups[index : index + take] for cell in group])
        index += take
        surplus -= take - 1
    return merged + groups[index:]


def _layer(
    group: list[tuple[Checkpoint, tuple[Digest, ...]]], where: Callable[[Digest], Path]
) -> LayerPlan:
    numbers = tuple(checkpoint.cell for checkpoint, _ in group)
    identity = digest_json([[str(blob) for blob in blobs] for _, blobs in group])
    directory = f"/nbrw.{identity.hex[:12]}"
    entries = tuple(
        Entry(
            f"{directory}/sha256/{blob.hex}",
            0o444,
            source=(path := where(blob)),
            stamp=_stamp(path),
            digest=blob,
        )
        for _, blobs in group
        for blob in blobs
    )
    name = f"cell:{numbers[0]}" if len(numbers) == 1 else f"cells:{numbers[0]}-{numbers[-1]}"
    return LayerPlan(name, entries, numbers, directory)


def _stamp(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
