"""`nbrw cache`: what nbrw keeps on this host to be quick; all of it may be deleted."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nbrw_runtime.cache_place import parse_age, parse_size

if TYPE_CHECKING:
    from nbrw_runtime.cache_kinds import CacheKind

_KINDS = ("results", "audits", "packed", "images")
_EXAMPLES = """\b
Examples:
  nbrw cache list                           what is kept, and since when it was not used
  nbrw cache prune                          down to the usual limits
  nbrw cache prune --size 5G                at most 5 GB of each kind, what was used last
  nbrw cache prune --older 30d --kind audits
  nbrw cache prune --all
  nbrw cache check                          read everything, and remove what is corrupt

\b
Kinds: results of repeats, audits of nbrw-build, layers packed by it, images unpacked by
nbrw run. What is in use is never removed."""


class _Size(click.ParamType):
    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Age(click.ParamType):
    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return parse_age(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_kind = click.option(
    "--kind", "chosen", type=click.Choice(_KINDS), multiple=True,
    help="Only this kind. May be given several times.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("cache", epilog=_EXAMPLES)
def cache_command() -> None:
    """List, prune or check what nbrw keeps to be quick; all of it may be deleted."""


@cache_command.command("list")
@_kind
@_json
def list_command(chosen: Sequence[str], as_json: bool) -> None:
    """Say what is kept: kind, name, of how many parts, size, last use."""
    from nbrw_runtime.cache_actions import cache_path, listed

    kinds, path = _chosen(chosen), cache_path()
    if as_json or not sys.stdout.isatty():
        click.echo(listed(kinds, path, as_json))
        return
    _print_table(kinds, path)


def _print_table(kinds: Sequence[CacheKind], path: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nbrw_runtime.cache_report import rows, total

    items = [item for kind in kinds for item in kind.items()]
    head, *lines = rows(items, time.time())
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in ("parts", "size") else "left")
    for line in lines:
        table.add_row(*(Text(text) for text in line))
    console = Console()
    if items:
        console.print(table)
    console.print(total(items, path), highlight=False, markup=False, soft_wrap=True)


@cache_command.command("prune")
@click.option("--size", type=_Size(), help="Keep so much of each kind, as in 5G.")
@click.option("--older", type=_Age(), help="Remove what was not used for so long: 12h, 30d.")
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@_kind
@_json
def prune_command(
    size: int | None, older: float | None, everything: bool, chosen: Sequence[str], as_json: bool
) -> None:
    """Remove what was used longest ago, and what nothing needs."""
    from nbrw_runtime.cache_actions import cache_path, pruned

    if everything and (size is not None or older is not None):
        raise click.UsageError(
            "cache prune --all removes everything: give no --size and no --older"
        )
    limit = 0 if everything else size
    click.echo(pruned(_chosen(chosen), cache_path(), limit, older, as_json))


@cache_command.command("check")
@_kind
@_json
def check_command(chosen: Sequence[str], as_json: bool) -> int:
    """Read everything; name and remove what is corrupt (exit code 3)."""
    from nbrw_runtime.cache_actions import cache_path, checked

    text, code = checked(_chosen(chosen), cache_path(), as_json)
    click.echo(text)
    return code


@cache_command.command("path")
def path_command() -> None:
    """Print the directory."""
    from nbrw_runtime.cache_actions import cache_path

    click.echo(cache_path())


def _chosen(names: Sequence[str]) -> list[CacheKind]:
    from nbrw_builder.cache_kinds import all_kinds
    from nbrw_runtime.cache_actions import cache_path

    cache_path()  # says what to do where there is none
    return [kind for kind in all_kinds() if not names or kind.name in names]
