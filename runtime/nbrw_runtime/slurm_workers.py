"""Workers of a repeat as jobs of Slurm, and a scheduler for them, from inside a container."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from nbrw_runtime.clusters import WorkerRequest
from nbrw_runtime.errors import UsageError
from nbrw_runtime.host_programs import HostPrograms
from nbrw_runtime.records import to_json
from nbrw_runtime.slurm_job import Orders, own_command

#: For how many seconds a worker is kept that nobody needs, if their number may change: a cell that
#: computes in the kernel for a while is followed by one that has tasks, and jobs may wait long.
IDLE_SECONDS = 30.0


@contextlib.contextmanager
def opened(
    asked: WorkerRequest, tls: str, work_dir: Path, idle: float = IDLE_SECONDS
) -> Iterator[str]:
    """Have workers started while the block lasts; yields the scheduler's address.

    A keeper does it (`slurm_keeper.py`). Raises UsageError.
    """
    image = os.environ.get("APPTAINER_CONTAINER", "")
    programs = HostPrograms("sbatch")
    if not image.endswith(".sif") or not programs.has(os.path.abspath(image)):
        raise UsageError(
            "--cluster slurm: it is not known which SIF file this is, and jobs start from it; "
            "start it with `apptainer run FILE.sif`, or print a job with `slurm-script`"
        )
    # Where jobs can write; what they say is shown if something is wrong.
    with tempfile.TemporaryDirectory(
        prefix=".nbrw-cluster-", dir=work_dir.resolve(), ignore_cleanup_errors=True
    ) as place:
        name = f"nbrw-{uuid.uuid4().hex[:12]}"
        orders = Orders(os.path.abspath(image), asked, name, place, tls, idle)
        ours, theirs = os.pipe()
        words = [*own_command(), "slurm-keeper", json.dumps(to_json(orders)), str(ours)]
        keeper = subprocess.Popen(
            words, cwd=work_dir, pass_fds=[ours], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        os.close(ours)
        try:
            assert keeper.stdout is not None
            address = keeper.stdout.readline().strip()
            if not address.startswith(("tcp://", "tls://")):
                raise UsageError(f"--cluster slurm: {address or 'the scheduler did not start'}")
            print(f"nbrw: workers by {programs.way}", file=sys.stderr)
            yield address
        finally:
            os.close(theirs)
            keeper.wait()
