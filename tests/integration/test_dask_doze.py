"""In a repeat the workers of a LocalCluster are started by the first who needs them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.integration
pytest.importorskip("distributed")

START = """
import sys
from nbrw_runtime import dask_doze
from nbrw_runtime.import_watch import when_loaded
when_loaded("distributed.deploy.local",
            lambda module: dask_doze.patch(module.LocalCluster, lambda: True))
assert "dask" not in sys.modules
import distributed
from distributed import Client, LocalCluster
OPTIONS = dict(n_workers=2, threads_per_worker=1, dashboard_address=":0")
def started(cluster):
    return len(vars(cluster)["workers"])
"""
LOOKS = {
    "the workers": "assert len(cluster.workers) == 2",
    "the scheduler": "assert len(cluster.scheduler.workers) == 2",
    "what the scheduler says": "assert len(cluster.scheduler_info['workers']) == 2",
    "how it is shown": "assert 'workers=2' in repr(cluster)",
    "its display": "assert 'Workers' in cluster._repr_html_()",
    "waiting for workers": "cluster.wait_for_workers(2)",
    "adaptive scaling": "cluster.adapt(minimum=2, maximum=2); cluster.wait_for_workers(2)",
}


def run(source, **variables):
    """In a process of its own: classes of Dask are changed."""
    code = START + "if __name__ == '__main__':\n" + textwrap.indent(textwrap.dedent(source), "    ")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("look", LOOKS)
def test_who_looks_at_the_workers_finds_them_all(look):
    """They are there as if they had always been."""
    run(f"""
    with LocalCluster(**OPTIONS) as cluster:
        assert started(cluster) == 0
        {LOOKS[look]}
        assert started(cluster) == 2
    """)


@pytest.mark.parametrize("look", LOOKS)
def test_a_cluster_of_jobs_stands_for_one_that_does_the_same(look, tmp_path):
    """A class of dask-jobqueue, which submits nothing in a repeat."""
    source = f"""
    import warnings
    from nbrw_runtime import dask_redirect
    from nbrw_runtime.session_file import ClusterOrders
    warnings.simplefilter("error")
    dask_redirect.install(ClusterOrders(workers=2))
    from dask_jobqueue import SLURMCluster
    with SLURMCluster(cores=4, memory="1GB") as cluster, Client(cluster) as client:
        cluster.scale(2)
        here = vars(cluster)[dask_doze.HERE]
        assert isinstance(cluster, SLURMCluster) and started(here) == 0
        {LOOKS[look]}
        client.wait_for_workers(2, timeout=60)
        assert started(here) == 2
    """
    run(source, DASK_CONFIG=str(tmp_path))  # dask-jobqueue writes its settings there


def test_a_cluster_that_nobody_needed_ends_without_having_started_workers():
    """Made by itself, or by a client."""
    run("""
    with LocalCluster(**OPTIONS) as cluster, Client(cluster) as client:
        assert cluster.scheduler_address and client.status == "running"
        assert started(cluster) == 0
        cluster.scale(3)
        assert started(cluster) == 0
    with Client(**OPTIONS) as client:
        assert started(client.cluster) == 0
    """)


def test_workers_in_this_process_and_asynchronous_clusters_start_at_once():
    """There is little to be saved, and nobody may wait."""
    run("""
    import asyncio
    with LocalCluster(processes=False, **OPTIONS) as cluster:
        assert started(cluster) == 2
    async def alone():
        async with LocalCluster(asynchronous=True, **OPTIONS) as cluster:
            assert started(cluster) == 2
    asyncio.run(alone())
    """)


def test_started_workers_are_as_many_as_the_notebook_asked_for_by_then():
    """With all that was said about them."""
    run("""
    with LocalCluster(name="mine", resources={"GPU": 1}, **OPTIONS) as cluster:
        cluster.scale(3)
        dask_doze.start(cluster)
        dask_doze.wake(cluster)
        assert started(cluster) == 3
        assert {w["resources"]["GPU"] for w in cluster.scheduler_info["workers"].values()} == {1}
    """)
