"""The commands `scheduler` and `worker` of an image."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbrw_runtime.clusters import parse_cluster, parse_memory
from nbrw_runtime.errors import UsageError
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.records import from_json

_SCHEDULER_EXAMPLES = """\
examples:
  scheduler                                         on this machine's address, port 8786
  scheduler --scheduler-file s.json --port 0        any port; the file says which
  scheduler --interface ib0 --tls certs             encrypted; certificates are made in certs/
  scheduler -- --idle-timeout 1h                    with options of `dask scheduler`
"""
_WORKER_EXAMPLES = """\
examples:
  worker tcp://login1:8786                          as many threads as there are cores
  worker scheduler-file:s.json --workers 4 --cores 2 --memory 4GB
  worker tls://10.0.0.1:8786 --tls certs --private  where nodes share no work directory
  worker tcp://login1:8786 -- --lifetime 55m        with options of `dask worker`
"""
_NOBODY = "127.0.0.1:0"


def add_parsers(commands: Any) -> None:
    """Add both to the commands of an image."""
    raw = argparse.RawDescriptionHelpFormatter
    scheduler = commands.add_parser(
        "scheduler",
        help="be the Dask scheduler of workers and repeats of this image",
        description="Dask's scheduler, for workers and repeats of this image. Without encryption "
        "(--tls) anybody who reaches its port can run code as you.",
        epilog=_SCHEDULER_EXAMPLES,
        formatter_class=raw,
    )
    add = scheduler.add_argument
    add("--host", default="", help="the address to listen on (default: this machine's)")
    add("--interface", default="", metavar="NAME", help="listen there instead, as on ib0")
    add("--port", type=int, default=8786, help="0: any that is free (default: 8786)")
    add("--scheduler-file", type=Path, metavar="FILE", help="write there how it is reached")
    add("--keeper", default="", help=argparse.SUPPRESS)  # nobody's but ours
    add("--dashboard", metavar="[HOST]:PORT", help="serve Dask's dashboard there (default: not)")
    worker = commands.add_parser(
        "worker",
        help="be a Dask worker of a scheduler of this image",
        description="A Dask worker, in the notebook's environment, with the author's paths.",
        epilog=_WORKER_EXAMPLES,
        formatter_class=raw,
    )
    add = worker.add_argument
    add("scheduler", metavar="SCHEDULER", help="tcp://..., tls://..., or scheduler-file:PATH")
    add("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    add("--cores", type=int, default=0, metavar="C", help="threads of each (default: all cores)")
    add("--memory", default="", metavar="M", help="of each, as in 4GB (default: what there is)")
    add("--host", default="", help="the address to listen on")
    add("--interface", default="", metavar="NAME", help="listen there instead, as on ib0")
    add("--name", default="", help="its name for the scheduler (default: its address)")
    add(
        "--death-timeout", type=float, default=60.0, metavar="SECONDS",
        help="end when the scheduler is not there for so long (default: 60)",
    )  # fmt: skip
    add(
        "--work-dir", type=Path, default=Path(), metavar="DIR",
        help="the repeat's work directory, as this node sees it (default: the current one)",
    )  # fmt: skip
    add(
        "--private", action="store_true",
        help="nodes share no work directory: use an empty one with the author's inputs",
    )  # fmt: skip
    for parser in (scheduler, worker):
        parser.add_argument(
            "--tls", type=Path, metavar="DIR", help="encrypt, with the certificates in DIR"
        )


def run(options: argparse.Namespace, recipe: Recipe, image: str) -> int:
    """Run one; returns the exit code. ``image`` is the digest of the recipe."""
    from nbrw_runtime.cluster_process import Keeper, RoleOptions, address_here, run_role

    role = options.command
    tls = options.tls and Path(os.path.abspath(options.tls))
    found = RoleOptions(role, image, tls=tls)
    words = _where(options)
    if role == "scheduler":
        if not words:
            words = ["--host", address_here()]
        words += ["--port", str(options.port), "--protocol", "tls" if tls else "tcp"]
        if options.scheduler_file:
            words += ["--scheduler-file", os.path.abspath(options.scheduler_file)]
        words += [] if options.dashboard else ["--no-dashboard"]
        # What is served beside a dashboard is served in any case.
        words += ["--dashboard-address", options.dashboard or _NOBODY]
        keeper = from_json(Keeper, json.loads(options.keeper), "") if options.keeper else None
        return run_role(recipe, replace(found, words=(*words, *options.rest), keeper=keeper))
    choice = parse_cluster(options.scheduler)
    if choice.kind == "address":
        if choice.place.startswith("tls://") != bool(tls):
            raise UsageError(f"worker {choice.place}: tls:// and --tls DIR belong together")
        found = replace(found, address=choice.place)
        words.insert(0, choice.place)
    elif choice.kind == "file":
        found = replace(found, file=os.path.abspath(choice.place))
        words += ["--scheduler-file", found.file]
    else:
        raise UsageError(f"worker {options.scheduler}: name a scheduler, as in tcp://HOST:PORT")
    if options.workers < 1 or options.cores < 0:
        raise UsageError("worker: --workers must be above 0, and --cores not below")
    words += ["--nworkers", str(options.workers), "--no-dashboard"]
    words += ["--dashboard-address", _NOBODY]
    words += ["--nthreads", str(options.cores)] if options.cores else []
    words += ["--memory-limit", str(parse_memory(options.memory))] if options.memory else []
    words += ["--name", options.name] if options.name else []
    words += ["--death-timeout", f"{options.death_timeout:g}"]
    return run_role(
        recipe,
        replace(
            found,
            words=(*words, *options.rest),
            wait=options.death_timeout,
            work_dir=options.work_dir,
            private=options.private,
        ),
    )


def _where(options: argparse.Namespace) -> list[str]:
    if options.host and options.interface:
        raise UsageError(f"{options.command}: give --host or --interface, not both")
    if options.host:
        return ["--host", options.host]
    return ["--interface", options.interface] if options.interface else []
