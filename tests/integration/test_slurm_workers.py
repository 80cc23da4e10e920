"""`--cluster slurm`: jobs that come, are replaced, and go with the repeat. Slurm is three scripts
here; `test_cluster_site.py` has a real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster_helper import Image, alive, wait_for
from nbrw_runtime.clusters import WorkerRequest
from nbrw_runtime.errors import UsageError
from nbrw_runtime.host_programs import HostPrograms
from nbrw_runtime.slurm_job import Orders, job_script
from notebook_helper import environment

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.integration

#: Each job has a file with its process group, and one with what it says.
_PROGRAMS = {
    "sbatch": 'echo "$*" >>"$0.asked"; [ "$(cat "$0.refuses")" = 0 ] || exit 1\n'
    '[ "$1" != --test-only ] || exit 0\n'
    'n=$$; cat >"$0.$n"; setsid bash "$0.$n" >"$0.$n.log" 2>&1 & echo $! >"$0.$n.pid"\n'
    "echo $n\n",
    "squeue": 'for f in "${0%/*}"/sbatch.*.pid; do kill -0 -"$(cat "$f")" 2>/dev/null || continue\n'
    'n=${f%.pid}; echo "${n##*.} RUNNING"; done; exit 0\n',
    "scancel": 'echo "$*" >>"$0.asked"; case $1 in --*) all="${0%/*}"/sbatch.*.pid ;; *)\n'
    'all=$(printf "${0%/*}/sbatch.%s.pid " "$@") ;; esac\n'
    'for f in $all; do kill -TERM -"$(cat "$f")"; done 2>/dev/null; exit 0\n',
    "apptainer": '[ ! -e "$0.lingers" ] || { sleep 600 & echo $! >"$0.lingers"; }\n'
    'while [ "$1" != run ]; do shift; done; shift 2\n'
    "NBRW_RECIPE={recipe} PYTHONPATH={path} exec {python} -m nbrw_runtime $@\n",
}
_REPEAT = """
import sys
import time
from pathlib import Path
from nbrw_runtime.clusters import WorkerRequest
from nbrw_runtime.slurm_workers import opened
with opened(WorkerRequest({least}, {most}, 1), "", Path(), idle=2) as address:
    print(address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Starts what stands for a repeat; the first line that it says is the scheduler's address."""
    bin, work, started = tmp_path / "bin", tmp_path / "work", []
    bin.mkdir()
    work.mkdir()
    image = Image(tmp_path, "one")
    (tmp_path / "one.sif").touch()
    path = os.environ.get("PYTHONPATH", "")
    for name, text in _PROGRAMS.items():
        for word, value in (("recipe", image.path), ("path", path), ("python", sys.executable)):
            text = text.replace(f"{{{word}}}", str(value))
        (bin / name).write_text(f"#!/bin/bash\n{text}")
        (bin / name).chmod(0o755)
    options = image.options(work)
    options["env"] |= {
        "PATH": f"{bin}:{os.environ['PATH']}", "APPTAINER_CONTAINER": str(tmp_path / "one.sif"),
    }  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def _start(least=2, most=2, refuses=0):
        (bin / "sbatch.refuses").write_text(str(refuses))
        text = _REPEAT.format(least=least, most=most)
        process = subprocess.Popen(
            [sys.executable, "-c", text], **(options | pipes | {"text": True})
        )
        process.jobs = lambda: {int(p.read_text()) for p in bin.glob("sbatch.*.pid")}
        process.work, process.bin, process.image = work, bin, image
        started.append(process)
        return process

    yield _start
    for process in started:
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        process.wait(60)
        wait_for(lambda process=process: not alive(process.jobs()), seconds=60)


@pytest.fixture
def repeat(start):
    """One with two workers."""
    return start()


def workers(client):
    return client.scheduler_info(n_workers=-1)["workers"]


def test_workers_come_are_replaced_and_go(repeat):
    """A job that ends, as at its walltime, has another one submitted, as soon as Slurm takes it."""
    address = repeat.stdout.readline().strip()
    with distributed.Client(address) as client:
        wait_for(lambda: len(workers(client)) == 2)
        assert client.submit(sum, [1, 2]).result(30) == 3
        first = min(repeat.jobs())
        (repeat.bin / "sbatch.refuses").write_text("1")
        asked = repeat.bin / "sbatch.asked"
        os.killpg(first, signal.SIGKILL)
        wait_for(lambda: asked.read_text().count("--parsable") == 3)
        (repeat.bin / "sbatch.refuses").write_text("0")
        wait_for(lambda: len(repeat.jobs()) == 3)
        wait_for(lambda: len(workers(client)) == 2)
    repeat.stdin.close()
    assert repeat.wait(60) == 0
    wait_for(lambda: not alive(repeat.jobs()), seconds=30)
    assert os.listdir(repeat.work) == []


def test_jobs_of_a_repeat_that_is_killed_are_cancelled(repeat):
    """Nobody pays for workers of nobody."""
    address = repeat.stdout.readline().strip()
    with distributed.Client(address) as client:
        wait_for(lambda: len(workers(client)) == 2)
    assert len(alive(repeat.jobs())) == 2
    repeat.kill()
    wait_for(lambda: not alive(repeat.jobs()), seconds=30)


def test_workers_come_when_there_are_tasks_and_go_when_there_are_none(start):
    """`--workers 0-3`: no job without a task, no more than three, none when all is done.

    What a worker holds that somebody needs is not lost: the last one stays as long as it is needed.
    """
    repeat = start(0, 3)
    address = repeat.stdout.readline().strip()
    asked = repeat.bin / "sbatch.asked"
    assert asked.read_text() == "--test-only\n"
    with distributed.Client(address) as client:
        held = client.map(lambda x: (time.sleep(0.4), [x] * 9)[1], range(40), pure=False)
        wait_for(lambda: len(workers(client)) == 3)
        assert client.gather(held, direct=False) == [[x] * 9 for x in range(40)]
        wait_for(lambda: len(workers(client)) == 1)
        wait_for(lambda: len(alive(repeat.jobs())) == 1)
        assert client.gather(held) == [[x] * 9 for x in range(40)]
        del held
        wait_for(lambda: not workers(client))
        wait_for(lambda: not alive(repeat.jobs()))
        # And again.
        assert client.submit(sum, [1, 2]).result(60) == 3
    assert asked.read_text().count("--parsable") <= 4
    repeat.stdin.close()
    assert repeat.wait(60) == 0
    assert os.listdir(repeat.work) == []


_NOTEBOOK = """
import os, sys
from nbrw_runtime import dask_redirect
from nbrw_runtime.session_file import ClusterOrders
dask_redirect.install(ClusterOrders("joined", {address!r}, "", {image!r}, 0, most=2))
from dask.distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=4)
client = Client(cluster)
print(len(cluster.workers), client.scatter([1, 2])[0].result(), len(cluster.workers))
print(len(set(client.run(os.getpid).values())))
client.wait_for_workers(4)
print(len(cluster.workers))
cluster.scale(4)
print(*dask_redirect.all_notes(), sep="\\n")
"""


def test_what_a_notebook_asks_of_workers_brings_them(start):
    """`scatter` needs one; what `run` does to workers it does to all that there may be, and these
    stay: none comes later that lacks it.
    """
    repeat = start(0, 2)
    address = repeat.stdout.readline().strip()
    text = _NOTEBOOK.format(address=address, image=repeat.image.digest)
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment(), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["0 1 1", "2", "2"]
    assert any("as many workers as its tasks need, 2 at most" in line for line in lines[3:])
    assert len(alive(repeat.jobs())) == 2


def test_a_retired_worker_that_does_not_end_is_cancelled(start):
    """Its job would be paid for until its walltime."""
    repeat = start(0, 1)
    (repeat.bin / "apptainer.lingers").touch()
    address = repeat.stdout.readline().strip()
    with distributed.Client(address) as client:
        assert client.submit(sum, [1, 2]).result(60) == 3
        left = {int((repeat.bin / "apptainer.lingers").read_text())}
        assert alive(left)
        wait_for(lambda: not alive(left))
        assert not workers(client)


@pytest.mark.parametrize(("least", "message"), [(0, "sbatch refuses"), (2, "sbatch failed")])
def test_a_job_that_would_be_refused_is_refused_before_anything_runs(start, least, message):
    """With `--workers 0-3` the first job may come late."""
    repeat = start(least, 3, refuses=1)
    assert repeat.stdout.readline() == ""
    assert message in repeat.stderr.read()
    assert os.listdir(repeat.work) == []


def test_a_job_starts_one_worker_that_hands_over_before_its_walltime():
    """What is asked of Slurm, and of the worker."""
    asked = WorkerRequest(3, 3, 4, 8 << 30, 3600, "main", "climate", "ib0")
    orders = Orders("/share/my image.sif", asked, "nbrw-1", "/home/a/w/.nbrw-cluster-1", "/certs")
    text = job_script(orders, "tls://10.0.0.1:5", "worker-7")
    for line in (
        "--cpus-per-task=4", "--mem=8192M", "--time=1:00:00", "--partition=main",
        "--account=climate", "--job-name=nbrw-1",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text
    last = text.splitlines()[-1]
    assert last.startswith("exec apptainer -q run '/share/my image.sif' worker tls://10.0.0.1:5 ")
    assert (
        "--name worker-7" in last
        and "--tls /certs" in last
        and last.endswith("-- --lifetime 3540s")
    )
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_where_nothing_can_be_submitted_it_is_said_what_can_be_done(monkeypatch, tmp_path):
    """Without sbatch, and without a view of the host."""
    monkeypatch.setattr("nbrw_runtime.host_programs.HOST_ROOT", str(tmp_path))
    with pytest.raises(UsageError, match="-B /:"):
        HostPrograms("sbatch", {"PATH": str(tmp_path)})


def test_programs_of_the_host_do_not_see_what_the_container_set(tmp_path):
    """Jobs would inherit it."""
    program = tmp_path / "sbatch"
    program.write_text("#!/bin/sh\n/usr/bin/env\n")
    program.chmod(0o755)
    found = HostPrograms("sbatch", {
        "PATH": str(tmp_path), "APPTAINER_BIND": "/host", "LD_LIBRARY_PATH": "/x", "HOME": "/h",
        "SLURM_JOB_ID": "1", "PYTHONHOME": "/p",
    })  # fmt: skip
    names = {line.partition("=")[0] for line in found.run([str(program)]).stdout.splitlines()}
    assert "HOME" in names and Path(program).exists()
    assert not [n for n in names if n.startswith(("APPTAINER", "LD_", "SLURM", "PYTHON"))]
