"""A notebook that starts its scheduler and workers by SSH, on a real server of this machine."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from notebook_helper import command, environment, run, write_notebook

pytest.importorskip("distributed")
pytestmark = pytest.mark.integration
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

CELLS = (
    "from dask.distributed import Client, SSHCluster\n"
    "cluster = SSHCluster(['127.0.0.1'] * 3, connect_options={options}, remote_python={python!r},\n"
    "                     worker_options={{'nthreads': 1}},\n"
    "                     scheduler_options={{'port': 0, 'dashboard': False}})\n"
    "client = Client(cluster)\nclient.wait_for_workers(2, timeout=60)",
    "def total(path, factor):\n    with open(path) as stream:\n"
    "        return factor * sum(map(int, stream))\n"
    "print(client.gather([client.submit(total, {data!r}, n) for n in range(8)]))",
    "client.close()\ncluster.close()",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """How one connects to an SSH server that knows one key, and that key."""
    if SSHD is None:
        # In CI all must run.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs sshd (openssh-server)")
    place = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name))
        subprocess.run(words, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile {place}/pid\n"
        f"AuthorizedKeysFile {place}/user.pub\nStrictModes no\nUsePAM no\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    with open(place / "log", "wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(place / "config")], stderr=log)
    deadline = time.monotonic() + 20
    while b"listening" not in (place / "log").read_bytes():
        assert process.poll() is None and time.monotonic() < deadline, (place / "log").read_text()
        time.sleep(0.05)
    yield {
        "port": port, "known_hosts": None, "client_keys": [str(place / "user")],
        "username": getpass.getuser(), "config": [],
    }  # fmt: skip
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module", params=["traced", "plain"])
def built(server, request, tmp_path_factory):
    """The image of a notebook whose workers `nbrw worker` starts, or not; and what was said."""
    place = tmp_path_factory.mktemp("author") / "proj"
    place.mkdir()
    data = place.parent / "data" / "in.txt"
    data.parent.mkdir()
    data.write_text("1\n2\n")
    python = sys.executable
    if request.param == "traced":
        python = str(place.parent / "python")
        words = shlex.join([*command("nbrw"), "worker", "--python", sys.executable])
        path = environment()["PYTHONPATH"]
        Path(python).write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {words} "$@"\n')
        os.chmod(python, 0o755)
    cells = [c.format(options=server, python=python, data=str(data)) for c in CELLS]
    write_notebook(place / "ssh.ipynb", *cells)
    done = run("nbrw-build", "ssh.ipynb", "-o", "image", "--compression", "none", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, place, done.stdout + done.stderr


def test_its_workers_are_traced_if_nbrw_starts_them(built):
    """Otherwise the gap is said. The notebook runs as it would in any case."""
    way, place, said = built
    described = json.loads(run("nbrw", "inspect", "--json", place / "image").stdout)
    found = [data for data in described["data"] if data["path"].endswith("data/in.txt")]
    assert [(data["cells"], data["roles"]) for data in found] == [([2], ["worker"])]
    assert ("is not traced" in said) is (way == "plain")


@pytest.mark.parametrize("which", [("--from", "2"), ("--all",)], ids=["from 2", "all"])
def test_it_repeats_where_there_is_no_such_host(built, tmp_path, which):
    """Its cluster is one of processes of this machine; traced, results are loaded."""
    way, place, said = built
    tmp_path.joinpath("w").mkdir()
    done = run(
        "nbrw", "run", "--engine", "embedded", place / "image", "repeat", *which, "--json",
        cwd=tmp_path / "w", XDG_CACHE_HOME=str(place.parent / "cache"),
    )  # fmt: skip
    report = json.loads(done.stdout)
    # The first shows what SSH has logged.
    assert {c["outputs"] for c in report["cells"][1:]} == {"equal"}, done.stdout + done.stderr
    tasks = report["cells"][1]["tasks"]
    loads = way == "traced" and which != ("--all",)
    assert (tasks["loaded"], tasks["run"]) == ((8, 0) if loads else (0, 8)), said
    notes = "SSHCluster(...) stands for the repeat's cluster" in report.get("notes", ())
    assert notes is (which == ("--all",))
