"""srun -n5 apptainer exec IMAGE python3 slurmrunner.py: of the tasks, one becomes the scheduler,
one goes on with this program, the others are workers.  Nothing of Slurm is needed in the image."""

import os
import socket

from dask.distributed import Client
from dask_jobqueue.slurm import SLURMRunner

with (
    SLURMRunner(scheduler_file=os.path.expanduser("~/scheduler-{job_id}.json")) as runner,
    Client(runner) as client,
):
    client.wait_for_workers(runner.n_workers, timeout=60)
    print("client on", socket.gethostname(), client.run(socket.gethostname))
    print(sum(client.gather(client.map(lambda x: x * x, range(100)))))
