"""What each contender runs at the site, and the notebook that all of them run."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = "/share/first-task.sif"
FILES = ("first-task.ipynb", "first-task.py")  # the notebook for so many workers, the peer's script
NODES = 2

#: Of the notebook. Tasks say when they run: machines of the site have one clock.
PARAMETERS = "workers = 1"
CONNECT = "from dask.distributed import Client\nclient = Client(n_workers=1, threads_per_worker=1)"
FIRST = (
    "import time\n"
    "def now(*arguments):\n    return time.time()\n"
    "print('first', client.submit(now, pure=False).result())"
)
ALL = (
    "while len(client.scheduler_info(n_workers=-1)['workers']) < workers:\n    time.sleep(0.02)\n"
    "print('all', max(client.run(now).values()))"
)
#: The peer's: the same without a notebook.
SCRIPT = "\n".join(
    [
        "import os, sys",
        "workers = int(sys.argv[2])",
        "from dask.distributed import Client",
        "client = Client(scheduler_file=sys.argv[1])",
        FIRST,
        ALL,
        "client.shutdown()",
    ]
)

_DASK = f"apptainer -q exec {IMAGE} /nbrw/bin/python -m"
_SCHEDULER = (
    f"{_DASK} distributed.cli.dask_scheduler --scheduler-file s.json --port 0 --host $(hostname)"
)
_WORKER = f"{_DASK} distributed.cli.dask_worker --scheduler-file s.json --nthreads 1"
_BARE = f"""{_SCHEDULER} --no-dashboard >scheduler.log 2>&1 &
scheduler=$!
srun -N{NODES} -n{{workers}} --cpus-per-task=1 {_WORKER} --no-dashboard --local-directory /tmp \\
  >workers.log 2>&1 &
until [ -s s.json ]; do sleep 0.02; done
apptainer -q exec {IMAGE} /nbrw/bin/python {FILES[1]} s.json {{workers}}
wait $scheduler
"""


@dataclass(frozen=True)
class Contender:
    """``script`` is of shell, run on the login node in a directory that nodes see and that has
    nothing but ``FILES``, with ``{workers}``; what the notebook shows goes to its output or to
    ``out.ipynb``. ``peer`` names the contender that it is compared with.
    """

    name: str
    script: str
    peer: str = ""

    def command(self, workers: int) -> str:
        """The script, timed by the site's clock."""
        return "date '+began %s.%N'\n" + self.script.replace("{workers}", str(workers))


def _in_job(script: str) -> str:
    return (
        f"cat >job.sh <<'JOB'\n#!/bin/bash\n#SBATCH -N{NODES} -n{{workers}} -o job.log\n"
        f"{script}JOB\nsbatch --wait --quiet job.sh; code=$?; cat job.log; exit $code\n"
    )


_WORDS = f"{FILES[0]} --all --no-keep -o out.ipynb"
CONTENDERS = (
    Contender("srun apptainer exec, from the login node", _BARE),
    Contender(
        "repeat --cluster slurm",
        f"apptainer run -B /:/host {IMAGE} repeat {_WORDS} --cluster slurm --workers {{workers}} "
        "--cores 1 --walltime 10m >said 2>&1 || { cat said >&2; exit 1; }\n",
        peer="srun apptainer exec, from the login node",
    ),
    Contender("srun apptainer exec, in one job", _in_job(_BARE)),
    Contender(
        "slurm-script, sbatch",
        f"apptainer run {IMAGE} slurm-script --nodes {NODES} --workers {{workers}} --cores 1 "
        f"--walltime 10m -- {_WORDS} >job.sh && sbatch --wait --quiet job.sh >said 2>&1 || "
        "{ cat said repeat-*.log >&2; exit 1; }\n",
        peer="srun apptainer exec, in one job",
    ),
)
