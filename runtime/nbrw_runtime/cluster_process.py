"""The commands `scheduler` and `worker` of an image: Dask's own, as a repeat's kernel starts them.

They run in the notebook's interpreter and environment, and see the author's paths (`view.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbrw_runtime import cluster_tls
from nbrw_runtime.errors import UsageError
from nbrw_runtime.recipe import Recipe
from nbrw_runtime.repeat_kernel import interpreter_options, kernel_environment
from nbrw_runtime.view import open_view, temporary_directory
from nbrw_runtime.workdir import WorkDirectory

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_SIOCGIFADDR = 0x8915  # netdevice(7)


@dataclass(frozen=True)
class Keeper:
    """Who starts workers for a scheduler: the end of a socket, how many workers there may be, and
    for how many seconds one is kept that has nothing to do.
    """

    descriptor: int
    least: int
    most: int
    idle: float


@dataclass(frozen=True)
class RoleOptions:
    """How one is started.

    ``image`` is the digest of the recipe; ``words`` are options of Dask's own program. A worker has
    the ``address`` of its scheduler or the ``file`` that this wrote, and waits ``wait`` seconds for
    it. ``tls`` is a directory of certificates. ``private``: it has a work directory of its own,
    with the author's inputs, instead of ``work_dir``, which the kernel must see as well. ``keeper``
    is told by the scheduler how many workers it needs.
    """

    role: str
    image: str
    words: tuple[str, ...] = ()
    address: str = ""
    file: str = ""
    wait: float = 60.0
    tls: Path | None = None
    work_dir: Path = Path()
    private: bool = False
    keeper: Keeper | None = None


def run_role(recipe: Recipe, options: RoleOptions) -> int:
    """Start it and wait for its end; returns the exit code. Raises UsageError, StorageError."""
    words, make = list(options.words), False
    if options.tls is not None:
        if options.role == "scheduler":
            make = cluster_tls.prepare(options.tls)
        else:
            cluster_tls.check(options.tls)
        words = [*cluster_tls.dask_words(options.tls), *words]
    orders = {
        "role": options.role,
        "image": options.image,
        "tls": str(options.tls or ""),
        "make_tls": make,
        "address": options.address,
        "file": options.file,
        "wait": options.wait,
        "words": words,
        "keeper": asdict(options.keeper) if options.keeper else None,
    }
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(temporary_directory("nbrw-worker-")))
        work = stack.enter_context(_work_directory(recipe, options))
        outside = work.outside(recipe.dependencies)
        # From here on this process sees the author's paths, and so does what it starts.
        view = open_view(recipe.environment.cwd, work.root, outside)
        for note in filter(None, [view.note]):
            print(f"nbrw: {note}", file=sys.stderr, flush=True)
        environment = kernel_environment(recipe, scratch)
        kept = [options.keeper.descriptor] if options.keeper else []
        return _supervise(launch_argv(recipe, orders), view.cwd, environment, kept)


def launch_argv(recipe: Recipe, orders: Mapping[str, Any]) -> list[str]:
    """The argument vector of Dask's process."""
    options = interpreter_options(recipe.environment.kernel)
    launch = str(Path(__file__).with_name("cluster_launch.py"))
    return [recipe.environment.python, *options, launch, json.dumps(orders)]


def address_here(interface: str = "") -> str:
    """The address of this machine that other nodes most likely reach, or in a network of its own.

    Raises UsageError if there is no such network.
    """
    if interface:
        return _address_in(interface)
    with contextlib.suppress(OSError):
        found = socket.gethostbyname(socket.gethostname())
        if not found.startswith("127."):
            return found
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: the system is asked which way it would go.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _address_in(interface: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            asked = struct.pack("256s", os.fsencode(interface)[:15])
            return socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, asked)[20:24])
        except OSError as error:
            have = ", ".join(name for _, name in socket.if_nameindex())
            raise UsageError(
                f"--interface {interface}: it has no address here ({error.strerror}); there are "
                f"{have}"
            ) from error


@contextlib.contextmanager
def _work_directory(recipe: Recipe, options: RoleOptions) -> Iterator[WorkDirectory]:
    cwd = recipe.environment.cwd
    if not options.private:
        root = options.work_dir.resolve()
        if not root.is_dir():
            raise UsageError(
                f"{options.role} in {root}: it is not a directory here; start it in the work "
                "directory of the repeat, or with --private where nodes share none"
            )
        yield WorkDirectory(root, cwd)
        return
    with temporary_directory("nbrw-work-") as place:
        work = WorkDirectory(Path(place).resolve(), cwd)
        work.open(recipe.dependencies)
        yield work


def _supervise(
    argv: Sequence[str], cwd: str, environment: Mapping[str, str], kept: Sequence[int]
) -> int:
    """Run a program to its end, which it also comes to when this process does.

    It gets these file descriptors, and we have them no more.
    """
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)

    usual = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            preexec_fn=prepare,
            pass_fds=kept,
        )
        for descriptor in kept:
            os.close(descriptor)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: process.send_signal(number))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    code = process.wait()
    return code if code >= 0 else 128 - code
