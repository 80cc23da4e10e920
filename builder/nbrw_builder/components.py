"""The software of an image as bills of materials name it: recipe and metadata together. Pure."""

from __future__ import annotations

import glob
import hashlib
import json
import posixpath
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from nbrw_builder import licences
from nbrw_builder.purl import purl
from nbrw_runtime.dependency import Software, SoftwareKind
from nbrw_runtime.distributions import normal_name
from nbrw_runtime.paths import image_path
from nbrw_runtime.recipe import Recipe

_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
#: The kind of what every image has from nbrw itself.
RUNTIME = "runtime"


@dataclass(frozen=True)
class Component:
    """One piece of software in the image.

    ``kind`` is a :class:`SoftwareKind`'s value or ``runtime``. ``used``: the trace saw one of its
    files; otherwise it is only packed, for the sake of ``needed_by`` (names of the same kind).
    ``licence`` is an SPDX expression, ``licence_name`` what the metadata say where that is none.
    ``source`` is the address it was installed from, ``digest`` the SHA-256 (hex) of what was
    installed from there, or of a file. Unknown texts are empty.
    """

    kind: str
    name: str
    version: str = ""
    purl: str = ""
    licence: str = ""
    licence_name: str = ""
    author: str = ""
    supplier: str = ""
    source: str = ""
    digest: str = ""
    used: bool = False
    cells: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()
    local: bool = False  # installed from the author's own files: no index has it
    build: str = ""  # of conda: the build string
    channel: str = ""  # of conda

    @property
    def use(self) -> str:
        """A sentence: who used it, or why it is there."""
        if self.used:
            cells = ", ".join(map(str, self.cells))
            where = f" in cell{'s' * (len(self.cells) > 1)} {cells}" if cells else " at the start"
            return f"used{where} by {', '.join(self.roles) or 'the notebook'}"
        needed = f" for {', '.join(self.needed_by)}" if self.needed_by else ""
        return f"packed{needed}, not used in the audit"


def wanted(recipe: Recipe) -> tuple[str, ...]:
    """Glob patterns of the files in the image that say more of its software."""
    found = dict.fromkeys(_OS_RELEASE)
    for item in recipe.dependencies.software:
        root = glob.escape(image_path(item.root)) if item.root else ""
        if item.kind in (SoftwareKind.DISTRIBUTION, SoftwareKind.LOCAL) and root:
            found[f"{root}/*.dist-info/METADATA"] = None
            found[f"{root}/*.dist-info/direct_url.json"] = None
            found[f"{root}/*.egg-info/PKG-INFO"] = None
        elif item.kind is SoftwareKind.CONDA and root:
            found[f"{root}/conda-meta/*.json"] = None
        elif item.kind is SoftwareKind.DPKG:
            found[f"/usr/share/doc/{glob.escape(item.name)}/copyright"] = None
        elif item.kind is SoftwareKind.FILE:
            found[glob.escape(image_path(item.name))] = None
    return tuple(found)


def components(recipe: Recipe, files: Mapping[str, bytes]) -> tuple[Component, ...]:
    """All software of the image; ``files`` are those that :func:`wanted` names, by their path."""
    image = _Image(files)
    found = [image.component(item) for item in recipe.dependencies.software]
    name, _, version = recipe.created_by.partition(" ")
    if name == "nbrw":
        ours = purl("pypi", "nbrw", version)
        found.append(Component(RUNTIME, "nbrw", version, ours, "Apache-2.0"))
    return tuple(sorted(found, key=lambda c: (c.kind, c.name, c.version, c.use)))


