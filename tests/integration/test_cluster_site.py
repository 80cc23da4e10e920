"""On a real Slurm with two nodes: the climate example on workers from its own image."""

from __future__ import annotations

import json
import shutil

import pytest
from author import may_mount

import site_helper
from cluster_helper import wait_for
from notebook_helper import ROOT

pytestmark = [
    pytest.mark.site,
    pytest.mark.integration,
    pytest.mark.skipif(not may_mount(), reason="makes mount namespaces, which needs root"),
]
#: A cell that shows where tasks run, once there are two workers.
WHERE = (
    "import socket, time\n"
    "from dask.distributed import default_client\n"
    "def where(number):\n    time.sleep(0.2)\n    return socket.gethostname()\n"
    "default_client().wait_for_workers(2)\n"
    "print(sorted(set(default_client().gather(default_client().map(where, range(16))))))"
)
#: One whose tasks say by files in the work directory where they are, and end when there is one.
LONG = (
    "import os, socket, time, uuid\n"
    "from dask.distributed import default_client\n"
    "def square(number):\n"
    "    open(f'{socket.gethostname()}-{uuid.uuid4()}', 'w').close()\n"
    "    while not os.path.exists('go'):\n        time.sleep(0.1)\n"
    "    return number * number\n"
    "print(sum(default_client().gather(default_client().map(square, range(16)))))"
)
BOTH = "['node1', 'node2']\n"
#: A worker has a whole node of the site.
NODES = "--workers 2 --cores 4 --walltime 10m"
RUN = "apptainer -q run -B /:/host /share/climate.sif repeat"
#: The same where no user may enter the host's root: its programs are asked for by FIFOs.
BY_DOOR = (
    "APPTAINERENV_PREPEND_PATH=/share/door /share/door/with-slurm "
    "apptainer -q run -B /share /share/climate.sif repeat"
)


@pytest.fixture(scope="module")
def share(climate_author, site):
    """The shared folder, with the image and notebooks that have one cell more."""
    author, _ = climate_author
    shutil.copy(author.home / "proj/climate.sif", site.share / "climate.sif")
    for name, source, old, new in (
        ("where", WHERE, "", ""),
        ("edited", WHERE, "np.exp(-2.0", "np.exp(-3.0"),
        ("long", LONG, "", ""),
    ):
        text = (ROOT / "examples/climate.ipynb").read_text()
        notebook = json.loads(text.replace(old, new) if old else text)
        last = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][-1]
        notebook["cells"].append({**last, "id": name, "source": source, "outputs": []})
        (site.share / f"{name}.ipynb").write_text(json.dumps(notebook))
    door = site.share / "door"
    door.mkdir(exist_ok=True)
    for name in ("with-slurm", "sbatch", "scancel", "squeue"):
        source = "with-slurm" if name == "with-slurm" else "door"
        shutil.copy(site_helper.SCRIPTS / "examples" / source, door / name)
    return site.share


def in_new_directory(site, user, job, directory="w", **options):
    """Run a line of shell in an empty directory of a user's home."""
    line = f"rm -rf {directory}; mkdir {directory}; cd {directory}; {job}"
    return site.run("sh", "-c", line, user=user, **options)


def outputs(site, user, name="w/out.ipynb"):
    """The texts that a notebook in the user's home shows, cell by cell."""
    cells = json.loads(site.run("cat", name, user=user).stdout)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join("".join(o.get("text", "")) for o in cell["outputs"]) for cell in code]


def report_in(site, user, name="w/report.json"):
    """What `--report` wrote."""
    return json.loads(site.run("cat", name, user=user).stdout)


def jobs(site, *options):
    """The numbers of jobs in the queue."""
    return set(site.run("squeue", "--noheader", "-o%A", *options).stdout.split())


def no_jobs(site, seconds=40):
    """Nothing is left in the queue."""
    wait_for(lambda: not jobs(site), seconds=seconds)


