"""A notebook that starts its workers by dask-jobqueue, on a real Slurm with two nodes.

The notebook runs on this machine, in the site's network: its `sbatch` and `scancel` ask those of
the site's login node. The jobs run `nbrw worker`, as the settings of dask-jobqueue say.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import threading

import pytest
from author import may_mount
from test_traced_at_site import BUILD, HERE, WORKER, in_site, share_nbrw

from notebook_helper import run, write_notebook

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.site,
    pytest.mark.integration,
    pytest.mark.skipif(not may_mount(), reason="makes mount namespaces, which needs root"),
]
LOCAL = "/tmp/jobqueue"  # of each node
CELLS = (
    "from dask.distributed import Client\nfrom dask_jobqueue import SLURMCluster\n"
    "cluster = SLURMCluster(queue='main', cores=4, processes=1, memory='1GB',\n"
    "                       walltime='00:10:00')\n"
    "cluster.scale(2)\nclient = Client(cluster)\nclient.wait_for_workers(2, timeout=120)",
    "def total(path, factor):\n    with open(path) as stream:\n"
    "        return factor * sum(map(int, stream))\n"
    f"print(sum(client.gather([client.submit(total, '{LOCAL}/data.txt', n) for n in range(8)])))",
    "client.close()\ncluster.close()",
)
#: Asks the test to run the program of this name on the login node.
ASK = """#!/bin/sh
d=$(mktemp -d {asked}/XXXXXX)
[ -f "$1" ] && {{ cp "$1" "$d/script.sh"; set -- "$d/script.sh"; }}
printf '%s\\n' "${{0##*/}}" "$@" > "$d/words"; touch "$d/ready"
while [ ! -e "$d/done" ]; do sleep 0.05; done
cat "$d/out"; code=$(cat "$d/code"); rm -r "$d"; exit "$code"
"""


class LoginNode(threading.Thread):
    """Runs what is asked for in a directory that the site sees, until it is ended."""

    def __init__(self, site, asked):
        super().__init__(daemon=True)
        self.site, self.asked = site, asked
        self.ended = threading.Event()
        self.programs = []

    def run(self):
        """Answer, one after the other."""
        while not self.ended.wait(0.05):
            for ready in sorted(self.asked.glob("*/ready")):
                place = ready.parent
                ready.unlink()
                words = (place / "words").read_text().splitlines()
                # As the site names it.
                words = [word.replace(str(self.site.share), "/share") for word in words]
                place.chmod(0o755)
                done = self.site.run("sh", "-c", f"{shlex.join(words)}", check=False)
                self.programs.append(words[0])
                (place / "out").write_text(done.stdout + done.stderr)
                (place / "code").write_text(f"{done.returncode}\n")
                (place / "done").touch()


@pytest.fixture(scope="module")
def built(climate_author, site, tmp_path_factory):
    """The image, what the build said, and the programs that the notebook asked for."""
    place = tmp_path_factory.mktemp("jobqueue")
    share = share_nbrw(climate_author, site)
    asked = site.share / "asked"
    shutil.rmtree(asked, ignore_errors=True)
    asked.mkdir()
    worker = share / "nbrw-worker"
    image = "/share/traced/author.sif"
    words = ["apptainer", "-q", "run", "-B", "/share", image, "exec", "python", "-c", WORKER]
    worker.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    (place / "bin").mkdir()
    for path in (worker, place / "bin/sbatch", place / "bin/scancel"):
        if path != worker:
            path.write_text(ASK.format(asked=asked))
        path.chmod(0o755)
    for node in ("node1", "node2"):
        make = f"mkdir -p {LOCAL} && printf '1\\n2\\n' > {LOCAL}/data.txt"
        site.run("sh", "-c", make, machine=node)
    login = LoginNode(site, asked)
    login.start()
    site.registry("up")
    try:
        write_notebook(place / "queue.ipynb", *CELLS)
        (place / "settings").mkdir()
        (place / "settings/jobqueue.yaml").write_text(SETTINGS)
        settings = f"DASK_CONFIG={place / 'settings'}"
        path = f"PATH={place / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            in_site("env", path, settings, *BUILD, "queue.ipynb", "-o", "queue.sif"), cwd=place,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    finally:
        login.ended.set()
        login.join()
        site.registry("down")
        for node in ("node1", "node2"):
            site.run("rm", "-r", LOCAL, machine=node)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(place / "queue.sif", share / "queue.sif")
    return place / "queue.sif", done.stdout + done.stderr, login.programs


#: The author's settings, as she has them in `~/.config/dask`.
SETTINGS = f"""
jobqueue:
  slurm:
    python: /share/traced/nbrw-worker
    local-directory: {LOCAL}
    scheduler-options: {{host: {HERE}, dashboard_address: null}}
"""


def test_workers_of_its_jobs_are_traced(built):
    """What only they read belongs to the cell; nothing is left unknown, and no job is left."""
    image, said, programs = built
    assert programs.count("sbatch") == 2 and "scancel" in programs
    described = json.loads(run("nbrw", "inspect", "--json", image).stdout)
    found = [data for data in described["data"] if data["path"].startswith(LOCAL)]
    assert [(data["path"], data["cells"], data["roles"]) for data in found] == [
        (f"{LOCAL}/data.txt", [2], ["worker"])
    ]
    assert "has a gap" not in said and "results of tasks" not in said


def test_its_tasks_are_loaded_elsewhere(built, site):
    """Where there is no dask-jobqueue but the image's, and no Slurm is asked for anything."""
    words = ("apptainer", "-q", "run", "/share/traced/queue.sif", "repeat", "--from", "2", "--json")
    done = site.run("sh", "-c", f"rm -rf q; mkdir q; cd q; {' '.join(words)}", user="bob")
    report = json.loads(done.stdout)
    assert report["equal"], done.stdout + done.stderr
    tasks = report["cells"][1]["tasks"]
    assert (tasks["loaded"], tasks["run"]) == (8, 0)


def test_the_whole_notebook_repeats_on_workers_of_the_image(built, site):
    """`SLURMCluster(...)` stands for the repeat's own cluster."""
    words = ("apptainer", "-q", "run", "/share/traced/queue.sif", "repeat", "--all", "--json")
    done = site.run("sh", "-c", f"rm -rf q; mkdir q; cd q; {' '.join(words)}", user="bob")
    report = json.loads(done.stdout)
    assert report["equal"], done.stdout + done.stderr
    assert report["cells"][1]["tasks"]["run"] == 8
