"""Each edit with nbrw and the others: run, run again, and run edited, each in a new process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kernels
import peers
from edits import Edit
from workloads import CLUSTER

#: A case's results: ``before``, ``again`` and ``after``, each with ``out`` and ``seconds``.
Results = dict[str, list[dict[str, Any]]]
RUNS = (("before", False), ("again", False), ("after", True))


def of_nbrw(edits: Sequence[Edit], place: Path) -> Results:
    """In notebooks: an audit, an unchanged repeat, an edited one."""
    found: Results = {}
    where = kernels.Place(place)
    place.mkdir(parents=True)
    for name, edited in RUNS:
        lay_out(edits, edited, place)
        # All is started before time is taken.
        cells = [f"{CLUSTER}results = []\nclient.submit(abs, -1).result()\n"]
        for edit in edits:
            cells.append(
                f"{edit.source(edited, str(place))}"
                "began = time.perf_counter()\n"
                "out = pipeline(client.submit).result()\n"
                "results.append({'out': out, 'seconds': time.perf_counter() - began})\n"
            )
        mode = "audit" if name == "before" else "repeat"
        found[name] = kernels.run(where, mode, cells, ask="results")["out"]
    return found


def of_peer(peer: peers.Peer, python: Path, edits: Sequence[Edit], place: Path) -> Results:
    """In modules, as most of them do not take a notebook's functions."""
    found: Results = {}
    place.mkdir(parents=True)
    names = [f"case_{number:02}" for number in range(len(edits))]
    for name, edited in RUNS:
        lay_out(edits, edited, place)
        for module, edit in zip(names, edits, strict=True):
            (place / f"{module}.py").write_text(edit.source(edited, str(place)))
        done = peers.run(peer, python, place, "edits", "cached", *names)
        found[name] = [done] * len(edits) if isinstance(done, dict) else done
    return found


def lay_out(edits: Sequence[Edit], edited: bool, place: Path) -> None:
    """Write the files that the cases use."""
    for edit in edits:
        for name, text in edit.contents(edited).items():
            (place / name).write_text(text)