def left_in(site, user, directory="w"):
    """What a repeat has left in its work directory that is nobody's business."""
    names = site.run("ls", "-A", directory, user=user).stdout.split()
    return [name for name in names if name.startswith((".nbrw-job", ".nbrw-cluster"))]


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_printed_job_repeats_on_both_nodes(share, site, user):
    """Printed by the image, submitted by the user; restored cells, workers on each node.

    bob has no subordinate ids.
    """
    job = (
        "cp /share/where.ipynb . && apptainer run /share/climate.sif slurm-script --nodes 2 "
        "--workers 2 --cores 1 --walltime 10m -- where.ipynb --from 3 -o out.ipynb "
        "--report report.json --no-keep > job.sh && id=$(sbatch --parsable job.sh) && "
        # `sbatch --wait` looks less and less often: it would take ten seconds longer.
        "while squeue -hj $id | grep -q .; do sleep 0.2; done; cat repeat-*.log; "
        "scontrol show job $id | grep -q ExitCode=0:0"
    )
    done = in_new_directory(site, user, job)
    found = report_in(site, user)
    actions = [cell["action"] for cell in found["cells"]]
    assert actions == ["restored"] * 2 + ["run"] * 4, done.stdout
    assert {cell["outputs"] for cell in found["cells"][2:5]} == {"equal"}, done.stdout
    assert found["cells"][2]["tasks"]["loaded"] > 0
    assert outputs(site, user)[-1] == BOTH
    assert not left_in(site, user)
    no_jobs(site)


def test_a_cancelled_job_leaves_nothing(share, site):
    """No job in the queue, no process on a node, no file of its own in the directory."""
    job = (
        "apptainer run /share/climate.sif slurm-script --nodes 2 --workers 2 -- --all > job.sh && "
        "sbatch --parsable job.sh"
    )
    number = in_new_directory(site, "alice", job).stdout.strip()
    wait = "for i in $(seq 300); do test -s w/.nbrw-job-*/worker.sh && break; sleep 0.1; done"
    site.run("sh", "-c", wait)
    site.run("scancel", number)
    no_jobs(site)
    assert not left_in(site, "alice")
    for node in ("node1", "node2"):
        left = site.run("pgrep", "-u", "alice", "-f", "[c]luster_launch", machine=node, check=False)
        assert left.stdout == ""


def test_a_worker_by_hand_joins_a_scheduler_on_the_login_node(share, site):
    """The lines of docs/commands/clusters.md."""
    start = (
        "apptainer run /share/climate.sif scheduler --port 0 --scheduler-file s.json 2>s.log & "
        "pid=$!; sbatch --parsable -N2 --ntasks-per-node=1 -o w.log --wrap "
        "'srun apptainer run /share/climate.sif worker scheduler-file:s.json --cores 2' >&2; "
        "apptainer run /share/climate.sif repeat --from 3 --cluster scheduler-file:s.json "
        "--workers 2 --json; code=$?; kill $pid; wait; exit $code"
    )
    done = in_new_directory(site, "alice", start)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["equal"], done.stdout
    no_jobs(site)


@pytest.mark.parametrize(
    ("user", "run", "workers", "way"),
    [("alice", RUN, "0-2", "of the host, at /host"), ("bob", BY_DOOR, "2", "of this container")],
    ids=["alice", "bob"],
)
def test_a_repeat_on_the_login_node_submits_its_workers(share, site, user, run, workers, way):
    """Through the host's own sbatch; they run on both nodes, and are gone with it. Of an edited
    notebook they run the tasks that the edit reaches, and load others from the image.
    """
    job = (
        f"cp /share/edited.ipynb . && {run} edited.ipynb --no-keep -o out.ipynb "
        f"--report report.json --cluster slurm {NODES.replace('2', workers, 1)}"
    )
    done = in_new_directory(site, user, job)
    assert f"workers by sbatch {way}\n" in done.stderr
    assert outputs(site, user)[-1] == BOTH
    cells = report_in(site, user)["cells"]
    assert [cell["action"] for cell in cells] == ["restored"] + ["run"] * 5
    assert cells[1]["tasks"]["loaded"] > 0 and cells[1]["tasks"]["run"] > 0
    no_jobs(site, 30)
    assert not left_in(site, user)


def known_jobs(site):
    """The numbers of all jobs that Slurm remembers, for five minutes after their end."""
    told = site.run("scontrol", "--oneliner", "show", "jobs").stdout.split()
    return {word for word in told if word.startswith("JobId=")}


def test_without_tasks_no_job_is_submitted(share, site):
    """Everything is restored: `--workers 0-2` asks Slurm for nothing."""
    before = known_jobs(site)
    in_new_directory(site, "alice", f"{RUN} --cluster slurm --workers 0-2 --report report.json")
    assert {cell["action"] for cell in report_in(site, "alice")["cells"]} == {"restored"}
    assert known_jobs(site) <= before


