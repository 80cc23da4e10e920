"""A part of a trace: some of its cells, by other numbers if they moved since. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nbrw_runtime.trace import Event, Gap, Trace


@dataclass(frozen=True)
class PartialTrace(Trace):
    """Without the cells that do not count; ``whole`` has their events, too: who started whom."""

    whole: tuple[Event, ...] = ()


def part_of(trace: Trace, cells: Mapping[int, int]) -> PartialTrace:
    """What these cells did, and what belongs to no cell; cells get the numbers they map to."""
    events = tuple(_moved(event, cells) for event in trace.events if _counts(event, cells))
    gaps = tuple(gap for gap in trace.gaps if _counts(gap, cells))
    return PartialTrace(trace.header, events, gaps, trace.complete, trace.events)


def _counts(found: Event | Gap, cells: Mapping[int, int]) -> bool:
    number = found.cell or (found.origin if isinstance(found, Event) else 0)
    return not number or number in cells


def _moved(event: Event, cells: Mapping[int, int]) -> Event:
    cell = cells[event.cell] if event.cell else event.cell
    origin = cells.get(event.origin) if event.origin else event.origin
    if (cell, origin) == (event.cell, event.origin):
        return event
    return replace(event, cell=cell, origin=origin)
