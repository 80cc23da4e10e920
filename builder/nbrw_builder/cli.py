"""The commands `nbrw-build` and `nbrw`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from nbrw_builder import __version__
from nbrw_builder.cache_commands import cache_command
from nbrw_builder.export_command import export_command
from nbrw_builder.registry.reference import Reference
from nbrw_builder.registry_commands import (
    OutputType,
    access_of,
    access_options,
    pull_command,
    push_command,
)
from nbrw_builder.sign_commands import sign_command, verify_command
from nbrw_builder.why_command import why_command
from nbrw_builder.worker_command import worker_command
from nbrw_runtime.errors import (
    EXIT_DIFFERENT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    CellError,
    NbrwError,
)
from nbrw_runtime.parameters import parse_value
from nbrw_runtime.report import cells_phrase
from nbrw_runtime.tolerance import DEFAULT, Tolerance, parse_tolerance

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_EXIT_CODES = """\b
Exit codes: 0 done, 1 a cell failed, 2 wrong usage, 3 an image is corrupt or of a newer
format, 4 cells do not repeat (--verify), 5 the host lacks something, 130 interrupted."""

_BUILD_EXAMPLES = f"""\b
Examples:
  nbrw-build climate.ipynb -o climate.sif            for Apptainer
  nbrw-build climate.ipynb -o climate.tar            for docker load, podman, skopeo
  nbrw-build climate.ipynb -o climate                an OCI directory
  nbrw-build climate.ipynb -o docker://registry.example.org/team/climate:v1
  nbrw-build climate.ipynb -o docker-daemon:climate:v1   into a Docker Engine
  nbrw-build climate.ipynb -o a.sif -p threshold 5   with another parameter
  nbrw-build climate.ipynb -o a.sif -k ~/env/bin/python --timeout 600
  nbrw-build climate.ipynb -o climate.sif --verify   and repeat it in a clean container

