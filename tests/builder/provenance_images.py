"""An image whose notebook used software of every kind, and data, for tests of what is exported."""

import json

from images import CONFIG, cell, system

from nbrw_builder.build_image import write_image
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.sbom_layer import recipe_layer
from nbrw_runtime.checkpoint import Checkpoint, StoredFile
from nbrw_runtime.dependency import Data, DataState, Dependencies, Software, SoftwareKind
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.recipe import (
    Environment,
    Recipe,
    RecipeLayer,
    recipe_cells,
)

SITE = "/home/ada/env/lib/python3.11/site-packages"
PREFIX = "/opt/conda"
IN_SITE = "/nbrw/root" + SITE


def metadata(name, version, *lines):
    """The head of a distribution's METADATA."""
    return "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines, ""])


FILES = {
    "/usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\n',
    f"{IN_SITE}/numpy-2.1.0.dist-info/METADATA": metadata(
        "numpy", "2.1.0", "License-Expression: BSD-3-Clause", "Author: Travis", "", "Text: no head"
    ),
    f"{IN_SITE}/Jinja2-3.1.6.dist-info/METADATA": metadata(
        "Jinja2", "3.1.6", "Classifier: License :: OSI Approved :: BSD License"
    ),
    f"{IN_SITE}/fromgit-0.1+local.dist-info/METADATA": metadata("fromgit", "0.1+local"),
    f"{IN_SITE}/fromgit-0.1+local.dist-info/direct_url.json": json.dumps(
        {
            "url": "https://example.org/fromgit.git",
            "vcs_info": {"vcs": "git", "commit_id": "abc123"},
        }
    ),
    f"{IN_SITE}/mine-1.0.dist-info/METADATA": metadata("mine", "1.0"),
    f"{IN_SITE}/mine-1.0.dist-info/direct_url.json": json.dumps(
        {"url": "file:///home/ada/mine", "dir_info": {"editable": True}}
    ),
    "/usr/share/doc/libstdc++6/copyright": "Format: https://www.debian.org/doc/packaging-manuals/"
    "copyright-format/1.0/\n\nFiles: *\nLicense: GPL-3+\n\nFiles: x\nLicense: Expat\n text\n",
    "/usr/lib/libown.so": "own bytes",
}
CONDA_FILES = {
    f"{PREFIX}/conda-meta/hdf5-1.14.3-h1.json": json.dumps(
        {
            "name": "hdf5",
            "version": "1.14.3",
            "build": "h1",
            "subdir": "linux-64",
            "channel": "https://conda.anaconda.org/conda-forge/linux-64",
            "license": "BSD-3-Clause",
            "url": "https://conda.anaconda.org/conda-forge/linux-64/hdf5-1.14.3-h1.conda",
            "sha256": "ab" * 32,
        }
    )
}
_DISTRIBUTION, _KERNEL = SoftwareKind.DISTRIBUTION, ("kernel",)
SOFTWARE = (
    Software(_DISTRIBUTION, "Jinja2", "3.1.6", SITE, requires=("numpy",)),
    Software(_DISTRIBUTION, "fromgit", "0.1+local", SITE, (2,), ("worker",), 1),
    Software(_DISTRIBUTION, "numpy", "2.1.0", SITE, (1, 2), _KERNEL, 9),
    Software(SoftwareKind.DPKG, "graphviz", "2.42.2-7", "/", (2,), ("child",), 1),
    Software(SoftwareKind.DPKG, "libstdc++6", "12.2.0-14+deb12u1", "/", (), _KERNEL, 1),
    Software(SoftwareKind.FILE, "/usr/lib/libown.so", cells=(1,), roles=_KERNEL, touched=1),
    Software(SoftwareKind.INTERPRETER, "python", "3.11.7", "/usr", (), _KERNEL, 50),
    Software(SoftwareKind.LOCAL, "mine", "1.0", SITE, (1,), _KERNEL, 2),
    Software(SoftwareKind.RPM, "zlib", "1.3-1", "/", (), _KERNEL, 1),
)
CONDA_SOFTWARE = (Software(SoftwareKind.CONDA, "hdf5", "1.14.3", PREFIX, (1,), _KERNEL, 3),)
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "id": "a", "metadata": {}, "source": "import numpy\nrows = 1"},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": "open('out.csv', 'w')"},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": "1 / 0"},
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
for _cell in NOTEBOOK["cells"]:
    _cell.update(outputs=[], execution_count=None)
INPUT = b"1.5\n"
OUTPUT = b"3.0\n"


def recipe(layers, software=SOFTWARE, title="climate", **more):
    """The recipe of a notebook of three cells, of which the last failed."""
    cells = recipe_cells(code_cells(NOTEBOOK))
    written = StoredFile("/home/ada/proj/out.csv", digest_bytes(OUTPUT), len(OUTPUT))
    return Recipe(
        notebook=NOTEBOOK,
        cells=cells,
        checkpoints=(
            Checkpoint(1, cells[0].digest, seconds=0.5),
            Checkpoint(2, cells[1].digest, files=(written,), seconds=0.25),
            Checkpoint(3, cells[2].digest, "error"),
        ),
        environment=Environment("/usr/bin/python3", "/home/ada/proj", python_version="3.11.7"),
        dependencies=Dependencies(
            software,
            (
                Data(
                    "/home/ada/proj/in.csv", DataState.READ, (1,), _KERNEL, digest_bytes(INPUT), 4
                ),
                Data("/home/ada/proj/none.csv", DataState.ABSENT, (1,), _KERNEL),
                Data("/home/ada/proj/out.csv", DataState.WRITTEN, (2,), _KERNEL),
            ),
        ),
        layers=tuple(
            RecipeLayer(layer.name, layer.diff_id, layer.size, layer.cells, layer.directory)
            for layer in layers
        ),
        created_by="nbrw 0.1.0",
        title=title,
        parameters={"threshold": 5.0},
        **more,
    )


def write_provenance(out, cache, files=FILES, software=SOFTWARE, title="climate", sbom=()):
    """Write the image."""
    entries = [Entry(path, data=text.encode()) for path, text in files.items()]
    plans = [system(), LayerPlan("distributions", tuple(entries)), cell(1, b"one" * 1000)]

    def finish(layers):
        return recipe_layer(recipe(layers, software, title), sbom, plans)

    return write_image(plans, out, config=CONFIG, finish=finish, cache=cache)
