"""Batch scripts that start a scheduler, workers and a repeat of one image in one job. Pure.

The texts are ``templates/batch/*.in``; ``%%{name}`` in them is replaced.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nbrw_runtime.clusters import WorkerRequest, clock
from nbrw_runtime.errors import UsageError

#: Beside its workers a node may have the scheduler, the repeat and its kernel.
_BESIDE = 2 * 10**9
SYSTEMS = ("slurm", "pbs", "lsf", "sge")


@dataclass(frozen=True)
class BatchJob:
    """One job: ``asked`` of the workers, which are spread evenly over ``nodes``.

    ``image`` is a path that all nodes have, ``binds`` are Apptainer's, ``arguments`` are those of
    `repeat`. ``environment`` is SGE's parallel environment.
    """

    image: str
    asked: WorkerRequest
    nodes: int = 1
    name: str = "repeat"
    arguments: Sequence[str] = ()
    binds: Sequence[str] = ()
    tls: bool = False
    environment: str = "mpi"

    def __post_init__(self) -> None:
        if not self.image.startswith("/") or any(c in self.image for c in "\n\0"):
            raise UsageError(f"--image {self.image!r}: not the absolute path of a SIF file")
        if self.nodes < 1 or self.asked.workers < self.nodes:
            raise UsageError(
                f"--nodes {self.nodes} --workers {self.asked.workers}: give each node a worker"
            )

    @property
    def on_each(self) -> int:
        """Workers of a node."""
        return -(-self.asked.workers // self.nodes)

    @property
    def cpus(self) -> int:
        """CPUs of a node."""
        return self.on_each * (self.asked.cores or 1)

    @property
    def memory(self) -> int:
        """Bytes of a node; 0: nothing was asked for."""
        return self.on_each * self.asked.memory + _BESIDE if self.asked.memory else 0


class _Text(string.Template):
    delimiter = "%%"


def batch_script(system: str, job: BatchJob, text: Callable[[str], str]) -> str:
    """The script for one of ``SYSTEMS``; ``text`` gives a template by its name."""
    asked = job.asked
    worker = ["--workers", str(job.on_each), "--cores", str(asked.cores or 1)]
    worker += ["--memory", str(asked.memory)] if asked.memory else []
    worker += ["--interface", asked.interface] if asked.interface else []
    values = {
        "name": job.name,
        "nodes": str(job.nodes),
        "cpus": str(job.cpus),
        "slots": str(job.cpus * job.nodes),
        "workers": str(job.on_each * job.nodes),
        "environment": job.environment,
        "memory": f":mem={-(-job.memory // 10**6)}mb" if job.memory else "",
        "directives": "\n".join(_DIRECTIVES[system](job)),
        "image": shlex.quote(job.image),
        "options": " ".join(f"-B {shlex.quote(bind)}" for bind in job.binds),
        "arguments": shlex.join(job.arguments),
        "network": f"--interface {shlex.quote(asked.interface)} " if asked.interface else "",
        "worker": shlex.quote(" " + shlex.join(worker)),
        "certificates": text("certificates.sh.in") if job.tls else "",
    }
    values["start"] = _filled(text(f"{system}-start.sh.in"), values).strip().replace("\n", "\n  ")
    lines = _filled(text(f"{system}-head.sh.in") + text("body.sh.in"), values)
    return "\n".join(line.rstrip() for line in lines.splitlines()) + "\n"


def _filled(text: str, values: dict[str, str]) -> str:
    return _Text(text).substitute(values)


def _slurm(job: BatchJob) -> list[str]:
    asked, found = job.asked, []
    found += [f"#SBATCH --mem={-(-job.memory // 2**20)}M"] if job.memory else []
    found += [f"#SBATCH --time={clock(asked.walltime)}"] if asked.walltime else []
    found += [f"#SBATCH --partition={asked.queue}"] if asked.queue else []
    return found + ([f"#SBATCH --account={asked.account}"] if asked.account else [])


def _pbs(job: BatchJob) -> list[str]:
    asked, found = job.asked, []
    found += [f"#PBS -l walltime={clock(asked.walltime)}"] if asked.walltime else []
    found += [f"#PBS -q {asked.queue}"] if asked.queue else []
    return found + ([f"#PBS -A {asked.account}"] if asked.account else [])


def _lsf(job: BatchJob) -> list[str]:
    asked, found = job.asked, []
    found += [f'#BSUB -R "rusage[mem={-(-job.memory // 10**6)}MB]"'] if job.memory else []
    minutes = -(-asked.walltime // 60)
    found += [f"#BSUB -W {minutes // 60}:{minutes % 60:02d}"] if minutes else []
    found += [f"#BSUB -q {asked.queue}"] if asked.queue else []
    return found + ([f"#BSUB -P {asked.account}"] if asked.account else [])


def _sge(job: BatchJob) -> list[str]:
    asked, found = job.asked, []
    # For each slot.
    found += [f"#$ -l h_vmem={-(-job.memory // job.cpus // 2**20)}M"] if job.memory else []
    found += [f"#$ -l h_rt={clock(asked.walltime)}"] if asked.walltime else []
    found += [f"#$ -q {asked.queue}"] if asked.queue else []
    return found + ([f"#$ -P {asked.account}"] if asked.account else [])


_DIRECTIVES = {"slurm": _slurm, "pbs": _pbs, "lsf": _lsf, "sge": _sge}
