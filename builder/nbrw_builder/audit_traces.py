"""The traces of an audit's runs: of each only what its cells did that count, as they stand now."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from nbrw_builder.audit_directory import AuditDirectory, AuditState
from nbrw_builder.trace_file import read_trace
from nbrw_builder.trace_merge import merged
from nbrw_builder.trace_part import part_of
from nbrw_runtime.errors import FormatError
from nbrw_runtime.trace import Trace

_TRACE_SECONDS = 60.0


def executed(state: AuditState) -> list[dict[int, int]]:
    """For each run the cells of the audit that it executed: numbers in its trace to those now."""
    found = []
    for index, run in enumerate(state.runs):
        if run.cells:
            found.append(dict(run.cells))
            continue
        later = state.runs[index + 1 :]
        limit = min((other.first for other in later), default=len(state.cells) + 1)
        found.append({number: number for number in range(run.first, limit)})
    return found


def load_traces(
    directory: AuditDirectory, state: AuditState, only: Collection[int] | None = None
) -> list[Trace] | None:
    """The traces of all runs, each without the cells that were executed again, or went, since.

    ``only``: the cells that are wanted (by their number now). What happened in no cell stays. None
    if a trace is missing or is none.
    """
    traces: list[Trace] = []
    for run, cells in zip(state.runs, executed(state), strict=True):
        # A kernel that was started again within a run has the next number.
        found = sorted(directory.trace.glob(f"{run.trace}.jsonl*"))
        if not found:
            return None
        elsewhere = sorted(directory.trace.glob(f"{run.trace}.worker-*.jsonl"))
        try:
            trace = merged(read_trace(found[0]), [read_trace(path) for path in elsewhere])
        except (OSError, FormatError):
            return None
        if only is not None:
            cells = {then: now for then, now in cells.items() if now in only}
        traces.append(part_of(trace, cells))
    return traces


def await_traces(directory: AuditDirectory) -> bool:
    """Wait until tracers have written what kernels did; whether they have, within a minute."""
    deadline = time.monotonic() + _TRACE_SECONDS
    waiting = list(directory.trace.glob("*.jsonl.zst"))
    while time.monotonic() < deadline:
        waiting = [p for p in waiting if not _done_mark(p).exists()]
        if not waiting:
            return True
        time.sleep(0.02)
    return False


def _done_mark(trace: Path) -> Path:
    return trace.with_name(trace.name.split(".")[0] + ".done")
