"""A part of a trace: some of its cells, by other numbers if they moved since. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nbrw_runtime.paths import is_software
from nbrw_runtime.trace import Event, Kind, Trace

_LOADS = (Kind.READ, Kind.EXEC)


@dataclass(frozen=True)
class PartialTrace(Trace):
    """Without the cells that do not count; ``whole`` has their events, too: who started whom."""

    whole: tuple[Event, ...] = ()


def part_of(trace: Trace, cells: Mapping[int, int]) -> PartialTrace:
    """What these cells did, and what belongs to no cell; cells get the numbers they map to.

    Software that another cell loaded is there for those that ran after it in the same kernel, so it
    stays, as belonging to no cell.
    """
    last = max(cells, default=0)
    events = []
    for event in trace.events:
        number = event.cell or event.origin
        if not number or number in cells:
            events.append(_moved(event, cells))
        elif number < last and event.ok and event.kind in _LOADS and is_software(event.path or ""):
            events.append(replace(event, cell=None, origin=None))
    gaps = tuple(gap for gap in trace.gaps if not gap.cell or gap.cell in cells)
    return PartialTrace(trace.header, tuple(events), gaps, trace.complete, trace.events)


def _moved(event: Event, cells: Mapping[int, int]) -> Event:
    cell = cells[event.cell] if event.cell else event.cell
    origin = cells.get(event.origin) if event.origin else event.origin
    if (cell, origin) == (event.cell, event.origin):
        return event
    return replace(event, cell=cell, origin=origin)
