"""How files change on their way to another place in the image, and how Python starts there.

A file whose path on the author's host is not a system path lies below ``/nbrw/root`` (see
:mod:`nbrw_runtime.paths`). Text that names the old place and decides how Python starts is
rewritten: ``pyvenv.cfg``, ``*.pth``, finders of editable installs, the ``#!`` line of scripts,
symbolic links.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from nbrw_builder.host import Host
from nbrw_builder.interpreter import Python
from nbrw_builder.layer import FIXED_TIME
from nbrw_builder.resolve import Resolved
from nbrw_runtime.paths import image_path, is_system

# Recorded variables; none of them is a secret, and their values are checked all the same.
_ALLOWED = re.compile(
    r"(OMP|MKL|OPENBLAS|NUMEXPR|VECLIB|BLIS|NUMBA|GOTO)_[A-Z_]+|DASK_[A-Z0-9_]+|TZ|LANG|LC_[A-Z]+|"
    r"LANGUAGE|PYTHONHASHSEED|PYTHONUTF8|PYTHONIOENCODING|PYTHONOPTIMIZE|MALLOC_[A-Z_]+|"
    r"JAX_[A-Z_]+|XLA_FLAGS|TF_[A-Z_]+|CUBLAS_WORKSPACE_CONFIG|PROJ_DATA|GDAL_DATA"
)
_SECRET = re.compile(r"(token|secret|passw|credential|key|auth|://[^/]*@)", re.IGNORECASE)
_PYC_HEAD = struct.Struct("<4sIII")


@dataclass(frozen=True)
class ImageEnvironment:
    """How Python starts in the image: its path there, directories of libraries, variables."""

    python: str
    library_path: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def image_environment(
    resolved: Resolved, python: str, variables: Mapping[str, str]
) -> ImageEnvironment:
    """How the interpreter ``python`` of the host starts in the image."""
    known = {
        name: text
        for name, text in variables.items()
        if _ALLOWED.fullmatch(name) and not _SECRET.search(name) and not _SECRET.search(text)
    }
    known.setdefault("LANG", "C.UTF-8")
    libraries = []
    facts = resolved.python
    if facts.library and facts.libdir and not is_system(facts.libdir):
        libraries.append(image_path(facts.libdir))
    return ImageEnvironment(image_path(python), tuple(libraries), dict(sorted(known.items())))


def link_target(path: str, target: str) -> str:
    """The text that a symbolic link has in the image, so that it leads to the same file there."""
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if not target.startswith("/") and is_system(path) == is_system(whole):
        return target
    return image_path(whole)


def rewritten(path: str, host: Host, python: Python) -> bytes | None:
    """The content that a small text file has in the image; None if it is unchanged."""
    name = posixpath.basename(path)
    if name == "pyvenv.cfg":
        return _venv_settings(host.read(path))
    if name.endswith(".pth"):
        return _path_file(host.read(path))
    if name.startswith("__editable__") and name.endswith(".py"):
        return _editable_finder(host.read(path))
    if posixpath.dirname(path) in (python.prefix + "/bin", python.base_prefix + "/bin"):
        return _script(path, host)
    return None


def _venv_settings(data: bytes) -> bytes:
    lines = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        key, equals, value = line.partition("=")
        word = value.strip()
        if key.strip() in ("home", "executable", "base-prefix", "base-executable") and word:
            line = f"{key.strip()} {equals} {image_path(word)}"
        elif key.strip() == "command":
            continue
        lines.append(line)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _path_file(data: bytes) -> bytes | None:
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    new = [image_path(line.rstrip()) if line.startswith("/") else line for line in lines]
    if new == lines:
        return None
    return ("\n".join(new) + "\n").encode("utf-8", "surrogateescape")


def _editable_finder(data: bytes) -> bytes | None:
    text = data.decode("utf-8", "surrogateescape")
    new = re.sub(r"(['\"])(/[^'\"\n]+)\1", lambda m: f"{m[1]}{image_path(m[2])}{m[1]}", text)
    return new.encode("utf-8", "surrogateescape") if new != text else None


def _script(path: str, host: Host) -> bytes | None:
    head = host.read(path, 2)
    if head != b"#!":
        return None
    data = host.read(path)
    first, newline, rest = data.partition(b"\n")
    words = first[2:].decode("utf-8", "surrogateescape").split(None, 1)
    if not words or is_system(words[0]) or not words[0].startswith("/"):
        return None
    changed = "#!" + " ".join([image_path(words[0]), *words[1:]])
    return changed.encode("utf-8", "surrogateescape") + newline + rest


def compiled_head(path: str, host: Host) -> bytes | None:
    """The first bytes that a ``.pyc`` has in the image, where all files have one time.

    None if it is not valid for its source on the host, so that it is left out. Source: PEP 552.
    """
    head = host.read(path, _PYC_HEAD.size)
    if len(head) < _PYC_HEAD.size:
        return None
    magic, flags, mtime, size = _PYC_HEAD.unpack(head)
    if flags:
        return head
    directory, _, name = path.rpartition("/")
    source = f"{directory.rpartition('/')[0]}/{name.split('.')[0]}.py"
    status = host.stat(source)
    if status is None or int(status.st_mtime) & 0xFFFFFFFF != mtime:
        return None
    if status.st_size & 0xFFFFFFFF != size:
        return None
    return _PYC_HEAD.pack(magic, flags, FIXED_TIME, size)
