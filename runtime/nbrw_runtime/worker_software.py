"""Whether the software of a worker elsewhere is the notebook's, as far as tasks are concerned.

A worker need not have all of it: Jupyter is the kernel's alone, and what the notebook has not
loaded can be missing. What it has loaded, and the worker lacks, may change what libraries do, such
as bottleneck for pandas.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from importlib import metadata

from nbrw_runtime.distributions import names_of_distributions, normal_name

_KERNEL = "ipykernel"


def difference(theirs: Mapping[str, str], ours: Mapping[str, str], needed: Collection[str]) -> str:
    """The first distribution that differs; empty: none. Versions by canonical name.

    Of those that they lack only the ``needed`` count.
    """
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) == ours.get(name) or (name not in theirs and name not in needed):
            continue
        return f"{name}, {theirs.get(name, 'none')} there, {ours.get(name, 'none')} here"
    return ""


def loaded() -> set[str]:
    """The canonical names of the distributions of which this kernel has loaded modules, without
    those that every kernel has.
    """
    tops = {name.partition(".")[0] for name in sys.modules}
    found = {normal_name(name) for top in tops for name in names_of_distributions(top)}
    return found - required(_KERNEL)


def required(name: str) -> set[str]:
    """A distribution with all that it requires, by canonical name."""
    found: set[str] = set()
    todo = [name]
    while todo:
        name = normal_name(todo.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        todo += [_first_name(line) for line in lines if "extra ==" not in line]
    return found


def _first_name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    return found.group() if found else ""
