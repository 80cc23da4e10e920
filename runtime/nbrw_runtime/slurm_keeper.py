"""The keeper: a process beside a repeat that has its workers run as jobs of Slurm.

It runs the scheduler, which says what workers it needs (`cluster_demand.py`), submits a job for
each, tells it of jobs that are over (their walltime, their node), so that it may want others, and
cancels all of them when the repeat ends. It knows that by a pipe that closes however the repeat
ended, killed as well. Should the keeper be killed, too, the scheduler goes with it, and workers end
without a scheduler.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbrw_runtime.cluster_process import address_here
from nbrw_runtime.errors import UsageError
from nbrw_runtime.host_programs import HostPrograms
from nbrw_runtime.records import from_json
from nbrw_runtime.slurm_job import Orders, job_script, own_command

_LOOK_SECONDS = 5.0
_START_SECONDS = 60.0
_PORTS = (20000, 32768)
_AT_ONCE = 60.0  # a job that is gone before nothing was wrong for so long has ended at once


class JobsFail(Exception):
    """No job can be submitted, or each ends as soon as it starts; the message says more."""


def keep(text: str, pipe: int) -> int:
    """Be the keeper. Returns when the other end of the pipe is closed.

    The first line of output is the scheduler's address, or what is wrong.
    """
    orders = from_json(Orders, json.loads(text), "the keeper's orders")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # The repeat says when it is over. (What is ignored would be ignored by what we start, too.)
        signal.signal(number, lambda number, frame: None)
    try:
        host, port = address_here(orders.asked.interface), free_port()
    except UsageError as error:
        print(error, flush=True)
        return 1
    address = f"{'tls' if orders.tls else 'tcp'}://{host}:{port}"
    jobs = Jobs(HostPrograms("sbatch"), orders, address)
    scheduler, connection = _start_scheduler(orders, host, port)
    try:
        try:
            # Jobs take as long to start as the scheduler does; workers wait for it.
            jobs.begin()
        except JobsFail as error:
            print(error, flush=True)
            return 1
        if connection.read(_START_SECONDS).get("address") != address:
            print(f"the scheduler did not start; see {orders.directory}/scheduler.log", flush=True)
            return 1
        print(address, flush=True)
        return _follow(pipe, connection, jobs)
    finally:
        scheduler.terminate()
        jobs.cancel_all()
        scheduler.wait()


def free_port() -> int:
    """A port that is free, and none of those that the system gives away by itself."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _follow(pipe: int, connection: Connection, jobs: Jobs) -> int:
    """Do what the scheduler says until the repeat is over; without it what waits for workers
    fails.
    """
    next_look = time.monotonic() + _LOOK_SECONDS
    while True:
        left = max(0.0, next_look - time.monotonic()) if jobs else None
        ready = select.select([pipe, connection.fileno()], [], [], left)[0]
        if pipe in ready:
            return 0
        try:
            if ready:
                said = connection.read(_START_SECONDS)
                if not said:
                    return 1  # the scheduler is gone
                jobs.want(said["wanted"])
            if time.monotonic() >= next_look:
                gone = jobs.look()
                if gone:
                    connection.write({"gone": gone})
                next_look = time.monotonic() + _LOOK_SECONDS
        except JobsFail as error:
            print(f"nbrw: {error}", file=sys.stderr, flush=True)
            return 1


