"""The map of the code in `docs/code.md` names what there is."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"runtime/nbrw_runtime": "*.py", "builder/nbrw_builder": "**/*.py"}


def mapped(package: str) -> list[str]:
    """The names and patterns of a package's table."""
    section = (ROOT / "docs" / "code.md").read_text().split(f"## {package}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def modules(package: str) -> list[str]:
    place = ROOT / package
    found = place.glob(PACKAGES[package])
    return [str(path.relative_to(place).with_suffix("")) for path in found]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_is_on_the_map(package: str) -> None:
    """Who adds a module says in the map of the code where it belongs."""
    names = mapped(package)
    lost = [m for m in modules(package) if not any(fnmatch.fnmatch(m, name) for name in names)]
    assert not lost, f"docs/code.md does not name {', '.join(sorted(lost))}"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_no_module_that_is_gone(package: str) -> None:
    """Whatever the map of the code names is there."""
    found = modules(package)
    gone = [name for name in mapped(package) if not fnmatch.filter(found, name)]
    assert not gone, f"docs/code.md names {', '.join(gone)}, which is not there"


def test_the_map_is_about_each_module_once() -> None:
    """No row repeats a name that another row has."""
    for package in PACKAGES:
        names = mapped(package)
        assert len(names) == len(set(names))
