"""Whether a repeat left what a plain run of the same notebook leaves: outputs and files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nbrw_runtime.compare import differences
from nbrw_runtime.digest import digest_file


def wrong(plain: Path, repeated: Path) -> list[str]:
    """What differs between two executed notebooks, and the files beside them; [] if nothing does.

    Inputs (``data``) and notebooks are no results; nor is what Dask logs: when a cluster is closed
    a worker's heartbeat may be under way, and then it says so.
    """
    found = []
    expected, got = _cells(plain), _cells(repeated)
    if [cell["source"] for cell in expected] != [cell["source"] for cell in got]:
        return ["the cells are not those of the notebook"]
    for number, (one, other) in enumerate(zip(expected, got, strict=True), 1):
        different = differences(_without_logs(one["outputs"]), _without_logs(other["outputs"]))
        found += [f"cell {number}: {what}" for what in different]
    files, there = results(plain.parent), results(repeated.parent)
    for name in sorted({*files, *there}):
        if name not in there:
            found.append(f"{name} is missing")
        elif name not in files:
            found.append(f"{name} should not be there")
        elif files[name] != there[name]:
            found.append(f"{name} has other content")
    return found


_LOG = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ - distributed\.")


def _without_logs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        output
        for output in outputs
        if not (output.get("name") == "stderr" and _LOG.match("".join(output["text"])))
    ]


def _cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for cell in code:
        cell["source"] = "".join(cell["source"])
    return code


def results(place: Path) -> dict[str, str]:
    """The digests of the files that a notebook left in its working directory, by path."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_file() and path.suffix != ".ipynb" and not name.startswith(("data/", ".")):
            found[name] = str(digest_file(path)[0])
    return found
