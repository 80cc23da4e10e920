"""From traces and facts of the host to dependencies: every used path has exactly one place.

The rules in words are in `docs/dependencies.md`.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nbrw_builder.host import Host
from nbrw_builder.interpreter import Interpreters, Python
from nbrw_builder.noise import is_cache, is_noise
from nbrw_builder.packages import Package, Packages, Provider
from nbrw_builder.packages_conda import CondaPackages
from nbrw_builder.packages_dpkg import DpkgPackages
from nbrw_builder.packages_python import PythonDistributions
from nbrw_builder.packages_rpm import RpmPackages
from nbrw_builder.private import why_private
from nbrw_builder.uses import Use, collect, connection_file
from nbrw_runtime.dependency import (
    GAP_NOTE,
    Data,
    DataState,
    Dependencies,
    LeftOut,
    Software,
    SoftwareKind,
)
from nbrw_runtime.digest import digest_json
from nbrw_runtime.distributions import normal_name
from nbrw_runtime.paths import is_system
from nbrw_runtime.trace import Event, Kind, Trace

_KINDS = {
    "python": SoftwareKind.DISTRIBUTION,
    "conda": SoftwareKind.CONDA,
    "dpkg": SoftwareKind.DPKG,
    "rpm": SoftwareKind.RPM,
    "interpreter": SoftwareKind.INTERPRETER,
    "local": SoftwareKind.LOCAL,
}
_LARGEST_TEXT = 65_536  # bytes of a file that is searched for private keys


@dataclass(frozen=True)
class ResolveOptions:
    """What resolving needs to know beside the traces; all paths absolute.

    ``import_path`` has the directories of ``PYTHONPATH``, which an interpreter does not tell.
    """

    cwd: str
    home: str
    notebook: str
    python: Python
    ignore: tuple[str, ...] = ()
    include_private: tuple[str, ...] = ()
    preserved_root: str = ""
    import_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """Where the bytes of a data path are now; ``link``: it is listed only."""

    path: str
    source: str
    directory: bool = False


@dataclass(frozen=True)
class Resolved:
    """Dependencies, and what packing needs beside them."""

    dependencies: Dependencies
    python: Python
    packages: tuple[Package, ...]
    loose: tuple[str, ...]  # software files that no package owns
    content: tuple[Content, ...]
    site_directories: tuple[str, ...] = ()
    touched: frozenset[str] = frozenset()
    editable: dict[str, str] = field(default_factory=dict)  # source file -> its package
    system: tuple[str, ...] = ()  # used files of system packages, by the names that were used


@dataclass
class _Found:
    software: dict[tuple[str, str, str], tuple[Package, list[Use]]] = field(default_factory=dict)
    loose: list[Use] = field(default_factory=list)
    data: list[Data] = field(default_factory=list)
    content: list[Content] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def resolve(traces: Sequence[Trace], host: Host, options: ResolveOptions) -> Resolved:
    """Tell software from data from what stays behind, for every path that the traces name."""
    uses = collect(traces)
    for trace in traces:
        uses.pop(connection_file(trace), None)
    sites = _site_directories(options.python, uses)
    packages = _packages(host, options.python, sites)
    found = _Found()
    for use in uses.values():
        _place(use, uses, packages, host, options, found)
    touched = [package for package, _ in found.software.values()]
    closure = packages.closure(touched)
    known = {(p.kind, p.name, p.location) for p in touched}
    needing = _dependents(closure)
    software = [_software(package, used) for package, used in found.software.values()]
    software += [
        Software(_KINDS[p.kind], p.name, p.version, p.location, requires=needing.get(_key(p), ()))
        for p in closure
        if (p.kind, p.name, p.location) not in known
    ]
    software += [
        Software(SoftwareKind.FILE, use.path, "", "", _cells(use), _roles(use), 1)
        for use in found.loose
        if ".dist-info/" not in use.path
    ]
    cluster = {
        _end(event)
        for trace in traces
        for event in trace.events
        if event.kind is Kind.CONNECT and event.detail.get("cluster")
    }
    connections = [
        event
        for trace in traces
        for event in trace.events
        if event.kind is Kind.CONNECT and _is_remote(event.detail) and _end(event) not in cluster
    ]
    network = {_end(event) for event in connections}
    gaps = [gap.reason for trace in traces for gap in trace.gaps]
    notes = [*found.notes, *(f"{GAP_NOTE}{gap}" for gap in dict.fromkeys(gaps))]
    dependencies = Dependencies(
        software=tuple(sorted(software, key=lambda s: (s.kind.value, s.name))),
        data=tuple(sorted(found.data, key=lambda d: d.path)),
        left_out=tuple(sorted(found.left_out, key=lambda left: left.path)),
        network=tuple(sorted(network)),
        online=tuple(sorted({event.cell for event in connections if event.cell})),
        notes=tuple(notes),
    )
    loose = tuple(use.path for use in found.loose)
    pairs = [(package, use.path) for package, used in found.software.values() for use in used]
    return Resolved(
        dependencies,
        options.python,
        closure,
        loose,
        tuple(found.content),
        tuple(sites),
        frozenset(name for _, path in pairs for name in (path, host.realpath(path))),
        {path: package.name for package, path in pairs if package.editable},
        tuple(sorted(path for package, path in pairs if package.kind in ("dpkg", "rpm"))),
    )


def _packages(host: Host, python: Python, sites: Sequence[str]) -> Packages:
    providers: list[tuple[str, Provider]] = []
    for prefix in dict.fromkeys((python.prefix, python.base_prefix)):
        if host.lstat(prefix + "/conda-meta") is not None:
            providers.append(("conda", CondaPackages(host, prefix)))
    providers.append(("python", PythonDistributions(host, sites, python.markers)))
    system: list[tuple[str, Provider]] = [
        ("dpkg", DpkgPackages(host)),
        ("rpm", RpmPackages(host)),
    ]
    base = host.realpath(python.base_executable)
    owned = any(provider.owner(base) is not None for _, provider in system)
    owned = owned or any(kind == "conda" for kind, _ in providers)
    if not owned or python.is_venv:
        providers.append(("interpreter", Interpreters(host, python)))
    providers += system
    return Packages(host, providers)


def _site_directories(python: Python, uses: dict[str, Use]) -> list[str]:
    sites = dict.fromkeys((python.purelib, python.platlib, *python.path))
    for path in uses:
        for word in ("/site-packages/", "/dist-packages/"):
            head, found, _ = path.partition(word)
            if found:
                sites[head + word[:-1]] = None
    return [site for site in sites if site.endswith("-packages")]


def _place(
    use: Use,
    uses: dict[str, Use],
    packages: Packages,
    host: Host,
    options: ResolveOptions,
    found: _Found,
) -> None:
    path = use.path
    if is_noise(path, options.home, (options.notebook, *options.ignore)) or (
        use.kinds == {"write"} and is_cache(path, options.home)
    ):
        return
    if use.written and not use.inputs:
        # What was written before the first cell is nobody's result; what is gone again is none
        # either, but one cell may have handed it to another.
        if not use.cells or (host.lstat(path) is None and len(use.cells) < 2):
            return
        if not is_cache(path, options.home) and not _is_software_place(path, options, packages):
            found.data.append(Data(path, DataState.WRITTEN, _cells(use), _roles(use)))
        return
    if use.kinds <= {"absent"}:
        if use.cells and _absence_counts(path, options):
            found.data.append(Data(path, DataState.ABSENT, _cells(use), _roles(use)))
        return
    package = packages.owner(path) if "list" not in use.kinds else None
    if package is not None and package.kind == "python" and ".dist-info/" in path:
        # Whoever looks for plugins reads the metadata of all that is installed.
        found.loose.append(use)
        return
    if package is not None:
        key = (package.kind, package.name, package.location)
        found.software.setdefault(key, (package, []))[1].append(use)
        return
    if "list" in use.kinds and not use.inputs:
        _place_listed(use, uses, host, options, found)
        return
    reason = _private(path, _source(use, options), host, options)
    if reason is not None:
        found.left_out.append(LeftOut(path, reason, _cells(use)))
        return
    if is_cache(path, options.home):
        return
    if _is_software_place(path, options, packages):
        if host.stat(path) is not None:
            found.loose.append(use)
        return
    if not use.cells and not path.startswith(options.cwd + "/"):
        # Read while the kernel started: its own settings.
        found.left_out.append(LeftOut(path, "it was read only when the kernel started"))
        return
    _place_data(use, host, options, found)


def _place_data(use: Use, host: Host, options: ResolveOptions, found: _Found) -> None:
    source = _source(use, options)
    status = host.stat(source)
    if status is None or not stat.S_ISREG(status.st_mode):
        if status is not None:
            return  # a device, a pipe
        found.notes.append(f"{use.path} was read and is gone: it is not in the image")
        found.data.append(Data(use.path, DataState.READ, _cells(use), _roles(use), changed=True))
        return
    if use.written:
        # Both: an input, and a result, so that a repeat gives the notebook a copy to write to.
        found.data.append(Data(use.path, DataState.WRITTEN, _cells(use), _roles(use)))
    changed = not use.preserved and not _as_used(use, status)
    if use.written and not use.preserved:
        changed = True
        found.notes.append(
            f"{use.path} was read and then changed by the notebook, and its first content is lost"
        )
    found.data.append(
        Data(
            use.path,
            DataState.READ,
            _cells(use),
            _roles(use),
            host.digest(source),
            status.st_size,
            changed,
        )
    )
    found.content.append(Content(use.path, source))


def _as_used(use: Use, status: Any) -> bool:
    facts = use.facts
    if facts is None:
        return True
    then = (facts.device, facts.inode, facts.size, facts.ctime_ns)
    return then == (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


def _place_listed(
    use: Use, uses: dict[str, Use], host: Host, options: ResolveOptions, found: _Found
) -> None:
    path = use.path
    if is_system(path) or not use.cells or not _author_place(path, options):
        return
    if path == options.cwd:
        # The import system lists it, too: whether the cell did is for its code to say, in a repeat.
        found.data.append(Data(path, DataState.LISTED, _cells(use), _roles(use)))
        return
    if path in (options.home, "/", "/tmp") or "/.config/" in path + "/":
        return  # so are these; who looks for settings reads those that are there
    if use.names is not None:
        entries = digest_json(sorted(use.names))
        found.data.append(Data(path, DataState.LISTED, _cells(use), _roles(use), entries=entries))
        return
    found.content.append(Content(path, path, directory=True))
    if path in options.python.path or path in options.import_path:
        return  # and these; every worker lists them when it starts
    names = [
        name
        for name in host.listdir(path)
        if not ((child := uses.get(f"{path}/{name}")) is not None and child.written)
    ]
    found.data.append(
        Data(path, DataState.LISTED, _cells(use), _roles(use), entries=digest_json(names))
    )


def _source(use: Use, options: ResolveOptions) -> str:
    """Where the content is that the notebook began with."""
    return posixpath.join(options.preserved_root, use.preserved) if use.preserved else use.path


def _private(path: str, source: str, host: Host, options: ResolveOptions) -> str | None:
    if path in options.include_private:
        return None

    def content() -> bytes:
        status = host.stat(source)
        if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_TEXT:
            return b""
        return host.read(source, _LARGEST_TEXT)

    return why_private(path, options.home, content)


def _is_software_place(path: str, options: ResolveOptions, packages: Packages) -> bool:
    if is_system(path) and not path.startswith("/opt/"):
        return True
    python = options.python
    return path.startswith((python.prefix + "/", python.base_prefix + "/lib/"))


def _author_place(path: str, options: ResolveOptions) -> bool:
    return not path.startswith((options.python.prefix, options.python.base_prefix))


def _absence_counts(path: str, options: ResolveOptions) -> bool:
    """Whether a path that was looked for in vain says anything about data."""
    if is_system(path) or not _author_place(path, options):
        return False
    name = path.rpartition("/")[2]
    if name.endswith((".py", ".pyc", ".so", ".pth", ".cfg")) or name.startswith("pyvenv"):
        return False
    inside = path[len(options.home) + 1 :] if path.startswith(options.home + "/") else path
    return not inside.startswith(".")


def _end(event: Event) -> str:
    return f"{event.detail.get('address')}:{event.detail.get('port')}"


def _is_remote(detail: dict[str, object]) -> bool:
    address = str(detail.get("address", ""))
    if detail.get("family") not in ("inet", "inet6") or not detail.get("port"):
        return False
    return not address.startswith(("127.", "::1", "0.0.0.0")) and address != "::"


def _software(package: Package, used: Sequence[Use]) -> Software:
    cells = tuple(sorted({cell for use in used for cell in use.cells}))
    roles = tuple(sorted({role for use in used for role in use.roles}))
    kind = SoftwareKind.LOCAL if package.editable else _KINDS[package.kind]
    return Software(kind, package.name, package.version, package.location, cells, roles, len(used))


def _dependents(packages: Sequence[Package]) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], set[str]] = {}
    for package in packages:
        for name in package.requires:
            found.setdefault((package.kind, name), set()).add(package.name)
    return {key: tuple(sorted(names)) for key, names in found.items()}


def _key(package: Package) -> tuple[str, str]:
    """A package as others of its kind require it: Python's distributions in any spelling."""
    name = normal_name(package.name) if package.kind == "python" else package.name
    return package.kind, name


def _cells(use: Use) -> tuple[int, ...]:
    return tuple(sorted(use.cells))


def _roles(use: Use) -> tuple[str, ...]:
    return tuple(sorted(use.roles))
