"""The printed job, run: bash is real, Apptainer and Slurm are scripts that start what they name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cluster_helper import Image, alive, children, wait_for

pytest.importorskip("distributed")
pytestmark = pytest.mark.integration

_APPTAINER = """#!/bin/sh
while [ "$1" != run ]; do shift; done; shift
[ -z "$APPTAINER_BIND$PYTHONHOME$LD_PRELOAD" ] || exit 9
image=$1; shift
case $1 in repeat) shift; exec {repeat} "$@" ;; esac
NBRW_RECIPE=$image PYTHONPATH={path} exec {python} -m nbrw_runtime "$@"
"""
#: In place of `repeat`: asks two workers, says what it was told, ends with what it is told.
_REPEAT = """#!/usr/bin/env python3
import json, sys, time
from distributed import Client
place = sys.argv[sys.argv.index("--cluster") + 1].partition(":")[2]
with Client(scheduler_file=place) as client:
    client.wait_for_workers(2, timeout=60)
    print(json.dumps([client.submit(sum, [1, 2]).result(), sys.argv[4:]]), flush=True)
if sys.argv[-1] == "wait":
    time.sleep(600)
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def site(tmp_path):
    """A directory of programs, an image, and how a job is started."""
    bin = tmp_path / "bin"
    bin.mkdir()
    work = tmp_path / "work dir"
    work.mkdir()
    image = Image(tmp_path, "one")
    # The address of this machine may be one that it does not reach itself.
    programs = {
        "apptainer": _APPTAINER.format(
            repeat=bin / "repeat", python=sys.executable, path=os.environ.get("PYTHONPATH", "")
        ),
        "srun": '#!/bin/sh\nwhile [ "$1" != /bin/bash ]; do shift; done\nexec "$@"\n',
        "repeat": _REPEAT.replace("/usr/bin/env python3", sys.executable),
    }
    for name, text in programs.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    return bin, work, image


def start(site, *arguments):
    """A job that is printed with these arguments for `repeat`, and started."""
    bin, work, image = site
    words = ("slurm-script", "--image", image.path, "--workers", 2, "--cores", 1, "--", *arguments)
    done = image.run(work, *words)
    assert done.returncode == 0, done.stderr
    (work / "job.sh").write_text(done.stdout)
    leaks = {"APPTAINER_BIND": "/host", "PYTHONHOME": "/nowhere"}
    return subprocess.Popen(
        ["bash", "job.sh"], cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", **leaks},
    )  # fmt: skip


@pytest.mark.parametrize("code", [0, 4])
def test_a_job_ends_as_its_repeat_does_and_leaves_nothing(site, code):
    """Its exit code, its arguments with their spaces, and no process and no file behind it."""
    job = start(site, "--from", "3", "a $b", str(code))
    below = wait_for(lambda: children(job.pid))
    said, errors = job.communicate(timeout=120)
    assert job.returncode == code, errors
    assert said == f'[3, ["2", "--from", "3", "a $b", "{code}"]]\n'
    assert not alive(below)
    assert os.listdir(site[1]) == ["job.sh"]
    # What workers said is shown where something is wrong.
    assert ("worker" in errors) == (code != 0)


def test_a_cancelled_job_leaves_nothing(site):
    """As `scancel` does it."""
    job = start(site, "wait")
    assert job.stdout.readline().startswith("[3,")
    below = children(job.pid)
    assert len(below) >= 4
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 143
    wait_for(lambda: not alive(below), seconds=30)
    assert os.listdir(site[1]) == ["job.sh"]


def test_an_image_that_is_not_there_is_named(site):
    """Nodes often see other disks than the login node."""
    bin, work, image = site
    job = start(site, "0")
    job.communicate(timeout=120)
    image.path.unlink()
    job = subprocess.run(
        ["bash", "job.sh"], cwd=work, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert job.returncode == 5
    assert str(image.path) in job.stderr and "--image" in job.stderr
