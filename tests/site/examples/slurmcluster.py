"""A program in the image that gets Dask workers, from the same image, by sbatch.

Needs sbatch and scancel on PATH (links to hostroot or door), a shared home folder,
and an address of this machine that the nodes can reach.
"""

import os
import shutil
import socket
import time

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    began = time.time()
    image = os.environ["APPTAINER_CONTAINER"]  # this very image
    cluster = SLURMCluster(
        queue="main",
        cores=2,
        processes=1,
        memory="1GiB",
        walltime="00:10:00",
        python=f"apptainer -q exec {image} python3",  # what a job runs
        local_directory="/tmp",
        log_directory=os.path.expanduser("~/logs"),
        scheduler_options={
            "host": socket.gethostbyname(socket.gethostname()),
            "dashboard_address": None,
        },
        job_extra_directives=os.environ.get("EXTRA", "").split(),
    )
    cluster.scale(jobs=2)
    client = Client(cluster)
    client.wait_for_workers(2, timeout=60)
    print(f"sbatch is {shutil.which('sbatch')}; two workers after {time.time() - began:.1f} s")
    print(
        client.run(socket.gethostname), sum(client.gather(client.map(lambda x: x * x, range(100))))
    )
    client.close()
    cluster.close()
