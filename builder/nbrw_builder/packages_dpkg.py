"""Debian packages, by dpkg's own database.

Source: deb(5), dpkg-query(1), Debian policy chapter 7 (Depends, Pre-Depends, Provides); the merge
of /bin, /lib and /sbin into /usr makes each of their files known by two names.
"""

from __future__ import annotations

import posixpath
import re
from functools import cached_property

from nbrw_builder.host import Host
from nbrw_builder.packages import Package

_DATABASE = "/var/lib/dpkg"
_ALIASES = ("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
_NOT_NEEDED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/",
               "/usr/share/lintian/", "/usr/share/bug/")  # fmt: skip


class DpkgPackages:
    """The packages of a Debian or Ubuntu host; none elsewhere."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def owner(self, path: str) -> Package | None:
        """The package that installed a file, by either of its names."""
        for alias in _names(path):
            name = self._owners.get(alias)
            if name is not None:
                return self.named(name)
        return None

    def named(self, name: str) -> Package | None:
        """By name, or by one that the package provides."""
        key = name if name in self._status else self._provided.get(name, "")
        if key not in self._status:
            return None
        if key not in self._made:
            version, requires = self._status[key]
            self._made[key] = Package("dpkg", key, version, "/", self._files(key), tuple(requires))
        return self._made[key]

    @cached_property
    def _made(self) -> dict[str, Package]:
        return {}

    def _files(self, name: str) -> tuple[str, ...]:
        found = []
        for path in self._lists.get(name, ()):
            if path.startswith(_NOT_NEEDED) and not path.endswith("/copyright"):
                continue
            status = self._host.lstat(path)
            if status is not None and (status.st_mode & 0o170000) != 0o040000:
                found.append(path)
        return tuple(sorted(set(found)))

    @cached_property
    def _lists(self) -> dict[str, list[str]]:
        lists = {}
        directory = posixpath.join(_DATABASE, "info")
        for name in self._host.listdir(directory):
            if name.endswith(".list"):
                text = self._host.read(posixpath.join(directory, name))
                package = name[:-5].split(":")[0]
                lists[package] = text.decode("utf-8", "surrogateescape").splitlines()
        return lists

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {path: name for name, paths in self._lists.items() for path in paths}

    @cached_property
    def _status(self) -> dict[str, tuple[str, list[str]]]:
        return self._parsed[0]

    @cached_property
    def _provided(self) -> dict[str, str]:
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[dict[str, tuple[str, list[str]]], dict[str, str]]:
        status: dict[str, tuple[str, list[str]]] = {}
        provided: dict[str, str] = {}
        text = self._host.read(_DATABASE + "/status").decode("utf-8", "replace")
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
            if "installed" not in fields.get("Status", "").split():
                continue
            name = fields["Package"]
            needs = _names_of(fields.get("Pre-Depends", "")) + _names_of(fields.get("Depends", ""))
            status[name] = (fields.get("Version", ""), needs)
            for other in _names_of(fields.get("Provides", "")):
                provided.setdefault(other, name)
        return status, provided


def _names(path: str) -> tuple[str, ...]:
    if path.startswith("/usr"):
        short = path[4:]
        return (path, short) if short.startswith(_ALIASES) else (path,)
    return (path, "/usr" + path) if path.startswith(_ALIASES) else (path,)


def _names_of(field: str) -> list[str]:
    """Every package a dependency field names, alternatives too: only installed ones count."""
    return [
        re.split(r"[ (:]", word.strip(), maxsplit=1)[0]
        for part in field.split(",")
        for word in part.split("|")
        if word.strip()
    ]
