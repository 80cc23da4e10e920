"""What goes into the image beside checkpoints, in layers from the least to the most changed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbrw_builder import base_files
from nbrw_builder.elf import Libraries
from nbrw_builder.entries import Entries
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.host import Host
from nbrw_builder.kernelspec import fallback_roots
from nbrw_builder.packages import Package, source_of
from nbrw_builder.resolve import Resolved
from nbrw_runtime.distributions import normal_name
from nbrw_runtime.paths import image_path, is_system

_OWN_LAYER = 50_000_000  # bytes; a distribution as large as this has a layer of its own
_RUNTIME = "/nbrw/runtime"
_PATHS_FILE = "nbrw-paths.pth"


@dataclass(frozen=True)
class ContentOptions:
    """``runtime_root`` holds the package nbrw_runtime; ``support`` are rendered templates; ``cwd``
    is the author's working directory.
    """

    runtime_root: Path
    minimal: bool = False
    support: tuple[Entry, ...] = ()
    cwd: str = "/"


def software_layers(resolved: Resolved, host: Host, options: ContentOptions) -> list[LayerPlan]:
    """Layers system, interpreter, distributions (large ones apart), runtime and data.

    Raises BuildError naming a file that was used and is gone.
    """
    taken: set[str] = set()
    layers: list[LayerPlan] = []

    def collector() -> Entries:
        return Entries(host, resolved.python, taken)

    def close(name: str, entries: Entries) -> None:
        found = entries.result()
        if found:
            layers.append(LayerPlan(name, found))

    by_kind: dict[str, list[Package]] = {}
    for package in resolved.packages:
        by_kind.setdefault(package.kind, []).append(package)

    system = collector()
    system.add_made(base_files.made())
    system.add_all(
        _system_files(resolved, host, [*by_kind.get("dpkg", []), *by_kind.get("rpm", [])], options)
    )
    system.add_all(resolved.loose)
    close("system", system)

    interpreter = collector()
    for package in by_kind.get("interpreter", []):
        interpreter.add_all(_wanted(package, resolved, options))
    close("interpreter", interpreter)

    # What processes elsewhere loaded of them was not seen.
    chosen = replace(options, minimal=options.minimal and not _has_cluster_elsewhere(resolved))
    rest = collector()
    large: list[tuple[str, Sequence[str]]] = []
    for package in (*by_kind.get("conda", []), *by_kind.get("python", [])):
        files = _wanted(package, resolved, chosen)
        if _size(files, host) < _OWN_LAYER:
            rest.add_all(files)
        else:
            large.append((package.name, files))
    rest.add_made(_extra_paths(resolved))
    close("distributions", rest)
    for name, files in large:
        own = collector()
        own.add_all(files)
        close(f"distribution:{name}", own)

    runtime = collector()
    runtime.add_made(_runtime_entries(options.runtime_root))
    runtime.add_made(options.support)
    close("runtime", runtime)

    data = collector()
    digests = {found.path: found.digest for found in resolved.dependencies.data}
    for content in resolved.content:
        if content.directory:
            data.add(content.path)
        else:
            data.add_content(content.path, content.source, digests.get(content.path))
    data.add_made(_mount_points([options.cwd, *digests]))
    close("data", data)
    return layers


def _mount_points(paths: Iterable[str]) -> list[Entry]:
    """The uppermost directories of the author's paths: in a container nobody can make them."""
    tops = {"/" + path.split("/")[1] for path in paths if path.count("/") > 1}
    return [Entry(top, 0o755) for top in sorted(tops) if not is_system(top)]


#: What every scheduler of Dask's reads.
_SCHEDULER = "/distributed/http/scheduler/"
_LIBRARY = "/lib/python3"  # in the paths of Python's standard library, where a system has it
#: What tells that a distribution is there, and which one.
_SAYS_INSTALLED = (".dist-info/METADATA", ".egg-info/PKG-INFO")


