"""The Python installation that a kernel runs on: where its parts are, and which files it needs."""

from __future__ import annotations

import json
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbrw_builder.host import Host
from nbrw_builder.packages import Package
from nbrw_builder.process import run

_ASK = """
import json, os, platform, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "base_exec_prefix": sys.base_exec_prefix,
    "base_executable": getattr(sys, "_base_executable", "") or sys.executable,
    "stdlib": paths["stdlib"], "platstdlib": paths["platstdlib"],
    "purelib": paths["purelib"], "platlib": paths["platlib"], "path": sys.path,
    "libdir": sysconfig.get_config_var("LIBDIR") or "",
    "library": sysconfig.get_config_var("INSTSONAME") or "",
    "version": platform.python_version(), "platform": platform.platform(),
    "markers": {
        "implementation_name": sys.implementation.name, "os_name": os.name,
        "platform_machine": platform.machine(), "platform_system": platform.system(),
        "platform_release": platform.release(), "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "platform_python_implementation": platform.python_implementation(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
}))
"""
# Parts of the standard library that only Python's own developers, or a screen, need.
_NOT_NEEDED = ("test", "idlelib", "turtledemo", "ensurepip", "lib2to3")


@dataclass(frozen=True)
class Python:
    """What an interpreter says of itself. All paths are absolute."""

    executable: str
    prefix: str
    base_prefix: str
    base_executable: str
    stdlib: str
    platstdlib: str
    purelib: str
    platlib: str
    path: tuple[str, ...]
    libdir: str
    library: str
    version: str
    platform: str
    markers: dict[str, str]

    @property
    def is_venv(self) -> bool:
        """Whether it is a virtual environment on another installation."""
        return self.prefix != self.base_prefix


def ask_python(python: str) -> Python:
    """Ask an interpreter. Raises ProcessError if it does not start."""
    return parse_python(json.loads(run([python, "-I", "-c", _ASK])))


def parse_python(value: dict[str, Any]) -> Python:
    """The answer of an interpreter."""
    known = {name: value[name] for name in Python.__dataclass_fields__}
    known["path"] = tuple(value["path"])
    return Python(**known)


class Interpreters:
    """The installation and virtual environment of one Python, as packages."""

    def __init__(self, host: Host, python: Python) -> None:
        self._host = host
        self._python = python
        base = Package(
            "interpreter",
            "python",
            python.version,
            python.base_prefix,
            tuple(sorted(set(self._base_files()))),
        )
        self._all = {"python": base}
        if python.is_venv:
            files = tuple(sorted(set(self._venv_files())))
            venv = Package("interpreter", "venv", python.version, python.prefix, files, ("python",))
            self._all["venv"] = venv
        self._owners = {path: package for package in self._all.values() for path in package.files}

    def owner(self, path: str) -> Package | None:
        """The installation that a file belongs to."""
        return self._owners.get(path)

    def named(self, name: str) -> Package | None:
        """``python`` or ``venv``."""
        return self._all.get(name)

    def _base_files(self) -> Iterator[str]:
        python = self._python
        bin_directory = posixpath.dirname(python.base_executable)
        short = ".".join(python.version.split(".")[:2])
        names = {"python", "python3", f"python{short}", posixpath.basename(python.base_executable)}
        for name in names:
            path = posixpath.join(bin_directory, name)
            if self._host.lstat(path) is not None:
                yield path
        for name in self._host.listdir(python.libdir):
            if name.startswith("libpython") and ".so" in name:
                yield posixpath.join(python.libdir, name)
        for top in dict.fromkeys((self._base(python.stdlib), self._base(python.platstdlib))):
            yield from self._library(top, top)

    def _base(self, path: str) -> str:
        python = self._python
        if python.is_venv and path.startswith(python.prefix + "/"):
            return python.base_prefix + path[len(python.prefix) :]
        return path

    def _library(self, directory: str, top: str) -> Iterator[str]:
        for name in self._host.listdir(directory):
            path = posixpath.join(directory, name)
            status = self._host.lstat(path)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield path
            elif not (directory == top and _left_out(name)):
                yield from self._library(path, top)

    def _venv_files(self) -> Iterator[str]:
        prefix = self._python.prefix
        for path in (prefix + "/pyvenv.cfg", prefix + "/lib64"):
            if self._host.lstat(path) is not None:
                yield path
        for name in self._host.listdir(prefix + "/bin"):
            if re.fullmatch(r"python[0-9.]*", name):
                yield f"{prefix}/bin/{name}"


def _left_out(name: str) -> bool:
    return (
        name in _NOT_NEEDED
        or name in ("site-packages", "dist-packages")
        or name.startswith("config-")
    )
