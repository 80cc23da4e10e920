"""Which installed distributions a module is from.

As ``importlib.metadata.packages_distributions``, which reads all metadata and looks for every
installed file: half a second, and more where the file system is far away.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable
from importlib import metadata

_CODE = (".py", ".so", ".pyd")


def normal_name(name: str) -> str:
    """A distribution's name, as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of_distributions(top: str) -> list[str]:
    """The names of the distributions that install the module ``top``, or parts of it, in order."""
    return sorted({str(found.metadata["Name"]) for found in _distributions().get(top, ())})


@functools.lru_cache(maxsize=1)
def _distributions() -> dict[str, list[metadata.Distribution]]:
    found: dict[str, list[metadata.Distribution]] = {}
    for distribution in metadata.distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        for top in declared or _installed(distribution):
            found.setdefault(top, []).append(distribution)
    return found


def _installed(distribution: metadata.Distribution) -> set[str]:
    record = distribution.read_text("RECORD")
    if record is None:  # an egg
        return modules_of(str(path) for path in distribution.files or ())
    # A name in quotes has a comma or a quote in it, and so is no module's.
    return modules_of(line.partition(",")[0] for line in record.splitlines())


def modules_of(paths: Iterable[str]) -> set[str]:
    """The names that can be imported first, of installed files."""
    found = set()
    for path in paths:
        if path.endswith(_CODE):
            top, slash, _ = path.partition("/")
            found.add(top if slash else inspect.getmodulename(top))
    return {name for name in found if name and name.isidentifier()}
