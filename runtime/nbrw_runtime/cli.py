"""The commands of an image: repeat, why, inspect, cache, those for clusters, exec, kernel, help."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from nbrw_runtime import __version__, batch_cli, cache_cli, cluster_cli, cluster_options, why_cli
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import (
    EXIT_CELL,
    EXIT_DIFFERENT,
    EXIT_HOST,
    EXIT_INTERRUPTED,
    EXIT_OK,
    NbrwError,
    UsageError,
)
from nbrw_runtime.left_behind import LEFT_BEHIND_PATH, read_left_behind
from nbrw_runtime.recipe import RECIPE_PATH, Recipe, read_recipe
from nbrw_runtime.tolerance import DEFAULT, Tolerance, parse_tolerance

_EXIT_CODES = """\
exit codes: 0 done, 1 a cell failed, 2 wrong usage, 3 the image is corrupt or of a newer format,
4 outputs or files differ (--verify), 5 the host lacks something, 130 interrupted"""

_EXAMPLES = """\
examples:
  repeat --from 3                 restore cells 1 and 2, run the rest
  repeat edited.ipynb             run what was edited, and what that reaches
  repeat --cells 3,5-7            run these cells, and what they reach
  repeat -p threshold 5.0         with another value for a parameter
  repeat --all                    run every cell
  repeat --verify                 run every cell; exit code 4 if outputs or files differ
  repeat --from 3 --dry-run       say what would be done, and do nothing
  repeat --from 3 --json -o out.ipynb
  repeat --cluster tcp://login1:8786        its tasks on workers of this image elsewhere
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nbrw",
        description="Repeat an audited notebook, as a whole or in part.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nbrw {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    repeat = commands.add_parser(
        "repeat",
        help="restore what holds, run the rest, compare with the author's outputs",
        description="Restore what cells left, run the others, and compare with the author's.",
        epilog=f"{_EXAMPLES}\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = repeat.add_argument
    add("notebook", nargs="?", type=Path, help="an edited notebook (default: the author's)")
    add("--from", dest="start", type=int, metavar="N", help="run from code cell N on")
    add("--cells", type=_numbers, default=(), metavar="N,N-M", help="run these code cells")
    add("--all", dest="everything", action="store_true", help="run every cell")
    add(
        *("-p", "--parameter"), dest="parameters", nargs=2, action="append", default=[],
        metavar=("NAME", "VALUE"), help="a parameter's value, as papermill reads it",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="print the plan, run nothing")
    add("-o", "--output", type=Path, metavar="OUT.ipynb", help="the executed notebook")
    add("--work-dir", type=Path, default=Path(), metavar="DIR", help="default: the current one")
    add("--timeout", type=float, metavar="SECONDS", help="longest time for one cell")
    add("--allow-errors", action="store_true", help="go on after a cell that fails")
    add("--verify", action="store_true", help="end with exit code 4 if outputs or files differ")
    add(
        "--tolerance", type=_tolerance, default=DEFAULT, metavar="REL[,ABS]",
        help=f"how far numbers may differ (default: {DEFAULT.relative:g})",
    )  # fmt: skip
    add(
        "--no-tasks", dest="tasks", action="store_false",
        help="run all Dask tasks of the cells that run; nothing of the author's is loaded",
    )  # fmt: skip
    add(
        "--no-keep", dest="keep", action="store_false",
        help="neither use what earlier repeats computed nor keep what this one does",
    )  # fmt: skip
    cluster_options.add(repeat)
    add("--json", action="store_true", help="print the report as JSON")
    add("--report", type=Path, metavar="FILE.json", help="write the report as JSON as well")
    why_cli.add_parser(commands)
    inspect = commands.add_parser("inspect", help="say what is in the image")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    cache_cli.add_parser(commands)
    cluster_cli.add_parsers(commands)
    batch_cli.add_parsers(commands)
    run = commands.add_parser("exec", help="run a program in the image")
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM [ARGUMENT...]")
    kernel = commands.add_parser("kernel", help="be a Jupyter kernel (for kernelspec nbrw-repeat)")
    kernel.add_argument("-f", dest="connection", required=True, metavar="CONNECTION_FILE")
    commands.add_parser("help", help="print this")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["slurm-keeper"]:  # nobody's but ours
        from nbrw_runtime.slurm_keeper import keep

        return keep(words[1], int(words[2]))
    rest: list[str] = []
    if "--" in words and words[0] in _WITH_REST:
        # argparse gives what follows an option to no positional argument of any number.
        words, rest = words[: words.index("--")], words[words.index("--") + 1 :]
    options = parser.parse_args(words)
    options.rest = rest
    if options.command in (None, "help"):
        parser.print_help()
        return EXIT_OK
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _COMMANDS[options.command](options)
    except NbrwError as error:
        print(f"nbrw: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("nbrw: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK


def _numbers(text: str) -> tuple[int, ...]:
    """Cells as in ``3,5-7``."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"not cells such as 3,5-7: {text!r}")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _recipe_path() -> str:
    return os.environ.get("NBRW_RECIPE", RECIPE_PATH)


def _recipe() -> Recipe:
    return _recipe_and_digest()[0]


def _recipe_and_digest() -> tuple[Recipe, Digest]:
    path = _recipe_path()
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"read {path}: {error.strerror}; this command runs inside an image of nbrw"
        ) from error
    recipe = read_recipe(data, path)
    # Of a partial image who unpacked it says what it lacks.
    left = Path(path).with_name(Path(LEFT_BEHIND_PATH).name)
    if left.exists():
        found = read_left_behind(left.read_bytes(), str(left))
        recipe = replace(recipe, left_behind=found)
    return recipe, digest_bytes(data)


def _tolerance(text: str) -> Tolerance:
    try:
        return parse_tolerance(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _repeat(options: argparse.Namespace) -> int:
    recipe, identity = _recipe_and_digest()
    from nbrw_runtime.held_directory import held
    from nbrw_runtime.parameters import parse_value
    from nbrw_runtime.plan import Request
    from nbrw_runtime.repeat import RepeatOptions, run_repeat
    from nbrw_runtime.report import (
        NOT_CHECKED,
        SIGNATURE_VARIABLE,
        cells_phrase,
        report_text,
        report_to_json,
    )
    from nbrw_runtime.session_file import write_atomically

    if _files_are_hidden():
        return EXIT_HOST
    if (options.start is not None) + options.everything + bool(options.cells) > 1:
        raise UsageError("repeat --from, --cells and --all: give one of them")
    # What is restored is the author's own and proves nothing: to verify is to run.
    chosen = options.start is not None or options.everything or bool(options.cells)
    request = Request(options.start, options.everything, options.cells)
    if options.verify and not chosen:
        request = Request(everything=True, word="--verify")
    watch = _line if sys.stderr.isatty() and not options.json else _nothing
    with contextlib.ExitStack() as stack:
        path = options.report and Path(os.path.abspath(options.report))
        place = path and stack.enter_context(held(path))
        chosen_options = RepeatOptions(
            options.notebook,
            request,
            options.dry_run,
            options.output and Path(os.path.abspath(options.output)),
            options.work_dir,
            options.timeout,
            options.allow_errors,
            {name: parse_value(text) for name, text in options.parameters},
            options.verify,
            options.tolerance,
            options.keep and not options.verify,
            options.tasks and not options.verify and not options.everything,
            stack.enter_context(cluster_options.opened(options, str(identity))),
            identity,
            " ".join(os.environ.pop(SIGNATURE_VARIABLE, NOT_CHECKED).split()),
        )
        report = run_repeat(recipe, chosen_options, watch)
        text = json.dumps(report_to_json(report), indent=1)
        if place:
            write_atomically(place, text.encode() + b"\n")
    print(text if options.json else report_text(report))
    failed = [cell for cell in report.cells if cell.action == "failed"]
    for cell in failed:
        print(f"nbrw: {cell.error}", file=sys.stderr)
    if failed:
        return EXIT_CELL
    different = report.numbers("different")
    if not (options.verify and different):
        return EXIT_OK
    print(
        f"nbrw: verify: what {cells_phrase(different)} left differs from the author's; the report "
        "says in what, --tolerance widens what counts as equal",
        file=sys.stderr,
    )
    return EXIT_DIFFERENT


def _files_are_hidden() -> bool:
    """Whether the container lacks files of the image; then it is said."""
    from nbrw_runtime.view import hidden_mounts

    hidden = hidden_mounts()
    for mount in hidden[:1]:
        print(
            f"nbrw: the container mounts {mount} over files of the image; "
            "start it without that mount",
            file=sys.stderr,
        )
    return bool(hidden)


def _line(text: str) -> None:
    print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
    if not text.startswith(("cell", "restore", "start")):
        print(file=sys.stderr)


def _nothing(text: str) -> None:
    pass


def _why(options: argparse.Namespace) -> int:
    return why_cli.run(options, _recipe())


def _inspect(options: argparse.Namespace) -> int:
    from nbrw_runtime.describe import describe, describe_text

    description = describe(_recipe())
    print(json.dumps(description, indent=1) if options.json else describe_text(description))
    return EXIT_OK


def _role(options: argparse.Namespace) -> int:
    """The scheduler or a worker."""
    from nbrw_runtime.digest import digest_file

    recipe = _recipe()
    if _files_are_hidden():
        return EXIT_HOST
    return cluster_cli.run(options, recipe, str(digest_file(_recipe_path())[0]))


def _exec(options: argparse.Namespace) -> int:
    words = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not words:
        raise UsageError("exec: name a program")
    if words[0] in ("python", "python3"):
        words[0] = "/nbrw/bin/python"
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise UsageError(f"exec {words[0]}: {error.strerror}") from error


def _kernel(options: argparse.Namespace) -> int:
    """Become the repeat kernel of the author's notebook; nothing is restored by itself."""
    import tempfile

    from nbrw_runtime.notebook import code_cells
    from nbrw_runtime.repeat_kernel import kernel_argv, kernel_environment, prepare_session

    recipe = _recipe()
    scratch = Path(tempfile.mkdtemp(prefix="nbrw-kernel-"))
    session, _ = prepare_session(recipe, code_cells(recipe.notebook), os.getcwd(), scratch)
    connection = options.connection
    argv = [w.replace("{connection_file}", connection) for w in kernel_argv(recipe, session)]
    os.execve(argv[0], argv, kernel_environment(recipe, scratch))


#: What stands after ``--`` is for another program.
_WITH_REST = {"scheduler", "worker", "kubernetes", *(f"{s}-script" for s in batch_cli.SYSTEMS)}
_COMMANDS = {
    "repeat": _repeat,
    "why": _why,
    "inspect": _inspect,
    "cache": cache_cli.run,
    "scheduler": _role,
    "worker": _role,
    **{f"{system}-script": batch_cli.run for system in batch_cli.SYSTEMS},
    "kubernetes": batch_cli.run,
    "exec": _exec,
    "kernel": _kernel,
}