def started(site, directory, options=""):
    """A repeat of the long notebook that goes on; its exit code will be in the file `code`."""
    job = (
        "export DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT=3s; "
        f"cp /share/long.ipynb . && ((exec setsid -w {RUN} long.ipynb --no-keep -o out.ipynb "
        f"--cluster slurm {options}) </dev/null >said 2>&1; echo $? >code) >/dev/null 2>&1 &"
    )
    in_new_directory(site, "alice", job, directory)


def tasks_on(site, node, directory="lost"):
    """Which tasks of that repeat have begun on a node."""
    return set(site.run("sh", "-c", f"ls {directory} | grep ^{node} || :").stdout.split())


def pids(site, directory):
    """Processes of that repeat itself: Apptainer's, and not what it has started."""
    line = (
        'for pid in $(pgrep -u alice -f "^[^ ]*(python|apptainer)[^ ]* .*repeat long"); do '
        f'[ "$(readlink /proc/$pid/cwd)" = "$HOME/{directory}" ] && echo $pid; done; exit 0'
    )
    return site.run("sh", "-c", line).stdout.split()


def code_of(site, directory, seconds=90):
    """How that repeat has ended, once it has."""
    line = f"for i in $(seq {seconds * 10}); do test -s {directory}/code && break; sleep 0.1; done"
    return site.run("sh", "-c", f"{line}; cat {directory}/code").stdout.strip()


def test_jobs_of_a_repeat_that_is_ended_are_gone_within_30_seconds(share, site):
    """Two at once: Ctrl-C for one; SIGKILL for the other, which can do nothing itself."""
    for directory in ("interrupted", "killed"):
        started(site, directory, "--workers 1 --cores 1")
    for directory in ("interrupted", "killed"):
        wait_for(lambda directory=directory: tasks_on(site, "node", directory))
    assert len(jobs(site, "-tR")) == 2
    site.run("kill", "-INT", *pids(site, "interrupted"))
    site.run("kill", "-KILL", *pids(site, "killed"))
    no_jobs(site, 30)
    assert code_of(site, "interrupted") == "130"
    assert code_of(site, "killed") == "137"
    assert not left_in(site, "alice", "interrupted")


def test_lost_workers_are_replaced(share, site):
    """A node is cut off, loses its power, and comes back; on the other the job is cancelled. The
    tasks' results are right, and no job is left behind.
    """
    started(site, "lost", NODES)
    try:
        # Each has four threads, whose tasks do not end: what begins later is a new worker's.
        wait_for(lambda: all(len(tasks_on(site, f"node{n}-")) == 4 for n in (1, 2)))
        first = jobs(site, "-tR")
        assert len(first) == 2
        (other,) = jobs(site, "-wnode1")
        site.cut("node2")
        site.kill("node2")
        site.mend("node2")
        wait_for(lambda: len(tasks_on(site, "node2-")) > 4)
        site.run("scancel", other)
        wait_for(lambda: len(tasks_on(site, "node1-")) > 4)
        assert len(jobs(site, "-tR") - first) == 2
        site.run("touch", "lost/go")
        assert code_of(site, "lost") == "0", site.run("cat", "lost/said").stdout
        assert outputs(site, "alice", "lost/out.ipynb")[-1] == "1240\n"
        no_jobs(site, 30)
        assert not left_in(site, "alice", "lost")
    finally:
        site.mend("node2")
        site.run("sh", "-c", "touch lost/go; scancel --user=alice")
        no_jobs(site)


def test_a_worker_whose_walltime_is_over_is_replaced(share, site):
    """By Slurm's own clock, whose smallest limit is a minute; the tasks go on elsewhere."""
    started(site, "over", "--workers 1 --cores 1 --walltime 1m")
    try:
        before = wait_for(lambda: tasks_on(site, "node", "over"))
        (first,) = jobs(site, "-tR")
        wait_for(lambda: first not in jobs(site, "-tR"), seconds=150)
        told = site.run("scontrol", "--oneliner", "show", "job", first).stdout
        assert "Reason=TimeLimit" in told
        wait_for(lambda: tasks_on(site, "node", "over") - before)
        site.run("touch", "over/go")
        assert code_of(site, "over") == "0", site.run("cat", "over/said").stdout
        assert outputs(site, "alice", "over/out.ipynb")[-1] == "1240\n"
        no_jobs(site, 30)
    finally:
        site.run("sh", "-c", "touch over/go; scancel --user=alice")
        no_jobs(site)
