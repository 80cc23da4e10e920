"""An audit whose workers are on the nodes of a Slurm, traced: each node has files of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from author import may_mount

import site_helper
from notebook_helper import ROOT, run, write_notebook

pytestmark = [
    pytest.mark.site,
    pytest.mark.integration,
    pytest.mark.skipif(not may_mount(), reason="makes mount namespaces, which needs root"),
]
#: Where programs of this machine are reached from the site, whose network they share.
HERE = "10.97.0.5"
PORT = 8795
LOCAL = "/tmp/far"  # of each node
CELLS = (
    f"import os\nfrom dask.distributed import Client\nclient = Client('tcp://{HERE}:{PORT}')\n"
    "client.wait_for_workers(2, timeout=120)\n"
    "def total(path):\n    with open(path) as stream:\n        return sum(map(int, stream))\n"
    "def on(name):\n    return dict(workers=[name], allow_other_workers=True)",
    f"first = client.submit(total, '{LOCAL}/node1.txt', **on('node1')).result()\nprint(first)",
    f"second = client.submit(total, '{LOCAL}/node2.txt', **on('node2')).result()\n"
    "print(first + second)\nclient.close()",
)
#: `nbrw worker` of this checkout, in the author's environment, which the node has from an image.
WORKER = (
    "import sys; sys.path[:0] = ['/share/traced']\n"
    "from nbrw_builder.worker_command import worker_command; worker_command()"
)


@pytest.fixture(scope="module")
def built(climate_author, site, tmp_path_factory):
    """A SIF of a notebook that was audited with a worker on each node."""
    place = tmp_path_factory.mktemp("far")
    share = share_nbrw(climate_author, site)
    site.registry("up")
    with contextlib.ExitStack() as stack:
        stack.callback(site.registry, "down")
        words = ("distributed.cli.dask_scheduler", "--host", HERE, "--port", PORT, "--no-dashboard")
        start(stack, place, *in_site(sys.executable, "-m", *words))
        for number, node in enumerate(("node1", "node2"), start=1):
            make = f"mkdir -p {LOCAL} && printf '{number}\\n{number}\\n' > {LOCAL}/{node}.txt"
            site.run("sh", "-c", make, machine=node)
            words = ["srun", "-w", node, "apptainer", "-q", "run", "-B", "/share"]
            words += ["/share/traced/author.sif", "exec", "python", "-c", WORKER]
            words += [f"tcp://{HERE}:{PORT}", "--name", node, "--nthreads", "1", "--no-dashboard"]
            run_on_login = [str(site_helper.SCRIPTS / "run"), "--on", "login", "--as", "alice"]
            start(stack, place, *run_on_login, *words)
        write_notebook(place / "far.ipynb", *CELLS)
        done = subprocess.run(
            in_site(*BUILD, "far.ipynb", "-o", "far.sif", "--minimal"), cwd=place,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        logs = "".join(path.read_text() for path in place.glob("*.log"))
        assert done.returncode == 0, done.stdout + done.stderr + logs
    for node in ("node1", "node2"):
        site.run("rm", "-r", LOCAL, machine=node)
    shutil.copy(place / "far.sif", share / "far.sif")
    return place / "far.sif", done.stdout + done.stderr


def share_nbrw(climate_author, site):
    """Where nodes have nbrw of this checkout, and an image with the author's environment."""
    share = site.share / "traced"
    shutil.rmtree(share, ignore_errors=True)
    shutil.copytree(ROOT / "builder/nbrw_builder", share / "nbrw_builder")
    shutil.copytree(ROOT / "runtime/nbrw_runtime", share / "nbrw_runtime")
    for name in ("ptrace", "zstandard", "dill", "cloudpickle"):
        shutil.copytree(Path(__import__(name).__file__).parent, share / name)
    shutil.copy(climate_author[0].home / "proj/climate.sif", share / "author.sif")
    return share


BUILD = (
    "env", f"PYTHONPATH={ROOT / 'builder'}:{ROOT / 'runtime'}", sys.executable, "-c",
    "import sys; from nbrw_builder.cli import build_main; sys.exit(build_main())",
)  # fmt: skip


def in_site(*words):
    """A program of this machine, in the site's network."""
    return [str(site_helper.SCRIPTS / "registry"), "exec", *map(str, words)]


def start(stack, place, *words):
    """A process that ends with the block."""
    with open(place / f"{len(list(place.iterdir()))}.log", "wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def stop():
        os.killpg(process.pid, signal.SIGTERM)  # and what a script of the site's has started
        process.wait(60)

    stack.callback(stop)


def test_each_cell_has_the_files_that_only_its_nodes_read(built):
    """By workers that were traced on node1 and on node2; nothing is left unknown."""
    image, said = built
    described = json.loads(run("nbrw", "inspect", "--json", image).stdout)
    found = {data["path"]: data for data in described["data"] if data["path"].startswith(LOCAL)}
    assert {path: (data["cells"], data["roles"]) for path, data in found.items()} == {
        f"{LOCAL}/node1.txt": ([2], ["worker"]),
        f"{LOCAL}/node2.txt": ([3], ["worker"]),
    }
    assert "has a gap" not in said


def test_the_image_repeats_where_none_of_these_files_are(built, site):
    """All of it, on another machine of another user's."""
    words = ("apptainer", "-q", "run", "/share/traced/far.sif", "repeat", "--all", "--json")
    done = site.run("sh", "-c", f"rm -rf far; mkdir far; cd far; {' '.join(words)}", user="bob")
    report = json.loads(done.stdout)
    assert report["equal"], done.stdout + done.stderr
    assert [cell["action"] for cell in report["cells"]] == ["run"] * 3


def test_results_of_tasks_came_back_from_the_nodes(built, site):
    """Where workers did not reach the author's store; a repeat loads them, and no task runs."""
    assert "results of tasks" not in built[1]
    words = ("apptainer", "-q", "run", "/share/traced/far.sif", "repeat", "--from", "2", "--json")
    done = site.run("sh", "-c", f"rm -rf far; mkdir far; cd far; {' '.join(words)}", user="bob")
    report = json.loads(done.stdout)
    assert report["equal"], done.stdout + done.stderr
    tasks = [cell["tasks"] for cell in report["cells"][1:]]
    assert [(found["loaded"], found["run"]) for found in tasks] == [(1, 0), (1, 0)]


def test_no_job_and_no_trace_is_left(built, site):
    """Workers end with their scheduler's connection, and take their traces along."""
    deadline = time.monotonic() + 60
    while site.run("squeue", "--noheader").stdout.strip() and time.monotonic() < deadline:
        time.sleep(1)
    assert site.run("squeue", "--noheader").stdout == ""
    for node in ("node1", "node2"):
        assert site.run("sh", "-c", "ls -d /tmp/nbrw-worker-* || true", machine=node).stdout == ""
