"""`scheduler` and `worker`: Dask's own, of one image, and no others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from cluster_helper import Image, alive, children, wait_for

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.integration


@pytest.fixture
def work(tmp_path):
    """A work directory, with one module of the notebook's."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work/helper.py").write_text("def twice(x):\n    return 2 * x\n")
    return tmp_path / "work"


@pytest.fixture
def image(tmp_path):
    """An image."""
    return Image(tmp_path, "one")


@pytest.fixture
def other(tmp_path):
    """Another image, which differs in its title alone."""
    return Image(tmp_path, "two")


def where(_=None):
    """What a task sees of its process."""
    main = sys.modules["__main__"]
    import helper

    here = os.getcwd()
    variables = [name for name in os.environ if name.startswith(("PYTHONPATH", "JUPYTER_PATH"))]
    return here, os.path.dirname(helper.__file__), hasattr(main, "__file__"), variables


where.__module__ = "__main__"  # as a notebook's: sent by value


def test_workers_have_the_authors_paths_and_the_notebooks_modules(image, work, tmp_path):
    """As workers that a repeat's kernel starts: its directory, its environment, no other main."""
    with image.scheduler(work) as found, image.started(work, "worker", found["address"]) as worker:
        with distributed.Client(found["address"]) as client:
            wait_for(lambda: client.scheduler_info()["workers"], worker)
            here, module, has_file, variables = client.submit(where, pure=False).result(30)
    shutil.rmtree(tmp_path / "author", ignore_errors=True)
    assert here in (str(tmp_path / "author"), str(work))
    assert module == here
    assert not has_file
    assert variables == []


def test_the_file_of_a_scheduler_says_its_image_and_workers_find_it_there(image, work):
    """A file on a shared disk is enough; processes, memory, and options of Dask's are passed on."""
    with image.scheduler(work) as found:
        assert found["nbrw"] == {"image": image.digest}
        words = ("scheduler-file:scheduler.json", "--workers", 2, "--cores", 1, "--memory", "1GB")
        words += ("--", "--resources", "gpu=1")
        with image.started(work, "worker", *words) as worker:
            with distributed.Client(found["address"]) as client:
                wait_for(lambda: len(client.scheduler_info()["workers"]) == 2, worker)
                workers = client.scheduler_info()["workers"].values()
                assert {w["nthreads"] for w in workers} == {1}
                assert {w["memory_limit"] for w in workers} == {10**9}
                assert [w["resources"] for w in workers] == [{"gpu": 1.0}] * 2


def test_a_worker_of_another_image_is_refused_by_both_sides(image, other, work):
    """It says so before it starts; one that did not ask is turned away by the scheduler."""
    with image.scheduler(work) as found:
        done = other.run(work, "worker", found["address"])
        assert done.returncode == 5
        assert image.digest in done.stderr and other.digest in done.stderr
        assert "Traceback" not in done.stderr
        # A plain worker of Dask asks nothing.
        words = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            found["address"],
            "--no-nanny",
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "of no image" in done.stderr and image.digest in done.stderr
        with distributed.Client(found["address"]) as client:
            assert not client.scheduler_info()["workers"]


def test_a_worker_does_not_join_a_scheduler_of_no_image(image, work):
    """A plain one of Dask's."""
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster:
        done = image.run(work, "worker", cluster.scheduler_address)
    assert done.returncode == 5
    assert "of no image" in done.stderr and image.digest in done.stderr


def test_a_worker_that_finds_no_scheduler_ends_and_says_where_it_looked(image, work):
    """Nobody waits for ever in a queue's time."""
    done = image.run(work, "worker", "tcp://127.0.0.1:9", "--death-timeout", 1)
    assert done.returncode == 5
    assert "tcp://127.0.0.1:9" in done.stderr and "does not answer" in done.stderr
    done = image.run(work, "worker", "scheduler-file:none.json", "--death-timeout", 1)
    assert done.returncode == 5 and "none.json" in done.stderr


def test_workers_end_with_their_scheduler_and_with_their_command(image, work):
    """Also if it is killed: no process is left."""
    with image.scheduler(work) as found:
        with image.started(work, "worker", found["address"]) as worker:
            with distributed.Client(found["address"]) as client:
                wait_for(lambda: client.scheduler_info()["workers"], worker)
                below = children(worker.pid)
            assert len(below) >= 2
            os.kill(worker.pid, signal.SIGKILL)
            wait_for(lambda: not alive(below), seconds=30)
        second = image.started(work, "worker", found["address"])
        worker = second.__enter__()
        with distributed.Client(found["address"]) as client:
            wait_for(lambda: client.scheduler_info()["workers"], worker)
    wait_for(lambda: worker.poll() is not None, seconds=30)
    second.__exit__(None, None, None)


def test_encrypted_ones_let_nobody_in_without_the_certificates(image, work):
    """Made by openssl; a client without them is turned away, a worker with them works."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    make_certificates(work / "certs")
    with image.scheduler(work, "--tls", "certs") as found:
        address = found["address"]
        assert address.startswith("tls://")
        done = image.run(work, "worker", address)
        assert done.returncode == 2 and "--tls" in done.stderr
        with image.started(work, "worker", address, "--tls", "certs") as worker:
            certs = work / "certs"
            security = distributed.Security(
                tls_ca_file=str(certs / "ca.pem"), tls_client_cert=str(certs / "cert.pem"),
                tls_client_key=str(certs / "key.pem"), require_encryption=True,
            )  # fmt: skip
            with distributed.Client(address, security=security) as client:
                wait_for(lambda: client.scheduler_info()["workers"], worker)
                assert client.submit(sum, [1, 2]).result(30) == 3
            make_certificates(work / "others")
            done = image.run(work, "worker", address, "--tls", "others", "--death-timeout", 1)
            assert done.returncode == 5


def make_certificates(place):
    """As docs/commands/clusters.md says."""
    place.mkdir(mode=0o700)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
         "/CN=nbrw", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(place / "cert.pem", place / "ca.pem")
    (place / "key.pem").chmod(0o600)
