"""Notebooks for tests, the commands of this checkout, and whose home they run in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
_RUN = "import sys; from nbrw_builder.cli import {0}; sys.exit({0}())"


def write_notebook(path: Path, *cells: str, tags: Sequence[Sequence[str]] = ()) -> Path:
    """A notebook of code cells."""
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": list(tags[number])} if number < len(tags) else {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    value = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
    path.write_text(json.dumps(value))
    return path


def command(name: str) -> list[str]:
    """The argument vector of ``nbrw`` or ``nbrw-build``."""
    entry = {"nbrw": "main", "nbrw-build": "build_main"}[name]
    return [sys.executable, "-c", _RUN.format(entry)]


def environment(**changes: str) -> dict[str, str]:
    """Variables in which this checkout is found and no notebook's backend is preset."""
    paths = f"{ROOT / 'builder'}:{ROOT / 'runtime'}"
    return {**os.environ, "PYTHONPATH": paths, **changes}


def run(
    name: str, *argv: object, cwd: Path | None = None, timeout: float = 300, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end."""
    return subprocess.run(
        [*command(name), *map(str, argv)],
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
