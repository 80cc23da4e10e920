"""conda packages of a prefix, by ``conda-meta/*.json``."""

from __future__ import annotations

import json
import posixpath

from nbrw_builder.host import Host
from nbrw_builder.packages import Package


class CondaPackages:
    """The packages of one conda prefix."""

    def __init__(self, host: Host, prefix: str) -> None:
        self._by_name: dict[str, Package] = {}
        self._owners: dict[str, Package] = {}
        directory = posixpath.join(prefix, "conda-meta")
        for name in host.listdir(directory):
            if not name.endswith(".json"):
                continue
            try:
                value = json.loads(host.read(posixpath.join(directory, name)))
            except ValueError:
                continue
            files = [posixpath.join(prefix, path) for path in value.get("files", ())]
            files.append(posixpath.join(directory, name))
            present = tuple(sorted(path for path in files if host.lstat(path) is not None))
            package = Package(
                "conda",
                value.get("name", ""),
                value.get("version", ""),
                prefix,
                present,
                tuple(line.split()[0] for line in value.get("depends", ()) if line),
            )
            self._by_name[package.name] = package
            for path in present:
                self._owners.setdefault(path, package)

    def owner(self, path: str) -> Package | None:
        """The package that installed a file."""
        return self._owners.get(path)

    def named(self, name: str) -> Package | None:
        """By name."""
        return self._by_name.get(name)