class _Image:
    """What the image's files say, by the packages they are about."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._system = _os_release(files)
        self._python = dict(_distributions(files))
        self._conda = dict(_conda(files))

    def component(self, item: Software) -> Component:
        """See :class:`Component`."""
        known: dict[str, Any] = {
            SoftwareKind.DISTRIBUTION: self._distribution,
            SoftwareKind.LOCAL: self._distribution,
            SoftwareKind.CONDA: self._conda_package,
            SoftwareKind.DPKG: self._dpkg,
            SoftwareKind.RPM: self._rpm,
            SoftwareKind.FILE: self._file,
            SoftwareKind.INTERPRETER: self._interpreter,
        }[item.kind](item)
        return Component(
            item.kind.value,
            _clean(item.name),
            item.version,
            used=item.touched > 0,
            cells=item.cells,
            roles=item.roles,
            needed_by=item.requires,
            **known,
        )

    def _distribution(self, item: Software) -> dict[str, Any]:
        key = (image_path(item.root), normal_name(item.name), item.version)
        head, direct = self._python.get(key, (Message(), {}))
        licence, name = licences.of_distribution(head)
        address = str(direct.get("url", ""))
        local = item.kind is SoftwareKind.LOCAL or address.startswith("file:")
        qualifiers = {}
        if "vcs_info" in direct:
            information = direct["vcs_info"]
            address = f"{information.get('vcs')}+{address}@{information.get('commit_id')}"
            qualifiers["vcs_url"] = address
        elif address:
            qualifiers["download_url"] = address
        hashes = direct.get("archive_info", {}).get("hashes", {})
        found = purl("pypi", normal_name(item.name), item.version, qualifiers=qualifiers)
        return {
            "purl": "" if local else found,
            "licence": licence,
            "licence_name": name,
            "author": _person(head),
            "source": "" if local else address,
            "digest": str(hashes.get("sha256", "")),
            "local": local,
        }

    def _conda_package(self, item: Software) -> dict[str, Any]:
        value = self._conda.get((image_path(item.root), item.name, item.version), {})
        channel = str(value.get("channel", "")).rstrip("/")
        # The channel comes as an address, often with the platform at its end.
        short = channel.removesuffix("/" + str(value.get("subdir", ""))).rpartition("/")[2]
        qualifiers = {
            "build": str(value.get("build", "")),
            "channel": short,
            "subdir": str(value.get("subdir", "")),
        }
        text = str(value.get("license") or "")
        expression = licences.spdx_expression(text)
        return {
            "purl": purl("conda", item.name.lower(), item.version, qualifiers=qualifiers),
            "licence": expression,
            "licence_name": "" if expression else text,
            "supplier": short,
            "source": str(value.get("url", "")),
            "digest": str(value.get("sha256", "")),
            "build": qualifiers["build"],
            "channel": short,
        }

    def _dpkg(self, item: Software) -> dict[str, Any]:
        text = self._files.get(f"/usr/share/doc/{item.name}/copyright", b"")
        found = self._of_system("deb", item, "debian")
        return {**found, "licence_name": licences.of_debian(text.decode("utf-8", "replace"))}

    def _rpm(self, item: Software) -> dict[str, Any]:
        return self._of_system("rpm", item, "")

    def _of_system(self, kind: str, item: Software, usual: str) -> dict[str, Any]:
        vendor = self._system.get("ID", usual)
        version = self._system.get("VERSION_ID", "")
        distro = {"distro": f"{vendor}-{version}" if vendor and version else ""}
        return {
            "purl": purl(kind, item.name, item.version, vendor, distro),
            "supplier": self._system.get("NAME", ""),
        }

    def _file(self, item: Software) -> dict[str, Any]:
        data = self._files.get(image_path(item.name))
        return {"digest": "" if data is None else hashlib.sha256(data).hexdigest()}

    def _interpreter(self, item: Software) -> dict[str, Any]:
        # A virtual environment is a directory of this Python's, not another one.
        is_python = item.name == "python"
        return {
            "purl": purl("generic", "python", item.version) if is_python else "",
            "licence": "PSF-2.0" if is_python else "",
        }


def _distributions(
    files: Mapping[str, bytes],
) -> Iterable[tuple[tuple[str, str, str], tuple[Message, dict[str, Any]]]]:
    for path in sorted(files):
        if path.endswith((".dist-info/METADATA", ".egg-info/PKG-INFO")):
            place = posixpath.dirname(path)
            text = files[path].decode("utf-8", "replace")
            head = HeaderParser().parsestr(text, headersonly=True)
            key = (posixpath.dirname(place), normal_name(head.get("Name", "")))
            direct = _object(files.get(place + "/direct_url.json", b"{}"))
            yield (*key, head.get("Version", "")), (head, direct)


def _conda(files: Mapping[str, bytes]) -> Iterable[tuple[tuple[str, str, str], dict[str, Any]]]:
    for path in sorted(files):
        prefix, found, _ = path.rpartition("/conda-meta/")
        if found:
            value = _object(files[path])
            yield (prefix, str(value.get("name", "")), str(value.get("version", ""))), value


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _os_release(files: Mapping[str, bytes]) -> dict[str, str]:
    """What os-release(5) says."""
    data = next((files[path] for path in _OS_RELEASE if path in files), b"")
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, text = line.partition("=")
        if equals and not name.startswith("#"):
            try:
                found[name] = "".join(shlex.split(text))
            except ValueError:
                continue
    return found


def _person(head: Message) -> str:
    for name in ("Author", "Author-email", "Maintainer", "Maintainer-email"):
        text = " ".join(head.get(name, "").split())
        if text and text != "UNKNOWN":
            return text
    return ""


def _clean(text: str) -> str:
    """A path that is not UTF-8 as JSON can say it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
