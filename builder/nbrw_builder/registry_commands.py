"""`nbrw push` and `nbrw pull`: images in registries, without a daemon."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nbrw_builder.registry.reference import Reference, is_reference, parse_reference

if TYPE_CHECKING:
    from nbrw_builder.registry.account import Account
    from nbrw_builder.registry.client import Access

_PUSH_EXAMPLES = """\b
Examples:
  nbrw push climate docker://registry.example.org/team/climate:v1
  nbrw push climate.tar docker://localhost:5000/climate --plain-http
  nbrw push climate.sif oras://registry.example.org/team/climate:v1

\b
Exit codes: 0 done, 2 wrong usage or no such name, 3 the image is corrupt, 5 the registry refuses
or is not reached, 130 interrupted (the next push goes on)."""

_PULL_EXAMPLES = """\b
Examples:
  nbrw pull docker://registry.example.org/team/climate:v1 climate          an OCI directory
  nbrw pull docker://registry.example.org/team/climate:v1 climate.sif      for Apptainer
  nbrw pull oras://registry.example.org/team/climate:v1 climate.sif
  nbrw pull --from 3 docker://registry.example.org/team/climate:v1 climate

\b
Exit codes: 0 done, 2 wrong usage or no such name, 3 what came is corrupt, 5 the registry refuses or
is not reached or the disk is full, 130 interrupted (the next pull goes on)."""


class ReferenceType(click.ParamType):
    """``docker://...`` or ``oras://...``."""

    name = "reference"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Reference:
        return value if isinstance(value, Reference) else parse_reference(str(value))


class OutputType(click.ParamType):
    """A file's name, or a reference."""

    name = "image"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | Reference:
        if isinstance(value, (Path, Reference)):
            return value
        return parse_reference(str(value)) if is_reference(str(value)) else Path(value)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--plain-http`` and ``--ca``."""
    for option in (
        click.option(
            "--ca", "authority", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
            help="Certificates (PEM) of one more authority to believe.",
        ),
        click.option("--plain-http", is_flag=True, help="Without TLS: for a registry nearby."),
    ):  # fmt: skip
        command = option(command)
    return command


def access_of(plain_http: bool, authority: Path | None) -> Access:
    """What the two options say."""
    from nbrw_builder.registry.client import Access

    return Access(plain_http, authority)


_alone = click.option(
    "--no-referrers", "alone", is_flag=True,
    help="Without signatures, bills of materials and whatever else refers to the image.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")


@click.command("push", epilog=_PUSH_EXAMPLES, no_args_is_help=True)
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("reference", type=ReferenceType())
@click.option(
    "--from-repository", "sources", multiple=True, metavar="NAME",
    help="A repository of the registry that has some of the blobs. May be given several times.",
)  # fmt: skip
@click.option("--only-new", is_flag=True, help="Say of each blob that travelled what it was.")
@_alone
@access_options
@_json
@_quiet
def push_command(
    image: Path,
    reference: Reference,
    sources: Sequence[str],
    only_new: bool,
    alone: bool,
    plain_http: bool,
    authority: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Push IMAGE (an OCI directory or tar; a SIF to oras://) to a registry, as it is.

    Only blobs that the registry lacks travel; the tag is put last. A push that was interrupted goes
    on where it stopped when it is started again.
    """
    from nbrw_builder.registry.push import push
    from nbrw_builder.registry.transfers import shown

    with shown(quiet) as transfers:
        account = push(
            image,
            reference,
            access_of(plain_http, authority),
            sources=sources,
            transfers=transfers,
            referrers=not alone,
        )
    say(account, as_json, quiet, only_new)


@click.command("pull", epilog=_PULL_EXAMPLES, no_args_is_help=True)
@click.argument("reference", type=ReferenceType())
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--from", "start", type=int, metavar="N",
    help="Only the layers that a repeat from cell N needs; OUT is a directory.",
)  # fmt: skip
@_alone
@access_options
@_json
@_quiet
def pull_command(
    reference: Reference,
    out: Path,
    start: int | None,
    alone: bool,
    plain_http: bool,
    authority: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Pull an image to OUT: NAME.sif, NAME.tar (OCI tar) or a directory (OCI layout).

    Of a directory that is there only what it lacks is fetched. A pull that was interrupted goes on
    where it stopped when it is started again.
    """
    from nbrw_builder.registry.pull import pull
    from nbrw_builder.registry.transfers import shown

    with shown(quiet) as transfers:
        account = pull(
            reference,
            out,
            access_of(plain_http, authority),
            start=start,
            transfers=transfers,
            referrers=not alone,
        )
    say(account, as_json, quiet)


def say(account: Account, as_json: bool, quiet: bool, each: bool = False) -> None:
    """Print what a push or pull came to."""
    from nbrw_builder.registry.account import as_json as in_json
    from nbrw_builder.registry.account import lines

    if as_json:
        click.echo(json.dumps(in_json(account), indent=1))
    elif not quiet:
        for line in lines(account, each):
            click.echo(line)
