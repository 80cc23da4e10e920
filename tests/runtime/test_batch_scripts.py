"""The jobs that an image prints, as text; `tests/integration/test_batch_job.py` runs one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from nbrw_runtime.batch_cli import template
from nbrw_runtime.batch_scripts import SYSTEMS, BatchJob, batch_script
from nbrw_runtime.cli import main
from nbrw_runtime.clusters import WorkerRequest
from nbrw_runtime.errors import UsageError
from nbrw_runtime.kubernetes_job import KubernetesJob, manifests

GOLDEN = Path(__file__).parent.parent / "formats/batch"
LARGE = WorkerRequest(7, 7, 4, 8 * 10**9, 7200, "main", "climate", "ib0")
JOBS = {
    "small": BatchJob("/share/a.sif", WorkerRequest(2, 2)),
    "large": BatchJob(
        "/share/my image's.sif", LARGE, 2, "climate", ("--from", "3", "-o", "a $b.ipynb"),
        ("/scratch", "/data:/data:ro"), True, "orte",
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", JOBS)
def test_scripts_are_what_they_were(system, name):
    """A change is seen in review. To renew them, write what `batch_script` gives."""
    path = GOLDEN / f"{system}-{name}.sh"
    assert batch_script(system, JOBS[name], template) == path.read_text()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sh")), ids=lambda path: path.stem)
def test_shells_understand_them(path):
    """Bash parses them, shellcheck warns of nothing."""
    subprocess.run(["bash", "-n", path], check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    subprocess.run(["shellcheck", path], check=True)


def test_workers_are_spread_evenly_and_nodes_have_room_for_the_rest():
    """7 workers on 2 nodes are 4 on each; 2 GB of a node are for scheduler and notebook."""
    job = JOBS["large"]
    assert (job.on_each, job.cpus, job.memory) == (4, 16, 34 * 10**9)


@pytest.mark.parametrize("text", ["a.sif", "", "/a\nb.sif"])
def test_an_image_is_named_by_a_whole_path(text):
    """A job starts in another directory, on another machine."""
    with pytest.raises(UsageError, match="--image"):
        BatchJob(text, WorkerRequest(1, 1))


def test_a_node_without_a_worker_is_refused():
    """Nobody pays for an idle one."""
    with pytest.raises(UsageError, match="--nodes"):
        BatchJob("/a.sif", WorkerRequest(1, 1), nodes=2)


def test_the_command_takes_the_image_from_apptainer_or_asks_for_it(capsys, monkeypatch, tmp_path):
    """A relative path is made whole; what is after `--` is repeat's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPTAINER_CONTAINER", "/share/x.sif")
    assert main(["slurm-script", "--workers", "3", "--", "--from", "2"]) == 0
    said = capsys.readouterr().out
    assert "image=/share/x.sif\n" in said and "arguments=(--from 2)" in said
    monkeypatch.setenv("APPTAINER_CONTAINER", "/tmp/rootfs-1/root")
    assert main(["slurm-script"]) == 2
    assert "--image PATH" in capsys.readouterr().err
    assert main(["slurm-script", "--image", "y.sif"]) == 0
    assert f"image={tmp_path}/y.sif\n" in capsys.readouterr().out
    assert main(["slurm-script", "--workers", "2-8"]) == 2
    assert main(["pbs-script", "--image", "y.sif", "--queue", "a;b"]) == 2


def test_manifests_are_what_they_were():
    """With and without a volume claim; in the second each worker has a directory of its own."""
    asked = WorkerRequest(8, 8, 2, 4 * 10**9, 7200)
    shared = KubernetesJob("registry:5000/team/nb:v1", asked, "climate", ("--from", "3"), "work")
    alone = KubernetesJob("nb", WorkerRequest(2, 2))
    for name, job in (("shared", shared), ("alone", alone)):
        assert manifests(job) == json.loads((GOLDEN / f"kubernetes-{name}.json").read_text())


def test_pods_find_each_other():
    """The service selects the scheduler's pod alone, and workers name the service."""
    found = manifests(KubernetesJob("nb", WorkerRequest(2, 2)))["items"]
    service, head, workers = found
    selector = service["spec"]["selector"]
    assert head["spec"]["template"]["metadata"]["labels"] == selector
    assert workers["spec"]["template"]["metadata"]["labels"] != selector
    worker = workers["spec"]["template"]["spec"]["containers"][0]
    assert worker["args"][:2] == ["worker", f"tcp://{service['metadata']['name']}:8786"]


@pytest.mark.parametrize(("image", "name"), [("", "a"), ("a b", "a"), ("a", "A"), ("a", "-")])
def test_names_that_kubernetes_would_refuse_are_refused_before(image, name):
    """With a message of ours."""
    with pytest.raises(UsageError, match="--image|--name"):
        KubernetesJob(image, WorkerRequest(1, 1), name)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_manifests_follow_the_published_schemas(path):
    """Those of the newest Kubernetes that the validator knows, with no field beside."""
    validator = pytest.importorskip("kubernetes_validate")
    for item in json.loads(path.read_text())["items"]:
        validator.validate(item, validator.latest_version(), strict=True)
