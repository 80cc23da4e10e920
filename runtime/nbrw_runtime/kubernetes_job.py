"""Manifests for Kubernetes: a repeat with its scheduler, and workers, all from one image. Pure.

JSON, which is what ``kubectl apply -f`` reads as well as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.clusters import WorkerRequest
from nbrw_runtime.errors import UsageError

_PORT = 8786
_WORK = "/nbrw/work"
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?")


@dataclass(frozen=True)
class KubernetesJob:
    """A repeat and its workers.

    ``image`` is a name that the cluster can pull; ``claim`` a persistent volume claim for the work
    directory, which all nodes can write. Without one each worker has a directory of its own, and
    what the notebook writes is gone with its pod.
    """

    image: str
    asked: WorkerRequest
    name: str = "repeat"
    arguments: Sequence[str] = ()
    claim: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"--name {self.name}: small letters, digits and -, at most 42")
        if not self.image or any(c.isspace() for c in self.image):
            raise UsageError(f"--image {self.image!r}: not the name of an image in a registry")


def manifests(job: KubernetesJob) -> dict[str, Any]:
    """A List of a Service, the Job of scheduler and repeat, and the Job of the workers.

    The workers are a Job, not a Deployment: they end when their scheduler does, and are not to be
    started again.
    """
    head, workers = f"{job.name}-scheduler", f"{job.name}-workers"
    scheduler = {
        **_container(job, "scheduler", ["--host", "0.0.0.0", "--port", str(_PORT)]),
        "restartPolicy": "Always",  # beside the repeat, which it does not outlive
        "ports": [{"containerPort": _PORT}],
        "startupProbe": {
            "tcpSocket": {"port": _PORT}, "periodSeconds": 1, "failureThreshold": 120,
        },
    }  # fmt: skip
    address = f"tcp://127.0.0.1:{_PORT}"
    told = ["--cluster", address, "--workers", str(job.asked.workers), *job.arguments]
    repeat = {**_container(job, "repeat", told), "resources": {"requests": {"cpu": "1"}}}
    worker = ["--cores", str(job.asked.cores or 1), "--death-timeout", "300"]
    worker += ["--memory", str(job.asked.memory)] if job.asked.memory else []
    worker += [] if job.claim else ["--private"]
    limits = {"cpu": str(job.asked.cores or 1)}
    limits |= {"memory": str(job.asked.memory)} if job.asked.memory else {}
    one = _container(job, "worker", [f"tcp://{head}:{_PORT}", *worker])
    one["resources"] = {"requests": limits, "limits": limits}
    labels = {"app.kubernetes.io/name": "nbrw", "app.kubernetes.io/instance": head}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": head},
        "spec": {"selector": labels, "ports": [{"port": _PORT, "targetPort": _PORT}]},
    }
    found = [
        service,
        _job(job, job.name, labels, {"initContainers": [scheduler], "containers": [repeat]}, 1),
        _job(
            job, workers, {**labels, "app.kubernetes.io/instance": workers},
            {"containers": [one]}, job.asked.workers,
        ),
    ]  # fmt: skip
    return {"apiVersion": "v1", "kind": "List", "items": found}


def _container(job: KubernetesJob, command: str, arguments: list[str]) -> dict[str, Any]:
    return {
        "name": command,
        "image": job.image,
        "args": [command, *arguments],
        "workingDir": _WORK,
        "volumeMounts": [{"name": "work", "mountPath": _WORK}],
    }


def _job(
    job: KubernetesJob, name: str, labels: dict[str, str], pod: dict[str, Any], many: int
) -> dict[str, Any]:
    claim = {"persistentVolumeClaim": {"claimName": job.claim}} if job.claim else {"emptyDir": {}}
    spec: dict[str, Any] = {
        "template": {
            "metadata": {"labels": labels},
            "spec": {**pod, "restartPolicy": "Never", "volumes": [{"name": "work", **claim}]},
        },
        "parallelism": many,
        "completions": many,
        # A lost worker is replaced; a failed repeat is not repeated.
        "backoffLimit": 0 if name == job.name else 100,
    }
    if job.asked.walltime:
        spec["activeDeadlineSeconds"] = job.asked.walltime
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip
