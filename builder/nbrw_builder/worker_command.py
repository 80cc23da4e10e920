"""`nbrw worker`: a Dask worker under the tracer, for an audit whose workers run elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from nbrw_builder.errors import HostError

_EPILOG = """\b
Examples:
  nbrw worker tcp://login1:8786 --nworkers 4 --nthreads 1
  nbrw worker --python ~/env/bin/python --scheduler-file scheduler.json
  srun -N 2 nbrw worker tcp://login1:8786 --memory-limit 8GB

\b
With dask-jobqueue, in ~/.config/dask/jobqueue.yaml or as its argument `python`:
  jobqueue:
    slurm:
      python: nbrw worker --python /path/of/env/bin/python

\b
Exit codes: those of `dask worker`; 5 if there is no Dask, or the host lacks something."""


@click.command(
    "worker",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=_EPILOG,
    no_args_is_help=True,
)
@click.option(
    "--python", metavar="PATH",
    help="The Python of the notebook's environment.  [default: nbrw's own if it has Dask, else "
    "`python` of PATH]",
)  # fmt: skip
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SCHEDULER] [OPTIONS]")
def worker_command(python: str | None, arguments: Sequence[str]) -> None:
    """Start `dask worker` with its system calls traced. SCHEDULER and OPTIONS are its own.

    While a notebook that uses it is audited (`nbrw-build`), what its tasks read, write and load
    comes back through Dask and belongs to the cell that submitted the task. Nobody else's work is
    slowed down: tracing costs system calls that open or change files a few microseconds each.
    """
    from nbrw_builder.kernelspec import runtime_root
    from nbrw_builder.tracer import main

    program = [_python(python), *_program(arguments)]
    place = Path(tempfile.mkdtemp(prefix="nbrw-worker-"))
    options = ["--out", str(place), "--written", str(place / "written"), "--worker"]
    for ignored in (place, runtime_root() / "nbrw_runtime"):
        options += ["--ignore", str(ignored)]
    try:
        # The process becomes the worker: whoever started it can signal it and wait for it.
        sys.exit(main([*options, "--", *program]))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _program(arguments: Sequence[str]) -> list[str]:
    """dask-jobqueue names the module itself: ``-m distributed.cli.dask_worker ...``."""
    if arguments[:1] == ("-m",):
        return list(arguments)
    return ["-m", "distributed.cli.dask_worker", *arguments]


def _python(wanted: str | None) -> str:
    if wanted is None and importlib.util.find_spec("distributed") is not None:
        return sys.executable
    found = shutil.which(os.path.expanduser(wanted or "python"))
    if found is None:
        raise HostError(
            f"start a worker with {wanted or 'python'}: there is no such program; name the Python "
            "of the notebook's environment with --python"
        )
    return found