{_EXIT_CODES}"""


@click.command(
    "nbrw-build", context_settings=_CONTEXT, epilog=_BUILD_EXAMPLES, no_args_is_help=True
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", type=OutputType(), required=True, metavar="IMAGE",
    help="What to write: NAME.sif, NAME.tar (OCI tar), a directory (OCI layout), "
    "docker://HOST/NAME:TAG (a registry), or docker-daemon:NAME:TAG (a Docker Engine).",
)  # fmt: skip
@click.option(
    "-k", "--kernel", metavar="NAME",
    help="Kernel: a kernelspec's name or the path of a Python.  [default: the notebook's own]",
)  # fmt: skip
@click.option(
    "--cwd", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Where the notebook runs.  [default: the directory it lies in]",
)  # fmt: skip
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE",
    help="Set a parameter, as papermill does. May be given several times.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="Longest time for one cell.  [default: none]",
)  # fmt: skip
@click.option("--allow-errors", is_flag=True, help="Go on after a cell that fails.")
@click.option("--fresh", is_flag=True, help="Run every cell, whatever a former build left.")
@click.option(
    "--include-private", multiple=True, metavar="PATH",
    help="Pack this file although it looks private. May be given several times.",
)  # fmt: skip
@click.option(
    "--minimal", is_flag=True, help="Pack only the files that were used, not whole packages."
)
@click.option(
    "--compression", type=click.Choice(["gzip", "zstd", "none"]), default="gzip",
    show_default=True, help="Of layers in OCI images.",
)  # fmt: skip
@click.option(
    "--verify", is_flag=True,
    help="Repeat the image from cell 1 in a clean container; exit code 4 if cells do not repeat.",
)  # fmt: skip
@click.option(
    "--tolerance", metavar="REL[,ABS]", callback=lambda _, __, text: parse_tolerance(text),
    default=repr(DEFAULT.relative), show_default=True,
    help="How far numbers may differ for --verify.",
)  # fmt: skip
@access_options
@click.option(
    "--sbom", multiple=True, type=click.Choice(["spdx", "cyclonedx"]),
    help="Put a bill of materials of what was used into the image. May be given several times.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__, prog_name="nbrw-build")
def build_command(
    notebook: Path,
    out: Path | Reference,
    kernel: str | None,
    cwd: Path | None,
    parameters: Sequence[tuple[str, str]],
    timeout: float | None,
    allow_errors: bool,
    fresh: bool,
    include_private: Sequence[str],
    minimal: bool,
    compression: str,
    verify: bool,
    tolerance: Tolerance,
    plain_http: bool,
    authority: Path | None,
    sbom: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> int:
    """Run NOTEBOOK once, trace what it uses, and pack an image that repeats any part of it.

    The notebook is not changed, and nothing but the image and a cache is written. A build that was
    interrupted, or whose cell failed, goes on where it stopped when it is started again.
    """
    from rich.console import Console

    from nbrw_builder.audit import AuditRequest
    from nbrw_builder.build import BuildRequest, build
    from nbrw_builder.build_report import as_json_object, print_built
    from nbrw_builder.progress import Progress, TerminalProgress
    from nbrw_builder.registry_build import build_and_push, path_of
    from nbrw_builder.verify_image import VerifyRequest

    request = BuildRequest(
        AuditRequest(
            notebook,
            kernel,
            cwd,
            timeout,
            allow_errors,
            {name: parse_value(text) for name, text in parameters},
            fresh,
        ),
        path_of(out),
        tuple(include_private),
        minimal,
        compression,
        VerifyRequest(tolerance, timeout, allow_errors) if verify else None,
        tuple(sbom),
    )
    console = Console(stderr=True)
    watched = console.is_terminal and not quiet
    shown = TerminalProgress(console) if watched else Progress()
    if isinstance(out, Reference):
        access = access_of(plain_http, authority)
        printer = None if quiet or as_json else Console()
        built = build_and_push(request, out, access, shown, printer, as_json)
    else:
        with shown as progress:
            built = build(request, progress)
        if as_json:
            click.echo(json.dumps(as_json_object(built), indent=1))
        elif not quiet:
            print_built(built, Console())
    found = built.recipe.verification
    if found is None or found.holds:
        return EXIT_OK
    cells = cells_phrase([cell.cell for cell in found.doubtful])
    click.echo(
        f"nbrw: verify {out}: {cells} did not repeat (`nbrw inspect {out}` says in what); the "
        "image is written and records it; change what is shown or written, or give a --tolerance",
        err=True,
    )
    return EXIT_DIFFERENT


@click.group(context_settings=_CONTEXT, epilog=_EXIT_CODES)
@click.version_option(__version__, prog_name="nbrw")
def nbrw() -> None:
    """Audit a Jupyter notebook that drives a Dask cluster once; repeat any part of it anywhere."""


nbrw.add_command(build_command, "build")
nbrw.add_command(cache_command)
nbrw.add_command(export_command)
nbrw.add_command(sign_command)
nbrw.add_command(verify_command)
nbrw.add_command(why_command)
nbrw.add_command(worker_command)
nbrw.add_command(push_command)
nbrw.add_command(pull_command)


@nbrw.command(
    "run",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="\b\nExamples:\n  nbrw run climate.sif repeat --from 3\n"
    "  nbrw run --engine podman climate.tar inspect\n  nbrw run climate.sif help\n"
    "  nbrw run --contain climate.sif repeat --verify\n",
    no_args_is_help=True,
)
@click.option(
    "--engine", metavar="NAME",
    help="apptainer, docker, podman or embedded.  [default: the first that can run the image]",
)  # fmt: skip
@click.option(
    "--contain", is_flag=True,
    help="With an empty home and /tmp, which are gone afterwards, instead of yours.",
)  # fmt: skip
@click.option(
    "--key", "keys", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="IMAGE must be signed with this public key (PEM), or with one of several.",
)  # fmt: skip
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run_command(
    engine: str | None, contain: bool, keys: Sequence[Path], image: Path, arguments: Sequence[str]
) -> None:
    """Run IMAGE with whatever this host has; the arguments go to the image.

    The current directory is the work directory: inputs are looked for there, outputs go there.
    """
    from nbrw_builder.run_image import run_image

    sys.exit(run_image(image, arguments, engine=engine, contain=contain, keys=keys))


@nbrw.command(
    "inspect",
    epilog="\b\nExamples:\n  nbrw inspect climate.sif\n  nbrw inspect --json climate.tar\n",
    no_args_is_help=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("image", type=click.Path(path_type=Path))
def inspect_command(as_json: bool, image: Path) -> None:
    """Say what is in IMAGE, without running it."""
    from nbrw_builder.inspect_image import inspect_image, print_description

    description = inspect_image(image)
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        print_description(description)


@nbrw.command(
    "plan",
    epilog="\b\nExamples:\n  nbrw plan climate.sif edited.ipynb\n"
    "  nbrw plan climate.sif --json -p threshold 5.0\n",
    no_args_is_help=True,
)
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="NAME VALUE",
    help="A parameter, as papermill has it. May be given several times.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("notebook", type=click.Path(path_type=Path), required=False)
def plan_command(
    parameters: Sequence[tuple[str, str]], as_json: bool, image: Path, notebook: Path | None
) -> None:
    """Say which cells of NOTEBOOK a repeat in IMAGE would run, and why. Nothing is run.

    Without NOTEBOOK it is the author's own. What a cell that runs leaves is foreseen only: where
    that is equal to what it left before, a repeat runs fewer cells.
    """
    from nbrw_builder.image_file import open_image
    from nbrw_runtime.plan import Request
    from nbrw_runtime.planned import load_notebook, planned
    from nbrw_runtime.recipe import read_recipe
    from nbrw_runtime.report import report_text, report_to_json

    recipe = read_recipe(open_image(image).recipe_bytes(), str(image))
    values = {name: parse_value(text) for name, text in parameters}
    report = planned(recipe, load_notebook(recipe, notebook, values), Request())
    click.echo(json.dumps(report_to_json(report), indent=1) if as_json else report_text(report))


def _end(error: NbrwError) -> int:
    if isinstance(error, CellError) and error.traceback:
        click.echo(error.traceback, err=True, color=sys.stderr.isatty())
    click.echo(f"nbrw: {error}", err=True)
    return error.exit_code


def _run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command; errors that are meant for the user become a sentence and an exit code."""
    # A request to end is treated as Ctrl-C: what is half-written is put away.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = command.main(
            args=None if arguments is None else list(arguments),
            prog_name=command.name,
            standalone_mode=False,
        )
        return result if isinstance(result, int) else 0
    except NbrwError as error:
        return _end(error)
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _interrupted() -> int:
    click.echo("nbrw: interrupted", err=True)
    return EXIT_INTERRUPTED


def _entry(command: click.Command) -> Callable[[Sequence[str] | None], int]:
    def entry(arguments: Sequence[str] | None = None) -> int:
        return _run(command, arguments)

    return entry


#: What the console scripts call; each returns the exit code.
main = _entry(nbrw)
build_main = _entry(build_command)

if __name__ == "__main__":
    sys.exit(main(None))
