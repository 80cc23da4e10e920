"""`nbrw why`: why a cell and its tasks ran in the last repeat of an image."""

from __future__ import annotations

from pathlib import Path

import click

_EPILOG = """\b
Examples:
  nbrw why climate.sif 3                     why cell 3 ran, and which of its Dask tasks
  nbrw why climate.sif 3 risk_score          only its tasks of this name
  nbrw why climate.sif 3 --report out.ipynb  of the repeat that wrote this notebook or report
  nbrw why climate.sif 3 --json

\b
Exit codes: 0 done, 2 no report, no such cell or no such task, 3 the image is corrupt, or it or
the report is of a newer format."""


@click.command("why", epilog=_EPILOG, no_args_is_help=True)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE",
    help="A notebook or report that a repeat wrote.  [default: the last one in the directory]",
)  # fmt: skip
@click.option(
    "--work-dir", type=click.Path(path_type=Path), default=Path(), metavar="DIR",
    help="Where the image was repeated.  [default: the current directory]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("cell", type=int)
@click.argument("task", default="")
def why_command(
    report: Path | None, work_dir: Path, as_json: bool, image: Path, cell: int, task: str
) -> None:
    """Say why CELL ran or was restored in the last repeat of IMAGE, and its Dask tasks.

    CELL is a number of the repeated notebook, counted from 1. TASK is a task's name as Dask has it,
    or its key; without it all are told, those that were edited first.
    """
    from nbrw_builder.image_file import open_image
    from nbrw_runtime.recipe import read_recipe
    from nbrw_runtime.why_cli import told

    recipe = read_recipe(open_image(image).recipe_bytes(), str(image))
    click.echo(told(recipe, cell, task, report, work_dir, as_json))
