"""rpm packages, by one query of rpm's database for all files and one for what is required.

Source: rpm(8), "QUERY OPTIONS", --queryformat. Capabilities that packages require are resolved by
what others provide, as the database has it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property

from nbrw_builder.errors import ProcessError
from nbrw_builder.host import Host
from nbrw_builder.packages import Package
from nbrw_builder.process import run

_FILES = "[%{=NAME}\t%{=VERSION}-%{=RELEASE}\t%{FILENAMES}\n]"
_REQUIRES = "[%{=NAME}\t%{REQUIRENAME}\n]"
_PROVIDES = "[%{=NAME}\t%{PROVIDENAME}\n]"
_NOT_NEEDED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/",
               "/usr/lib/.build-id/")  # fmt: skip
_ALIASES = ("/bin/", "/sbin/", "/lib/", "/lib64/")


def ask_rpm(form: str) -> str:
    """What ``rpm -qa`` says in this form; nothing where there is no rpm or no database."""
    program = shutil.which("rpm")
    if program is None:
        return ""
    try:
        return run([program, "-qa", "--queryformat", form])
    except ProcessError:
        return ""


class RpmPackages:
    """The packages of an rpm host; none elsewhere."""

    def __init__(self, host: Host, ask: Callable[[str], str] = ask_rpm) -> None:
        self._host = host
        self._ask = ask
        self._made: dict[str, Package] = {}

    def owner(self, path: str) -> Package | None:
        """The package that installed a file, by either name of a merged /usr."""
        other = path[4:] if path.startswith("/usr") else "/usr" + path
        names = (
            (path, other) if other.startswith(_ALIASES) or path.startswith(_ALIASES) else (path,)
        )
        for name in names:
            package = self._owners.get(name)
            if package is not None:
                return self.named(package)
        return None

    def named(self, name: str) -> Package | None:
        """By name."""
        if name not in self._listed:
            return None
        if name not in self._made:
            version, paths = self._listed[name]
            kept = [
                path
                for path in paths
                if not path.startswith(_NOT_NEEDED)
                and (status := self._host.lstat(path)) is not None
                and (status.st_mode & 0o170000) != 0o040000
            ]
            needs = tuple(sorted(self._needs.get(name, set()) - {name}))
            self._made[name] = Package("rpm", name, version, "/", tuple(sorted(kept)), needs)
        return self._made[name]

    @cached_property
    def _listed(self) -> dict[str, tuple[str, list[str]]]:
        found: dict[str, tuple[str, list[str]]] = {}
        for row in self._rows(_FILES, 3):
            found.setdefault(row[0], (row[1], []))[1].append(row[2])
        return found

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {path: name for name, (_, paths) in self._listed.items() for path in paths}

    @cached_property
    def _needs(self) -> dict[str, set[str]]:
        providers = {capability: name for name, capability in self._rows(_PROVIDES, 2)}
        found: dict[str, set[str]] = {}
        for name, capability in self._rows(_REQUIRES, 2):
            provider = providers.get(capability) or self._owners.get(capability)
            if provider is not None:
                found.setdefault(name, set()).add(provider)
        return found

    def _rows(self, form: str, width: int) -> list[list[str]]:
        rows = (line.split("\t") for line in self._ask(form).splitlines())
        return [row for row in rows if len(row) == width]
