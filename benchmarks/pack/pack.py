"""How long packing takes: first build, rebuild, rebuild after an edit of the last cell.

    python benchmarks/pack/pack.py DIRECTORY [--cells 20] [--cell-mb 4] [--work DIR]

DIRECTORY stands for the environment (a virtual environment, say). Every cell's checkpoint is one
blob of half noise, half zeros. Prints one line of JSON for each build.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nbrw_builder.build_image import write_image
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.image import RUNSCRIPT, ImageConfig
from nbrw_builder.image_file import open_image
from nbrw_builder.layer import Layer
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.recipe import RECIPE_PATH, Environment, Recipe, RecipeLayer, write_recipe


def environment(root: Path) -> LayerPlan:
    """Everything below a directory, where it would be in the image."""
    return LayerPlan("distributions", tuple(_walk(root)))


def _walk(root: Path) -> Iterator[Entry]:
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            inside = "/nbrw/root" + str(path)
            if path.is_symlink():
                yield Entry(inside, target=str(path.readlink()))
            elif path.is_dir():
                yield Entry(inside)
            else:
                yield Entry(inside, path.stat().st_mode & 0o777, source=path)


def checkpoint(store: Path, cell: int, version: int, size: int) -> LayerPlan:
    """One cell's layer; its blob lies in the store."""
    data = random.Random(f"{cell} {version}").randbytes(size // 2) + bytes(size // 2)
    digest = digest_bytes(data)
    path = store / digest.hex
    if not path.exists():
        path.write_bytes(data)
    top = f"/nbrw.{digest.hex[:12]}"
    entry = Entry(f"{top}/sha256/{digest.hex}", source=path, digest=digest)
    return LayerPlan(f"cell:{cell}", (entry,), (cell,), top)


def runtime() -> LayerPlan:
    """A runscript and nothing else."""
    script = b'#!/bin/sh\nexec "$@"\n'
    return LayerPlan("runtime", (Entry(RUNSCRIPT, 0o755, data=script), Entry("/nbrw/work")))


def finish(layers: Sequence[Layer]) -> LayerPlan:
    """The recipe layer."""
    recipe = Recipe(
        notebook={"cells": []},
        cells=(),
        checkpoints=(),
        environment=Environment("/usr/bin/python3", "/"),
        layers=tuple(
            RecipeLayer(layer.name, layer.diff_id, layer.size, layer.cells, layer.directory)
            for layer in layers
        ),
    )
    entry = Entry(RECIPE_PATH, data=write_recipe(recipe))
    return LayerPlan("recipe", (entry,), directory="/nbrw.recipe")


def main() -> None:
    """Run the builds and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--cell-mb", type=float, default=4)
    parser.add_argument("--kinds", default="sif,oci,tar")
    parser.add_argument("--work", type=Path, default=None, help="keep the images here")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="nbrw-pack-", dir=options.work))
    store = work / "store"
    store.mkdir()
    for kind in options.kinds.split(","):
        out = work / ("image" if kind == "oci" else f"image.{kind}")
        cache = work / f"cache-{kind}"
        digests: dict[str, Digest] = {}
        for step, version in (("first", 0), ("same", 0), ("last cell edited", 1)):
            build(options, step, version, store, out, cache, digests)
        if kind != "oci":
            fresh = work / f"fresh-{out.name}"
            build(options, "from scratch", 1, store, fresh, work / "cache-fresh", digests)
            assert digests["from scratch"] == digests["last cell edited"], "not reproducible"
        start = time.monotonic()
        open_image(out).verify()
        print(json.dumps({"kind": kind, "step": "verify", "s": round(time.monotonic() - start, 2)}))
    if options.work is None:
        shutil.rmtree(work)


def build(
    options: argparse.Namespace,
    step: str,
    version: int,
    store: Path,
    out: Path,
    cache: Path,
    digests: dict[str, Digest],
) -> None:
    """One build, reported."""
    size = int(options.cell_mb * 1e6)
    cells = [
        checkpoint(store, cell, version if cell == options.cells else 0, size)
        for cell in range(1, options.cells + 1)
    ]
    start = time.monotonic()
    plans = [runtime(), environment(options.directory), *cells]
    written = write_image(plans, out, config=ImageConfig(), finish=finish, cache=cache)
    digests[step] = written.digest
    report = {
        "kind": written.kind,
        "step": step,
        "s": round(time.monotonic() - start, 2),
        "mb": round(open_image(out).size / 1e6),
        "uncompressed_mb": round(sum(layer.size for layer in written.layers) / 1e6),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
