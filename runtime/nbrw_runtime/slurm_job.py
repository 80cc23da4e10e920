"""What a keeper is told, and the job script of one worker under Slurm."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass

from nbrw_runtime.clusters import WorkerRequest, clock

_DEATH_SECONDS = 30.0  # a worker without scheduler ends
#: Before its walltime ends a worker hands over what it has, if it lives so much longer.
_HAND_OVER = 60
_UNSET = (
    "for name in $(compgen -e); do case $name in APPTAINER* | SINGULARITY* | LD_* | PYTHON*) "
    'unset "$name" ;; esac; done'
)


@dataclass(frozen=True)
class Orders:
    """``name`` is that of all jobs of one keeper, and of nobody else's.

    ``idle``: for how many seconds a worker beyond the least number is kept that has nothing to do.
    """

    image: str
    asked: WorkerRequest
    name: str
    directory: str
    tls: str = ""
    idle: float = 0.0


def job_script(orders: Orders, address: str, worker: str) -> str:
    """The job of the worker with this name."""
    asked = orders.asked
    words = ["--name", worker, "--cores", str(asked.cores or 1)]
    words += ["--death-timeout", f"{_DEATH_SECONDS:g}"]
    words += ["--memory", str(asked.memory)] if asked.memory else []
    words += ["--interface", asked.interface] if asked.interface else []
    words += ["--tls", orders.tls] if orders.tls else []
    if asked.walltime > 2 * _HAND_OVER:
        words += ["--", "--lifetime", f"{asked.walltime - _HAND_OVER}s"]
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={orders.name}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={asked.cores or 1}",
        "#SBATCH --no-requeue",
        f"#SBATCH --output={orders.directory}/worker-%j.log",
    ]
    lines += [f"#SBATCH --mem={-(-asked.memory // 2**20)}M"] if asked.memory else []
    lines += [f"#SBATCH --time={clock(asked.walltime)}"] if asked.walltime else []
    lines += [f"#SBATCH --partition={asked.queue}"] if asked.queue else []
    lines += [f"#SBATCH --account={asked.account}"] if asked.account else []
    run = ["apptainer", "-q", "run", orders.image, "worker", address, *words]
    return "\n".join([*lines, _UNSET, f"exec {shlex.join(run)}", ""])


def own_command() -> list[str]:
    """This program, started anew."""
    if os.access("/nbrw/bin/nbrw", os.X_OK):
        return ["/nbrw/bin/nbrw"]
    return [sys.executable, "-m", "nbrw_runtime"]
