"""Python distributions of an environment, by their metadata on disk; nothing is imported from it.

Source: PyPA specifications "Recording installed projects" (RECORD, direct_url.json) and "Core
metadata" (Requires-Dist).
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterable, Mapping
from email.parser import HeaderParser
from urllib.parse import unquote, urlparse

from packaging.requirements import InvalidRequirement, Requirement

from nbrw_builder.host import Host
from nbrw_builder.packages import Package
from nbrw_runtime.distributions import normal_name

# What belongs to a package in a source tree, where data of the author may lie too.
_SOURCE = (".py", ".pyc", ".so", ".pyi")


class PythonDistributions:
    """The distributions in these site-packages directories."""

    def __init__(
        self, host: Host, directories: Iterable[str], markers: Mapping[str, str] | None = None
    ) -> None:
        self._host = host
        self._markers = dict(markers or {})
        self._by_name: dict[str, Package] = {}
        self._owners: dict[str, Package] = {}
        self._sources: dict[str, Package] = {}
        for directory in dict.fromkeys(directories):
            for name in host.listdir(directory):
                if name.endswith((".dist-info", ".egg-info")):
                    self._read(directory, name)

    def owner(self, path: str) -> Package | None:
        """The distribution that installed a file, or whose editable source it is."""
        found = self._owners.get(path)
        if found is not None:
            return found
        if path.endswith(_SOURCE):
            for root, package in self._sources.items():
                if path.startswith(root + "/"):
                    return package
        return None

    def named(self, name: str) -> Package | None:
        """By name, in any spelling."""
        return self._by_name.get(normal_name(name))

    def _read(self, directory: str, info: str) -> None:
        place = posixpath.join(directory, info)
        metadata = self._host.read(place + "/METADATA") or self._host.read(place + "/PKG-INFO")
        if not metadata:
            return
        head = HeaderParser().parsestr(metadata.decode("utf-8", "replace"), headersonly=True)
        name, version = head.get("Name", ""), head.get("Version", "")
        if not name:
            return
        files = self._recorded(directory, place)
        source = self._editable_source(place)
        package = Package(
            "python",
            name,
            version,
            directory,
            files,
            tuple(self._requires(head.get_all("Requires-Dist") or [])),
            bool(source),
        )
        self._by_name.setdefault(normal_name(name), package)
        for path in files:
            self._owners.setdefault(path, package)
        if source:
            self._sources[source] = package

    def _recorded(self, directory: str, place: str) -> tuple[str, ...]:
        record = self._host.read(place + "/RECORD")
        if record:
            rows = csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape")))
            names = [row[0] for row in rows if row]
            base = directory
        else:
            listed = self._host.read(place + "/installed-files.txt")
            names = listed.decode("utf-8", "surrogateescape").splitlines()
            base = place
            names += [n for n in ("PKG-INFO", "top_level.txt", "entry_points.txt") if n]
        found = []
        for name in names:
            path = posixpath.normpath(posixpath.join(base, name))
            status = self._host.lstat(path)
            if status is not None:
                found.append(path)
        return tuple(sorted(set(found)))

    def _editable_source(self, place: str) -> str:
        try:
            value = json.loads(self._host.read(place + "/direct_url.json") or b"{}")
        except ValueError:
            return ""
        if not value.get("dir_info", {}).get("editable"):
            return ""
        return unquote(urlparse(value.get("url", "")).path).rstrip("/")

    def _requires(self, lines: Iterable[str]) -> Iterable[str]:
        environment = {**self._markers, "extra": ""}
        for line in lines:
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            try:
                needed = requirement.marker is None or requirement.marker.evaluate(environment)
            except Exception:
                needed = True  # a marker that is not understood
            if needed:
                yield normal_name(requirement.name)