class Jobs:
    """The jobs of one keeper; true if there are any."""

    def __init__(self, programs: HostPrograms, orders: Orders, address: str) -> None:
        self._programs, self._orders = programs, orders
        self._script: Callable[[str], str] = lambda name: job_script(orders, address, name)
        self._wanted: list[str] = []
        self._ids: dict[str, str] = {}  # jobs by worker
        self._begun = False  # what must be there from the beginning has been submitted
        self._left, self._last = 0, 0.0

    def __bool__(self) -> bool:
        return bool(self._ids or self._wanted)

    def begin(self) -> None:
        """Submit those that are to be there from the beginning, under the names that the scheduler
        will have for them; if it is none, ask whether a job would be taken. Raises JobsFail.
        """
        if self._orders.asked.workers:
            self.want([f"worker-{n}" for n in range(1, self._orders.asked.workers + 1)])
            return
        done = self._programs.run(["sbatch", "--test-only"], self._script("worker-1"))
        if done.returncode:
            raise JobsFail(f"sbatch refuses the job of a worker: {done.stderr.strip()}")

    def want(self, names: list[str]) -> None:
        """From now on these workers are wanted, and no others. Raises JobsFail.

        Jobs of others have a while to end by themselves.
        """
        self._wanted = names
        for name in names:
            why = "" if name in self._ids else self._submit(name)
            if why and not self._begun:
                raise JobsFail(f"sbatch failed: {why}")
            if why:
                return  # once more at the next look

    def _submit(self, name: str) -> str:
        """Why it could not be; empty: it was."""
        done = self._programs.run(["sbatch", "--parsable"], self._script(name))
        if done.returncode:
            return done.stderr.strip() or f"exit code {done.returncode}"
        self._ids[name] = done.stdout.strip().partition(";")[0]
        self._begun = self._begun or len(self._ids) >= self._orders.asked.workers
        return ""

    def look(self) -> list[str]:
        """Cancel what nobody wants any more, submit what could not be; the workers whose jobs are
        over. Raises JobsFail if they end as soon as they are submitted.
        """
        words = ["squeue", "--noheader", f"--name={self._orders.name}", "-o%i %T"]
        done = self._programs.run(words)
        if done.returncode:
            return []
        # A job that is completing may wait long for a node that is lost.
        lines = [line.split() for line in done.stdout.splitlines()]
        running = {line[0] for line in lines if line and line[-1] != "COMPLETING"}
        gone = [name for name, job in self._ids.items() if job not in running]
        for name in gone:
            del self._ids[name]
        surplus = [name for name in self._ids if name not in self._wanted]
        if surplus:
            self._programs.run(["scancel", *(self._ids[name] for name in surplus)])
        early = [name for name in gone if name in self._wanted]
        self._wanted = [name for name in self._wanted if name not in early]
        self._count(len(early))
        self.want(self._wanted)
        return early

    def _count(self, many: int) -> None:
        """So many have ended that should not have."""
        if not many:
            return
        now = time.monotonic()
        if now - self._last > _AT_ONCE:
            self._left = 3 * max(self._orders.asked.workers, self._orders.asked.most)
        self._last = now
        self._left -= many
        if self._left < 0:
            logs = Path(self._orders.directory).glob("worker-*.log")
            last = sorted(logs, key=lambda path: path.stat().st_mtime)[-1:]
            said = "".join(path.read_text(errors="replace")[-2000:] for path in last)
            raise JobsFail(f"workers end as soon as they start; the last said:\n{said}")

    def cancel_all(self) -> None:
        """Cancel all that there may be."""
        if self._begun or self._ids:
            self._programs.run(["scancel", f"--name={self._orders.name}"])


class Connection:
    """Lines of JSON from and to the scheduler."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self, seconds: float) -> dict[str, Any]:
        """The next message; empty: it is gone, or has said nothing for so long.

        Nothing is read beyond it, so that whoever waits for the socket misses none.
        """
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.fileno()], [], [], left)[0]:
                return {}
            data = self._socket.recv(1 << 16, socket.MSG_PEEK)
            data = data[: data.find(b"\n") + 1] or data
            if not data:
                return {}
            line += self._socket.recv(len(data))
        found = json.loads(line)
        return found if isinstance(found, dict) else {}

    def write(self, message: dict[str, Any]) -> None:
        """Tell it; if it is gone the next `read` will say so."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")


def _start_scheduler(
    orders: Orders, host: str, port: int
) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = socket.socketpair()
    asked = orders.asked
    keeper = {
        "descriptor": theirs.fileno(),
        "least": asked.workers,
        "most": max(asked.workers, asked.most),
        "idle": orders.idle,
    }
    words = [*own_command(), "scheduler", "--keeper", json.dumps(keeper)]
    words += ["--host", host, "--port", str(port)]
    words += ["--tls", orders.tls] if orders.tls else []
    with open(f"{orders.directory}/scheduler.log", "wb") as log, theirs:
        scheduler = subprocess.Popen(
            words, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()], preexec_fn=_die_with_parent,
        )  # fmt: skip
    return scheduler, Connection(ours)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
