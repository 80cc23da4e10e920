"""What a report says of a cell's Dask tasks. Pure.

``loaded``, ``run`` and ``needless`` are numbers of tasks; ``misses`` says why tasks ran, with their
number; ``same`` are those of the loaded ones of which it was known only when what they use had run;
``bytes`` is the size of what the others gave, ``saved`` the seconds that all took in the audit.
``labels`` has the numbers of each label. ``edits`` tells of labels in what tasks differ from the
audit's: ``label``, ``number`` of tasks, the commonest ``difference`` of those that were looked at,
and how many ``differences`` these had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbrw_runtime.task_reasons import NO_AUDIT, UNKNOWN_LABEL, in_words
from nbrw_runtime.units import human_size

_EDITS = 5  # lines of a cell


def tasks_lines(counts: Mapping[str, Any]) -> list[str]:
    """For a terminal: how many tasks were loaded and run, why, and what was edited."""
    # Of a cell that is new it goes without saying that its tasks are.
    edits = [
        edit
        for edit in counts.get("edits", ())
        if edit["difference"] not in (UNKNOWN_LABEL, NO_AUDIT)
    ]
    if not (counts.get("loaded") or edits):
        return []
    why = in_words(counts.get("misses", {}))
    lines = [f"of its tasks {numbers(counts)}" + (f": {why}" if why else "")]
    lines += [
        f"task {edit['label']} ({edit['number']}): {difference(edit)}" for edit in edits[:_EDITS]
    ]
    if len(edits) > _EDITS:
        lines.append(f"{len(edits) - _EDITS} more kinds of tasks were edited; `why` has them all")
    return lines


def numbers(counts: Mapping[str, Any]) -> str:
    """``9 were loaded (1.2 MB, saved 3.4 s); 2 ran``."""
    size = f"{human_size(counts['bytes'])}, " if "bytes" in counts else ""
    loaded, same = counts.get("loaded", 0), counts.get("same", 0)
    figures = f" ({size}saved {counts.get('saved', 0.0):.1f} s)" if loaded else ""
    of_these = f", {same} of them as what they use ran and came to the same" if same else ""
    return f"{loaded} were loaded{figures}{of_these}; {counts.get('run', 0)} ran"


def difference(edit: Mapping[str, Any]) -> str:
    """In what tasks differ; that some do in something else."""
    return edit["difference"] + ("; others differ otherwise" if edit["differences"] > 1 else "")
