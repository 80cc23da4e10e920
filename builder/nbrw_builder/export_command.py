"""`nbrw export`: the command."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nbrw_builder.export import CrateRequest, Export

_FORMATS = ("spdx", "cyclonedx")
_EXAMPLES = """\b
Examples:
  nbrw export climate.sif --sbom spdx                        to standard output
  nbrw export climate.sif --sbom spdx=climate.spdx.json --sbom cyclonedx=climate.cdx.json
  nbrw export climate.sif --ro-crate crate                   the audit as a research object
  nbrw export climate.sif --ro-crate crate --report climate.repeat.ipynb
  nbrw export climate.sif --binder binder                    for repo2docker and Binder
  nbrw export climate.sif --lock requirements.txt

\b
Equal images give equal bytes. Nothing is run."""


class _Sbom(click.ParamType):
    name = "format"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path | None]:
        kind, equals, path = str(value).partition("=")
        if kind not in _FORMATS or (equals and not path):
            self.fail(f"not FORMAT or FORMAT=FILE with one of {', '.join(_FORMATS)}", param, ctx)
        return kind, Path(path) if equals else None


def _time(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        raise click.BadParameter("give it as 2026-11-21T12:00:00Z")
    return text


@click.command("export", epilog=_EXAMPLES, no_args_is_help=True)
@click.option(
    "--sbom", "sboms", type=_Sbom(), multiple=True, metavar="FORMAT[=FILE]",
    help="A bill of materials: spdx (2.3) or cyclonedx (1.6), JSON. May be given several times.",
)  # fmt: skip
@click.option(
    "--ro-crate", "crate", type=click.Path(path_type=Path), metavar="DIR",
    help="A Provenance Run Crate of the audit and of repeats: a new directory.",
)  # fmt: skip
@click.option(
    "--report", "reports", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True, metavar="FILE",
    help="A repeat for the crate: the notebook it wrote, or its --report. Several times.",
)  # fmt: skip
@click.option("--author", metavar="NAME", help="Who made the audit: 'Ada <https://orcid.org/...>'.")
@click.option("--agent", metavar="NAME", help="Who ran the repeats.")
@click.option("--license", "licence", metavar="URL", default="", help="Of the crate.")
@click.option(
    "--binder", type=click.Path(path_type=Path), metavar="DIR",
    help="environment.yml or requirements.txt, runtime.txt, apt.txt: a new directory.",
)  # fmt: skip
@click.option(
    "--lock", type=click.Path(path_type=Path), metavar="FILE",
    help="Exact versions, as pip's requirements or conda's explicit specification.",
)  # fmt: skip
@click.option(
    "--created", callback=_time, metavar="TIME",
    help="The time that documents have.  [default: that of all files in images]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print as JSON what was written.")
@click.argument("image", type=click.Path(path_type=Path))
def export_command(
    sboms: Sequence[tuple[str, Path | None]],
    crate: Path | None,
    reports: Sequence[Path],
    author: str | None,
    agent: str | None,
    licence: str,
    binder: Path | None,
    lock: Path | None,
    created: str | None,
    as_json: bool,
    image: Path,
) -> None:
    """Write what the notebook in IMAGE used and did in the formats of others."""
    printed = [kind for kind, path in sboms if path is None]
    if not (sboms or crate or binder or lock):
        raise click.UsageError("say what: --sbom, --ro-crate, --binder or --lock")
    if len(printed) > 1 or (printed and as_json):
        raise click.UsageError("one document at most goes to standard output: --sbom FORMAT=FILE")
    if (reports or author or agent or licence) and not crate:
        raise click.UsageError("--report, --author, --agent and --license are of --ro-crate DIR")
    from nbrw_builder import export
    from nbrw_builder.sbom import NO_TIME

    # What is wrong with the places is said before anything is written.
    named = [path for _, path in sboms if path is not None]
    export.check_files([*named, *([lock] if lock else [])])
    for place in (crate, binder):
        if place is not None:
            export.check_directory(place)
    source = export.Export(image, created or NO_TIME)
    made = _made(source, _request(reports, author, agent, licence), sboms, crate, binder, lock)
    for _, path, content in made:
        if isinstance(content, dict):
            export.write_files(path, content)
        else:
            export.write_file(path, content)
    for kind in printed:
        click.echo(source.sbom(kind).decode(), nl=False)
    if as_json:
        click.echo(json.dumps(_as_json(image, made), indent=1))


def _request(
    reports: Sequence[Path], author: str | None, agent: str | None, licence: str
) -> CrateRequest:
    from nbrw_builder.export import CrateRequest
    from nbrw_builder.ro_crate import Person

    def person(text: str | None) -> Person | None:
        return Person.parse(text) if text else None

    return CrateRequest(tuple(reports), person(author), person(agent), licence)


_Made = list[tuple[str, Path, bytes | dict[str, bytes]]]


def _made(
    source: Export,
    request: CrateRequest,
    sboms: Sequence[tuple[str, Path | None]],
    crate: Path | None,
    binder: Path | None,
    lock: Path | None,
) -> _Made:
    """All documents, before the first is written: kind, place, bytes or files by name."""
    made: _Made = [(kind, path, source.sbom(kind)) for kind, path in sboms if path is not None]
    if crate is not None:
        made.append(("ro-crate", crate, source.crate(request)))
    if binder is not None:
        made.append(("binder", binder, source.binder()))
    if lock is not None:
        made.append(("lock", lock, source.lock()))
    return made


def _as_json(image: Path, made: _Made) -> dict[str, Any]:
    """Format ``nbrw.export``, version 1."""
    return {
        "format": "nbrw.export",
        "version": 1,
        "image": str(image),
        "written": [
            {"kind": kind, "path": str(path)}
            | ({"files": sorted(content)} if isinstance(content, dict) else {})
            for kind, path, content in made
        ],
    }
