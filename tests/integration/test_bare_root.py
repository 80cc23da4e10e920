"""A newcomer's machine: a bare Debian 12 in which the README's first command does the whole job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests/bare_root/run"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("debootstrap", path=os.defpath + ":/usr/sbin:/sbin"),
        reason="needs root and debootstrap",
    ),
]


def first_command():
    """The first indented line of the README's section "Try it"."""
    section = (ROOT / "README.md").read_text().split("\n## Try it\n")[1]
    return re.search(r"^    (\S.*)$", section, re.MULTILINE)[1]


def bare(*argv, **variables):
    return subprocess.run(
        [str(RUN), *argv], env={**os.environ, **variables}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=580,
    )  # fmt: skip


def test_the_machine_is_bare_and_answers_honestly():
    """It has no Python, and exit codes pass through."""
    done = bare("sh", "-c", "command -v python3 || exit 3")
    assert done.returncode == 3, done.stdout[-2000:]


def test_the_readmes_first_command_does_the_whole_job():
    """As an ordinary user: an image is built, and repeated from cell 3."""
    job = f"{first_command()} && ls build/climate"
    done = bare("bash", "-c", job, BARE_ROOT_USER="carol")
    assert done.returncode == 0, done.stdout[-4000:]
    assert {"climate.sif", "high_risk.parquet"} <= set(done.stdout.split())