def _wanted(package: Package, resolved: Resolved, options: ContentOptions) -> Sequence[str]:
    if package.editable:
        return [*package.files, *_sources(resolved, package)]
    if not options.minimal or package.kind == "interpreter" or package in _needed(resolved):
        return package.files
    # Of a module that was used either the source or what was compiled from it was opened.
    used = {source_of(path) for path in resolved.touched}
    found = [path for path in package.files if path in used or source_of(path) in used]
    if found:
        # Who asks whether it is installed (`importlib.metadata.distribution`) opens no file of it.
        found += [path for path in package.files if path.endswith(_SAYS_INSTALLED)]
    return list(dict.fromkeys(found))


def _needed(resolved: Resolved) -> list[Package]:
    """The distributions that a kernel needs: the repeat uses more of them than the audit did."""
    known = {normal_name(package.name): package for package in resolved.packages}
    found: dict[str, Package] = {}
    todo = ["ipykernel"]
    while todo:
        name = todo.pop()
        if name in known and name not in found:
            found[name] = known[name]
            todo += [normal_name(needed) for needed in known[name].requires]
    return list(found.values())


def _has_cluster_elsewhere(resolved: Resolved) -> bool:
    """Whether Dask's processes ran with files that were not seen, as their environment may be
    another one's copy: in a repeat they run from the image.
    """
    uses_dask = any(normal_name(package.name) == "distributed" for package in resolved.packages)
    return uses_dask and not any(_SCHEDULER in path for path in resolved.touched)


def _sources(resolved: Resolved, package: Package) -> list[str]:
    """What was used of the source of an editable install."""
    return sorted(path for path in resolved.touched if resolved.editable.get(path) == package.name)


def _size(files: Iterable[str], host: Host) -> int:
    found = (host.lstat(path) for path in files)
    return sum(status.st_size for status in found if status is not None)


def _system_files(
    resolved: Resolved, host: Host, packages: Sequence[Package], options: ContentOptions
) -> list[str]:
    """Files of used system packages, of the base, and the libraries all of these need."""
    if options.minimal:
        files = list(resolved.system)
        if _has_cluster_elsewhere(resolved):
            files += [path for package in packages for path in package.files if _LIBRARY in path]
    else:
        files = [path for package in packages for path in package.files]
    programs = base_files.programs(host)
    # Not their whole packages: those would bring what nobody asked for (perl, by way of debconf).
    files += programs
    files += base_files.trees(host)
    executables = list(programs)
    for package in resolved.packages:
        if package.kind == "interpreter":
            executables += [p for p in package.files if p.endswith(".so") or "/bin/" in p]
    executables += [path for path in files if ".so" in posixpath.basename(path)]
    libraries = Libraries(host)
    files += libraries.closure([host.realpath(path) for path in executables])
    loaders = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
    files += [path for path in loaders if host.stat(path) is not None]
    links = [path for path in base_files.LINKS if host.lstat(path) is not None]
    return [*links, *files]


def _extra_paths(resolved: Resolved) -> list[Entry]:
    """A path file for directories of packages outside the environment (the user's own site).

    In the image Python is told not to look for a user's site, as it would be the caller's.
    """
    python = resolved.python
    inside = (python.prefix + "/", python.base_prefix + "/", "/usr/")
    extra = [place for place in resolved.site_directories if not place.startswith(inside)]
    if not extra:
        return []
    text = "".join(image_path(place) + "\n" for place in extra)
    where = posixpath.join(image_path(python.purelib), _PATHS_FILE)
    return [Entry(where, 0o644, data=text.encode())]


def _runtime_entries(root: Path) -> list[Entry]:
    entries = []
    for source in sorted((root / "nbrw_runtime").rglob("*.py")):
        place = f"{_RUNTIME}/nbrw_runtime/{source.relative_to(root / 'nbrw_runtime')}"
        entries.append(Entry(place, 0o644, source=source))
    for name in ("dill", "cloudpickle"):
        for fallback in fallback_roots():
            directory = Path(fallback) / name
            if not directory.is_dir():
                continue
            for source in sorted(directory.rglob("*.py")):
                parts = source.relative_to(directory).parts
                if "tests" not in parts:
                    place = f"{_RUNTIME}/{name}/{'/'.join(parts)}"
                    entries.append(Entry(place, 0o644, source=source))
            break
    return entries
