"""The record of an audit while it goes on: what is on disk at any time can be resumed from.

Order matters: ``audit.json`` says where a restored cell comes from before its checkpoint appears.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from nbrw_builder.audit_directory import AuditDirectory, AuditState, Run
from nbrw_builder.audit_former import Source
from nbrw_builder.audit_traces import executed
from nbrw_builder.audit_way import renumbered
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import canonical_json


class AuditRecord:
    """One attempt to audit. ``run`` is its start of the kernel, if it has one."""

    def __init__(self, directory: AuditDirectory, state: AuditState, run: Run | None) -> None:
        self.directory = directory
        self.state = state
        self.checkpoints = directory.checkpoints_of(state)
        self._run = run
        self._restored: set[int] = set()
        self._waiting: list[tuple[Checkpoint, Source]] = []
        self._runs: dict[str, tuple[Run, dict[int, int]]] = {}
        self._write_state()

    @property
    def trace(self) -> int:
        """The number of the trace of this attempt's kernel."""
        assert self._run is not None
        return int(self._run.trace)

    def restore(
        self, source: Source, number: int, count: int, moved: bool
    ) -> tuple[Checkpoint, list[dict[str, Any]]]:
        """A cell is restored; returns its checkpoint and outputs as they are now."""
        checkpoint = renumbered(source, number, moved)
        assert checkpoint.outputs is not None
        store = self.directory.store
        outputs = json.loads(store.get(checkpoint.outputs))
        if moved:
            for output in outputs:
                if output["output_type"] == "execute_result":
                    output["execution_count"] = count
            checkpoint = replace(checkpoint, outputs=store.put(canonical_json(outputs)))
        self._waiting.append((checkpoint, source))
        return checkpoint, outputs

    def publish(self) -> None:
        """Have on disk what was restored: before a cell runs, and at the end."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for checkpoint, source in waiting:
            self._restored.add(checkpoint.cell)
            self._note(source, checkpoint.cell)
        self._write_state()
        for checkpoint, source in waiting:
            written = source.former.directory.written(source.checkpoint.cell)
            self.checkpoints.keep_written(checkpoint.cell, written)
            self.checkpoints.write(checkpoint)

    def end(self) -> AuditState:
        """All cells are known: what was before is of no use any more."""
        self.publish()
        self.state = replace(self.state, former=())
        self._write_state()
        return self.state

    def _note(self, source: Source, number: int) -> None:
        then = source.former.state
        for run, cells in zip(then.runs, executed(then), strict=True):
            for traced, audited in cells.items():
                if audited == source.checkpoint.cell:
                    self._runs.setdefault(run.trace, (run, {}))[1][traced] = number
                    return

    def _write_state(self) -> None:
        runs = [replace(run, cells=_pairs(cells)) for run, cells in self._runs.values()]
        if self._run is not None:
            numbers = [cell.number for cell in self.state.cells]
            mine = {number: number for number in numbers if number not in self._restored}
            if mine:
                runs.append(replace(self._run, cells=_pairs(mine)))
        ordered = tuple(sorted(runs, key=lambda run: run.trace))
        self.state = replace(self.state, runs=ordered)
        self.directory.write_state(self.state)


def _pairs(cells: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(cells.items()))
