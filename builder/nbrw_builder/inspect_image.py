"""`nbrw inspect`: what is in an image file, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from nbrw_builder.image_file import open_image
from nbrw_runtime.describe import (
    codec_lines,
    describe,
    marks_lines,
    stored_names,
    verification_lines,
)
from nbrw_runtime.describe_tasks import tasks_lines
from nbrw_runtime.recipe import read_recipe
from nbrw_runtime.units import human_size


def inspect_image(path: str | Path) -> dict[str, Any]:
    """The description of an image (see :func:`nbrw_runtime.describe.describe`), with the file's own
    ``path``, ``kind`` and ``size`` (bytes) under ``image``.

    Raises UsageError, NotFoundError, FormatError or IntegrityError.
    """
    image = open_image(path)
    value = describe(read_recipe(image.recipe_bytes(), str(path)))
    value["image"] = {"path": str(image.path), "kind": image.kind, "size": image.size}
    return value


def print_description(description: dict[str, Any], console: Console | None = None) -> None:
    """Show a description as tables on a terminal."""
    (console or Console()).print(_render(description))


def _render(description: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [_heading(description), _cells(description["cells"])]
    parts += [
        Text(f"cell {cell['number']}: {gap['name']} ({gap['type']}) is not stored: {gap['reason']}")
        for cell in description["cells"]
        for gap in cell["omitted"]
    ]
    parts += [Text(line) for line in codec_lines(description)]
    parts += [Text(line) for line in marks_lines(description)]
    parts += [Text(line) for line in tasks_lines(description)]
    parts += [Text(line) for line in verification_lines(description)]
    if description["software"]:
        parts.append(_software(description["software"]))
    if description["data"]:
        parts.append(_data(description["data"]))
    parts += [Text(f"left out: {i['path']}: {i['reason']}") for i in description["left_out"]]
    if description["network"]:
        parts.append(Text("network: " + ", ".join(description["network"])))
    parts += [Text(f"note: {note}") for note in description["notes"]]
    if description["layers"]:
        parts.append(_layers(description["layers"]))
    return Group(*parts)


def _heading(description: dict[str, Any]) -> Text:
    environment = description["environment"]
    text = Text(description["title"] or "A notebook", style="bold")
    text.append(f"\nPython {environment['python'] or '?'}", style="not bold")
    text.append(f", audited in {environment['directory']}", style="not bold")
    if image := description.get("image"):
        size = human_size(image["size"])
        text.append(f"\n{image['path']}: {image['kind']}, {size}", style="not bold")
    return text


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _cells(cells: list[dict[str, Any]]) -> Table:
    columns = ("cell", "state", "seconds", "size", "stored", "first line")
    table = _table("\nCells", *columns, right=("cell", "seconds", "size"))
    for cell in cells:
        table.add_row(
            str(cell["number"]),
            cell["status"],
            "" if cell["seconds"] is None else f"{cell['seconds']:.1f}",
            human_size(cell["size"]) if cell["size"] else "",
            Text(", ".join(stored_names(cell))),
            Text(cell["first_line"]),
        )
    return table


def _software(items: list[dict[str, Any]]) -> Table:
    table = _table("\nSoftware", "kind", "name", "version", "cells")
    for item in items:
        cells = ", ".join(map(str, item["cells"]))
        table.add_row(item["kind"], Text(item["name"]), Text(item["version"]), cells)
    return table


def _data(items: list[dict[str, Any]]) -> Table:
    table = _table("\nData", "state", "size", "cells", "path", right=("size",))
    for item in items:
        size = "" if item["size"] is None else human_size(item["size"])
        state = item["state"] + (", changed since" if item["changed"] else "")
        table.add_row(state, size, ", ".join(map(str, item["cells"])), Text(item["path"]))
    return table


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = _table("\nLayers, lowest first", "name", "size", "digest", right=("size",))
    for layer in layers:
        table.add_row(Text(layer["name"]), human_size(layer["size"]), layer["diff_id"][:19])
    return table
