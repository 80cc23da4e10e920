"""The commands of an image that print jobs: `slurm-script` and its like, `kubernetes`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbrw_runtime import cluster_options
from nbrw_runtime.batch_scripts import SYSTEMS, BatchJob, batch_script
from nbrw_runtime.clusters import WorkerRequest, parse_word
from nbrw_runtime.errors import EXIT_OK, UsageError
from nbrw_runtime.kubernetes_job import KubernetesJob, manifests

_NAMES = {"slurm": ("Slurm", "sbatch"), "pbs": ("PBS", "qsub"), "lsf": ("LSF", "bsub <"),
          "sge": ("Grid Engine", "qsub")}  # fmt: skip
_EXAMPLES = """\
examples:
  {0}-script --workers 8 --nodes 2 --cores 4 --memory 8GB --walltime 2h > job.sh && {1} job.sh
  {0}-script --workers 4 -- --from 3 -o out.ipynb > job.sh
"""


def add_parsers(commands: Any) -> None:
    """Add them to the commands of an image."""
    raw = argparse.RawDescriptionHelpFormatter
    for system in SYSTEMS:
        name, submit = _NAMES[system]
        parser = commands.add_parser(
            f"{system}-script",
            help=f"print a {name} job that repeats on workers of this image",
            description=f"Print a {name} job: a scheduler, workers and `repeat`, from this image. "
            f"It needs Apptainer and {name}, and a work directory that all nodes see.",
            epilog=_EXAMPLES.format(system, submit),
            formatter_class=raw,
        )
        parser.add_argument("--image", default="", help="the SIF file (default: this one)")
        parser.add_argument("--nodes", type=int, default=1, metavar="N", help="default: 1")
        parser.add_argument(
            "--bind", action="append", default=[], metavar="DIR", help="Apptainer's -B; may be more"
        )
        parser.add_argument("--tls", action="store_true", help="encrypt; needs openssl on the node")
        if system == "sge":
            parser.add_argument("--pe", default="mpi", help="the parallel environment")
        _add_common(parser)
    parser = commands.add_parser(
        "kubernetes",
        help="print manifests for Kubernetes",
        description="Print manifests: a Job with scheduler and `repeat`, and one of workers.",
        epilog="examples:\n"
        "  kubernetes --image registry/team/nb:v1 --workers 8 | kubectl apply -f -",
        formatter_class=raw,
    )
    parser.add_argument("--image", required=True, help="its name in a registry")
    parser.add_argument(
        "--claim", default="", help="a volume claim for the work directory, shared by all pods"
    )
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="repeat", help="of the job (default: repeat)")
    cluster_options.add_workers(parser.add_argument_group("workers"))


def run(options: argparse.Namespace) -> int:
    """Print it; returns the exit code. Raises UsageError."""
    asked = cluster_options.request(options)
    if asked.most > asked.workers:
        raise UsageError(f"--workers {options.workers}: a job has a number of them, no range")
    name = parse_word("--name", options.name)
    if options.command == "kubernetes":
        refused = [n for n in ("queue", "account", "interface") if getattr(asked, n)]
        if refused:
            raise UsageError(f"--{refused[0]}: Kubernetes knows none")
        asked = replace(asked, workers=asked.workers or 2)
        pods = KubernetesJob(options.image, asked, name, options.rest, options.claim)
        print(json.dumps(manifests(pods), indent=1))
        return EXIT_OK
    system = options.command.partition("-")[0]
    print(batch_script(system, job_of(options, asked, os.environ), template), end="")
    return EXIT_OK


def job_of(
    options: argparse.Namespace, asked: WorkerRequest, variables: Mapping[str, str]
) -> BatchJob:
    """The job that these options describe; ``options.rest`` are those of `repeat`."""
    # Where the image is not a file it names a directory that is gone when we end.
    found = variables.get("APPTAINER_CONTAINER", "")
    image = options.image or (found if found.endswith(".sif") else "")
    if not image:
        raise UsageError(
            f"{options.command}: it is not known which SIF file this is; name it with --image PATH"
        )
    return BatchJob(
        os.path.abspath(image),
        replace(asked, workers=asked.workers or max(2, options.nodes)),
        options.nodes,
        parse_word("--name", options.name),
        options.rest,
        options.bind,
        options.tls,
        parse_word("--pe", getattr(options, "pe", "mpi")),
    )


def template(name: str) -> str:
    """The text of a batch template: in an image below ``/nbrw/share``, else in a checkout."""
    above = Path(__file__).resolve().parents[2]
    places = [above / "share/batch", above / "templates/batch"]
    found = next((place for place in places if place.is_dir()), places[0])
    return (found / name).read_text(encoding="utf-8")
