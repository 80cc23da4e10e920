"""A run's traces as one: the kernel's, and those of the workers it had elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nbrw_runtime.trace import Event, Trace

#: Process ids of each machine have a range of their own; the first is the kernel's.
_RANGE = 1 << 32


def merged(kernel: Trace, workers: Sequence[Trace]) -> Trace:
    """All events in the order of the cells, and of the machines' clocks within a cell.

    Cells are told apart without a clock; one that is wrong makes a file that one machine wrote and
    another read in the same cell an input as well as a result, so that the cell runs again.
    """
    if not workers:
        return kernel
    found = [(place, kernel.header.began + event.time, event) for place, event in placed(kernel)]
    for number, trace in enumerate(workers, start=1):
        began = trace.header.began
        found += [
            (event.cell or 0, began + event.time, _elsewhere(event, number))
            for event in trace.events
        ]
    found.sort(key=lambda item: item[:2])
    gaps = [gap for trace in (kernel, *workers) for gap in trace.gaps]
    return replace(kernel, events=tuple(event for _, _, event in found), gaps=tuple(gaps))


def placed(trace: Trace) -> Iterator[tuple[float, Event]]:
    """Each event with its place among the cells: what belongs to none comes before the next."""
    places: list[float] = []
    place = float("inf")
    for event in reversed(trace.events):
        place = event.cell or place
        places.append(place)
    return zip(reversed(places), trace.events, strict=True)


def is_elsewhere(pid: int) -> bool:
    """Whether a process of a merged trace is on a worker that the kernel did not start."""
    return pid >= _RANGE


def _elsewhere(event: Event, number: int) -> Event:
    detail = event.detail
    if "parent" in detail:
        detail = {**detail, "parent": int(detail["parent"]) + number * _RANGE}
    return replace(event, pid=event.pid + number * _RANGE, detail=detail)
