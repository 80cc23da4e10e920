"""Programs of the host that is around a container, such as `sbatch`.

Two ways. The container's own PATH has the program: the site put it there, or something that asks
the host. Or the host's root directory is seen at ``/host`` (``apptainer run -B /:/host``): a
process enters it, in a user namespace of its own, and has the host's libraries, settings and users.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbrw_runtime.errors import UsageError
from nbrw_runtime.view import keep_ids

HOST_ROOT = "/host"
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
# What engines and images set would break the host's programs, and those that jobs start.
_DROPPED = ("APPTAINER", "SINGULARITY", "LD_", "PYTHON", "SLURM", "PATH")
_CLONE_NEWUSER = 0x10000000


class HostPrograms:
    """How to run them; ``way`` says it in a few words. Raises UsageError if there is none."""

    def __init__(self, wanted: str, variables: Mapping[str, str] | None = None) -> None:
        found = os.environ if variables is None else variables
        self._environment = {n: t for n, t in found.items() if not n.startswith(_DROPPED)}
        self._root = ""
        if shutil.which(wanted, path=found.get("PATH")):
            self.way = f"{wanted} of this container"
            self._environment = {**self._environment, "PATH": found.get("PATH", _PATH)}
            if "SLURM_DOOR" in found:  # how such a program finds the host
                self._environment["SLURM_DOOR"] = found["SLURM_DOOR"]
            return
        self._environment["PATH"] = found.get("USER_PATH") or _PATH
        if not Path(HOST_ROOT, "proc").is_dir():
            raise UsageError(
                f"run {wanted}: it is not in this container, and the host is not seen at "
                f"{HOST_ROOT}; start with `apptainer run -B /:{HOST_ROOT} IMAGE ...`"
            )
        self._root = HOST_ROOT
        self.way = f"{wanted} of the host, at {HOST_ROOT}"
        done = self.run(["sh", "-c", f"command -v {wanted}"])
        if done.returncode:
            raise UsageError(
                f"run {wanted} of the host at {HOST_ROOT}: it cannot be "
                f"({done.stderr.strip() or 'it is not there'}); print a job with `slurm-script`"
            )

    def run(self, argv: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one to its end in this directory, with this input. Only while there is one thread."""
        cwd = os.getcwd()
        try:
            return subprocess.run(
                list(argv), input=text, env=self._environment, capture_output=True, text=True,
                preexec_fn=(lambda: _enter(self._root, cwd)) if self._root else None,
                timeout=120, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return subprocess.CompletedProcess(list(argv), 127, "", str(error))

    def has(self, path: str) -> bool:
        """Whether the host has this file."""
        return os.path.exists(f"{self._root}{path}")


def _enter(root: str, cwd: str) -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "enter a user namespace")
        keep_ids(uid, gid)
    os.chroot(root)
    os.chdir(cwd)
