"""The repeat kernel as `repeat` drives it: start, restore, run a cell, end; all with limits."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from nbrw_runtime.errors import CellError, RestoreError
from nbrw_runtime.outputs import CellOutputs

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager

_STARTUP_SECONDS = 120
_SHUTDOWN_SECONDS = 4.0


class RepeatKernel:
    """One running kernel."""

    def __init__(self, manager: KernelManager, client: Any, log: Path) -> None:
        self._manager = manager
        self._client = client
        self._log = log
        self._displays: dict[str, list[dict[str, Any]]] = {}

    def run(self, number: int, source: str, timeout: float | None) -> CellOutputs:
        """Run a cell. Raises CellError when it runs past its timeout or the kernel dies."""
        outputs = CellOutputs(self._displays)
        request = self._client.execute(source, store_history=True, stop_on_error=False)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=0.5)
            except Empty:
                self._check_alive(number)
                if deadline is not None and time.monotonic() > deadline:
                    self._interrupt()
                    raise CellError(
                        f"cell {number} ran past its timeout of {timeout:g} s", number
                    ) from None
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                self._reply(request)
                return outputs
            outputs.add(kind, content)
            if deadline is not None and time.monotonic() > deadline:
                self._interrupt()
                raise CellError(f"cell {number} ran past its timeout of {timeout:g} s", number)

    def ask(self, function: str, *arguments: Any) -> dict[str, Any]:
        """Call a function of :mod:`nbrw_runtime.session` in the kernel, unseen by the notebook."""
        return self.asked(function, self.begin(function, *arguments))

    def begin(self, function: str, *arguments: Any) -> str:
        """Have it called; what it gives, :meth:`asked` waits for, before all else is asked."""
        words = ", ".join(repr(word) for word in arguments)
        code = f"__import__('nbrw_runtime.session').session.{function}({words})"
        request = self._client.execute("", silent=True, user_expressions={"answer": code})
        return str(request)

    def asked(self, function: str, request: str) -> dict[str, Any]:
        """The answer. Raises RestoreError if there is none."""
        reply = self._reply(request)
        answer = reply.get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            raise RestoreError(
                f"ask the kernel ({function}): {answer.get('ename')}: {answer.get('evalue')}"
            )
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def _reply(self, request: str) -> dict[str, Any]:
        while True:
            try:
                message = self._client.get_shell_msg(timeout=1)
            except Empty:
                self._check_alive(0)
                continue
            if message["parent_header"].get("msg_id") == request:
                return message["content"]

    def _check_alive(self, number: int) -> None:
        if not self._manager.is_alive():
            lines = self._log.read_text(errors="replace").strip().splitlines()[-8:]
            tail = "".join(f"\n  {line}" for line in lines)
            where = f" in cell {number}" if number else ""
            raise CellError(f"the kernel died{where}{tail}", number)

    def threads(self) -> set[int]:
        """The ids of the kernel's threads."""
        pid = getattr(self._manager.provisioner, "pid", None)
        try:
            return {int(name) for name in os.listdir(f"/proc/{pid}/task")}
        except OSError:
            return set()

    def _interrupt(self) -> None:
        with contextlib.suppress(Exception):
            self._manager.interrupt_kernel()


@contextlib.contextmanager
def started(
    argv: Sequence[str], cwd: str, environment: Mapping[str, str], log: Path
) -> Iterator[RepeatKernel]:
    """Start a kernel, and end it with the block. Raises CellError if it does not start."""
    # Not needed where all cells are restored, and the half of what is imported then.
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    manager = KernelManager()
    manager._kernel_spec = KernelSpec(
        argv=list(argv), display_name="nbrw-repeat", language="python"
    )
    manager.shutdown_wait_time = _SHUTDOWN_SECONDS
    with open(log, "wb") as stream:
        manager.start_kernel(cwd=cwd, env=dict(environment), stdout=stream, stderr=stream)
        client = manager.client()
        try:
            client.start_channels()
            try:
                _wait_for_answer(manager, client)
            except RuntimeError as error:
                tail = "\n  ".join(log.read_text(errors="replace").strip().splitlines()[-8:])
                raise CellError(f"the kernel did not start: {error}\n  {tail}", 0) from error
            yield RepeatKernel(manager, client, log)
        finally:
            client.stop_channels()
            with contextlib.suppress(Exception):
                _end(manager)


def _wait_for_answer(manager: KernelManager, client: Any) -> None:
    """Until the kernel answers, and what it shows arrives. Raises RuntimeError.

    `wait_for_ready` does the same, and then waits a fifth of a second in case there is more.
    """
    deadline = time.monotonic() + _STARTUP_SECONDS
    while True:
        request = client.kernel_info()
        if _arrived(client.get_shell_msg, request, 1.0) and _arrived(
            client.get_iopub_msg, request, 0.2, "idle"
        ):
            return
        if not manager.is_alive():
            raise RuntimeError("it ended at once")
        if time.monotonic() > deadline:
            raise RuntimeError(f"it gives no answer for {_STARTUP_SECONDS} s")


def _arrived(get: Callable[..., Any], request: str, seconds: float, state: str = "") -> bool:
    """Whether a message on this request comes in time, one of this state if any."""
    while True:
        try:
            message = get(timeout=seconds)
        except Empty:
            return False
        found = message["content"].get("execution_state", "")
        if message["parent_header"].get("msg_id") == request and found == state:
            return True


def _end(manager: KernelManager) -> None:
    """Ask the kernel to end, and have it end."""
    manager.interrupt_kernel()
    manager.request_shutdown()
    process = getattr(manager.provisioner, "process", None)
    if process is not None:
        # The manager looks ten times a second.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_SHUTDOWN_SECONDS / 2)
    manager.finish_shutdown()
    manager.cleanup_resources()
