"""The audit kernel as the builder drives it: nbclient for cells, silent requests for the rest."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from nbrw_builder.audit_directory import AuditDirectory
from nbrw_builder.errors import TraceError
from nbrw_builder.kernelspec import Kernel, traced_spec
from nbrw_runtime.errors import CellError

_STARTUP_SECONDS = 120
# A kernel with a Dask cluster often does not end by itself; then it is told to after half of this.
_SHUTDOWN_SECONDS = 4.0


class AuditKernel:
    """One kernel under the tracer, into the trace of this number.

    The notebook's JSON receives outputs and execution counts.
    """

    def __init__(
        self,
        notebook: dict[str, Any],
        kernel: Kernel,
        directory: AuditDirectory,
        cwd: Any,
        timeout: float | None,
        trace: int,
    ) -> None:
        self._json = notebook
        self._node = nbformat.from_dict(notebook)
        self._indices = [
            index for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"
        ]
        self._directory = directory
        self._manager = AsyncKernelManager(kernel_name="nbrw-audit")
        self._manager._kernel_spec = traced_spec(kernel, directory.root, directory.session, trace)
        self._manager.shutdown_wait_time = _SHUTDOWN_SECONDS
        self._kernel = kernel
        self._timeout = timeout
        self._interrupted = False
        self._executed: list[int] = []
        self._client = NotebookClient(
            self._node,
            km=self._manager,
            timeout=None if timeout is None else max(1, round(timeout)),
            startup_timeout=_STARTUP_SECONDS,
            allow_errors=True,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(cwd)}},
        )
        self._client.owns_km = True

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[AuditKernel]:
        """Start the kernel, and end it with the block. Ctrl-C and SIGTERM end the block."""
        with open(self._directory.log, "wb") as log:
            try:
                async with self._client.async_setup_kernel(stdout=log, stderr=log):
                    self._let_signals_cancel()
                    yield self
            except RuntimeError as error:
                if self._client.kc is not None and self._client.code_cells_executed:
                    raise
                raise TraceError(
                    f"start kernel {self._kernel.name} under the tracer: {error}{self._tail()}"
                ) from error

    async def execute(self, number: int) -> dict[str, Any] | None:
        """Execute a cell; returns its error output (``ename``, ``evalue``, ``traceback``) if any.

        Raises CellError when it ran past its timeout or the kernel died.
        """
        index = self._indices[number - 1]
        cell = self._node.cells[index]
        try:
            await self._client.async_execute_cell(cell, index)
        except CellTimeoutError as error:
            raise CellError(
                f"cell {number} ran past its timeout of {self._timeout:g} s", number
            ) from error
        except DeadKernelError as error:
            if self._interrupted:
                # nbclient takes the end of its own task for the kernel's.
                raise asyncio.CancelledError from error
            raise CellError(f"the kernel died in cell {number}{self._tail()}", number) from error
        except CellExecutionError:
            # With a tag that nbclient counts as an error all the same; the output has it.
            pass
        self._executed.append(index)
        raw = self._json["cells"][index]
        raw["outputs"] = json.loads(json.dumps(cell.outputs))
        raw["execution_count"] = cell.execution_count
        errors = [out for out in raw["outputs"] if out["output_type"] == "error"]
        return errors[-1] if errors else None

    async def status(self) -> dict[str, Any]:
        """What went wrong since the start: see ``status`` of :mod:`nbrw_runtime.session`."""
        return await self._ask("status_json")

    async def bring(self, request: dict[str, Any]) -> dict[str, Any]:
        """Prepare a cell's run: see ``bring`` of :mod:`nbrw_runtime.session`."""
        return await self._ask("bring_json", json.dumps(request))

    async def checked(self) -> list[dict[str, Any]]:
        """What of that which was brought turned out to be spoilt."""
        return list((await self._ask("checked_json"))["failed"])

    async def sweep(self) -> dict[str, int]:
        """Have the checkpoints confirmed by a look at the whole state.

        Returns names that changed behind our back, each with the first cell that may have done it.
        """
        return dict((await self._ask("sweep_json"))["late"])

    async def finish(self) -> list[str]:
        """Let the kernel store what it still can; returns notes.

        The notebook receives what later cells changed in the displays of earlier ones.
        """
        for index in self._executed:
            outputs = self._node.cells[index].outputs
            self._json["cells"][index]["outputs"] = json.loads(json.dumps(outputs))
        return list((await self._ask("finish_json")).get("notes", []))

    async def _ask(self, function: str, *arguments: str) -> dict[str, Any]:
        """Call a function of :mod:`nbrw_runtime.session` in the kernel, unseen by the notebook."""
        words = ", ".join(repr(word) for word in arguments)
        code = f"__import__('nbrw_runtime.session').session.{function}({words})"
        client: Any = self._client.kc
        request = client.execute("", silent=True, user_expressions={"answer": code})
        while True:
            try:
                message = await client.get_shell_msg(timeout=5)
            except Exception as error:
                if not await self._manager.is_alive():
                    raise TraceError(f"ask the kernel: it is dead{self._tail()}") from error
                continue
            if message["parent_header"].get("msg_id") == request:
                break
        answer = message["content"].get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            raise TraceError(
                f"ask the kernel ({function}): {answer.get('ename')}: {answer.get('evalue')}"
            )
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def _let_signals_cancel(self) -> None:
        """Let Ctrl-C and SIGTERM cancel the task, so that what it holds is put away in order."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            self._interrupted = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, cancel)

    def _tail(self) -> str:
        lines = self._directory.log.read_text(errors="replace").strip().splitlines()[-8:]
        return ": " + "\n  ".join(["", *lines]) if lines else ""
