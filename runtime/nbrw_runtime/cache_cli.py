"""The command `cache` of an image: what repeats have kept. On the host it is `nbrw cache`."""

from __future__ import annotations

import argparse
from typing import Any

from nbrw_runtime.cache_place import parse_age, parse_size
from nbrw_runtime.errors import EXIT_OK

_EXAMPLES = """\
examples:
  cache list                what repeats have kept
  cache prune               remove what is above the usual limit, and what nothing needs
  cache prune --size 5G     keep 5 GB, what was used last
  cache prune --older 30d   remove what was not used for 30 days
  cache prune --all
  cache check               read everything, and remove what is corrupt
"""


def add_parser(commands: Any) -> None:
    """Add `cache` to the commands of an image."""
    parser = commands.add_parser(
        "cache",
        help="list, prune or check what repeats have kept",
        description="What repeats have computed and kept for later ones.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    found = actions.add_parser("list", help="say what is kept")
    prune = actions.add_parser("prune", help="remove what was used longest ago")
    prune.add_argument("--size", type=_size, metavar="SIZE", help="keep so much, as in 5G")
    prune.add_argument("--older", type=_age, metavar="TIME", help="not used for so long, as in 30d")
    prune.add_argument("--all", action="store_true", help="remove everything")
    check = actions.add_parser("check", help="read everything, and remove what is corrupt")
    actions.add_parser("path", help="print the directory")
    for action in (found, prune, check):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run one; returns the exit code."""
    from nbrw_runtime.cache_actions import cache_path, checked, listed, pruned
    from nbrw_runtime.cache_kinds import Results

    path = cache_path()
    if options.action == "path":
        print(path)
        return EXIT_OK
    kinds = [Results()]
    if options.action == "list":
        text, code = listed(kinds, path, options.json), EXIT_OK
    elif options.action == "prune":
        limit = 0 if options.all else options.size
        text, code = pruned(kinds, path, limit, options.older, options.json), EXIT_OK
    else:
        text, code = checked(kinds, path, options.json)
    print(text)
    return code


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _age(text: str) -> float:
    try:
        return parse_age(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
