"""Run images with nothing but Linux: unpacked once, then in namespaces of their own.

For machines without Apptainer, podman and Docker. Like Apptainer it shows the image read-only
with the caller's home, work directory and ``/tmp``; unlike it, the caller's environment variables
stay outside (as with ``apptainer run --cleanenv``).
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import nbrw_builder
import nbrw_runtime
from nbrw_builder.cache import default_cache
from nbrw_builder.contained import Apart, keep_apart
from nbrw_builder.docker_client import IN_AN_ENGINE, KIND
from nbrw_builder.engine import RunRequest
from nbrw_builder.errors import HostError
from nbrw_builder.foreground import run_foreground
from nbrw_builder.image import RUNSCRIPT
from nbrw_builder.rootfs import unpacked
from nbrw_builder.sandbox import Order
from nbrw_runtime.errors import UsageError
from nbrw_runtime.paths import is_system

# As `apptainer --cleanenv` keeps them.
_KEPT = {
    "HOME", "USER", "LOGNAME", "TERM", "XDG_CACHE_HOME", "NBRW_CACHE_DIR", "NBRW_CACHE_SIZE",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
    "ALL_PROXY", "NO_PROXY",
}  # fmt: skip
_FOR_THE_IMAGE = ("APPTAINERENV_", "SINGULARITYENV_")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START = (
    'for file in /.singularity.d/env/*.sh; do if [ -f "$file" ]; then . "$file"; fi; done; '
    f'exec {RUNSCRIPT} "$@"'
)


class EmbeddedEngine:
    """Needs Linux and namespaces: of users for an ordinary user, of mounts for root."""

    name = "embedded"

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache or default_cache()

    def missing(self, kind: str) -> str | None:
        """See :class:`nbrw_builder.engine.Engine`."""
        if kind == KIND:
            return IN_AN_ENGINE
        if not sys.platform.startswith("linux"):
            return "needs Linux"
        if kind == "sif" and not shutil.which("unsquashfs"):
            return "needs unsquashfs (`apt-get install squashfs-tools`)"
        return None

    def run(self, request: RunRequest) -> int:
        """See :class:`nbrw_builder.engine.Engine`."""
        lacking = self.missing(request.image.kind)
        if lacking:
            raise HostError(f"run {request.image.path}: the embedded engine {lacking}")
        say = lambda text: print(f"nbrw: {text}", file=sys.stderr)  # noqa: E731
        with (
            unpacked(request.image, self._cache, say, request.identity) as (root, lock),
            # Not an argument, which everybody on the host could read, and no file to be left.
            os.fdopen(os.memfd_create("order"), "w+") as order,
        ):
            check_directory(request.directory, root)
            order.write(make_order(request, root, self._cache / "rootfs" / "stage").to_json())
            order.flush()
            argv = [sys.executable, "-I", "-c", _LAUNCH, str(order.fileno())]
            return run_foreground(argv, pass_fds=[lock, order.fileno()])


_OURS = [str(Path(found.__file__ or "").parent.parent) for found in (nbrw_builder, nbrw_runtime)]
# -I: neither the caller's variables nor a module in the work directory change what is run.
_LAUNCH = f"""
import sys
sys.path[:0] = {_OURS!r}
from nbrw_builder.sandbox import main
with open(int(sys.argv[1])) as order:
    order.seek(0)
    text = order.read()
sys.exit(main(text))
"""


def check_directory(directory: Path, root: Path) -> None:
    """Raise UsageError for a work directory that would hide a part of the image."""
    hides = is_system(str(directory)) and (root / str(directory).lstrip("/")).exists()
    if hides or str(directory) == "/":
        raise UsageError(
            f"run in {directory}: the image has its own; change to a directory of yours"
        )


_CACHES = ("XDG_CACHE_HOME", "NBRW_CACHE_DIR")


def make_order(request: RunRequest, root: Path, stage: Path) -> Order:
    """The sandbox's order: what is mounted, and the environment."""
    environment = {**clean_environment(os.environ), **request.variables}
    directory = str(request.directory)
    apart = Apart()
    if request.contain is not None:
        for name in _CACHES:
            environment.pop(name, None)
    wanted = [environment.get("HOME", ""), "/tmp", "/var/tmp"]
    wanted += [environment.get(name, "") for name in _CACHES]
    binds = [path for path in map(os.path.normpath, wanted) if _can_be_bound(path)]
    if request.contain is not None:
        apart = keep_apart(request.contain, binds, directory)
    return Order(
        root=str(root),
        stage=str(stage),
        argv=("/bin/sh", "-c", _START, RUNSCRIPT, *request.arguments),
        environment=environment,
        directory=directory,
        binds=tuple(dict.fromkeys([*binds, directory])),
        sources=apart.sources,
        inside=apart.inside,
        files=tuple(path for path in ("/etc/hosts", "/etc/resolv.conf") if Path(path).is_file()),
        texts=_accounts(root),
    )


def _can_be_bound(path: str) -> bool:
    return path.startswith("/") and path != "/" and Path(path).is_dir()


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What the image's program sees of the caller's environment variables."""
    kept = {name: text for name, text in variables.items() if name in _KEPT}
    kept.update(PATH=_PATH, LANG="C.UTF-8")
    for name, text in variables.items():
        for prefix in _FOR_THE_IMAGE:
            if name.startswith(prefix) and name != prefix:
                kept[name[len(prefix) :]] = text
    return kept


def _accounts(root: Path) -> dict[str, str]:
    """The image's passwd with the caller's line, so that the caller has a name in there too."""
    uid, gid = os.getuid(), os.getgid()
    try:
        text = (root / "etc/passwd").read_text()
    except OSError:
        return {}
    if any(line.split(":")[2:3] == [str(uid)] for line in text.splitlines()):
        return {}
    try:
        mine = pwd.getpwuid(uid)
        name, home = mine.pw_name, mine.pw_dir
    except KeyError:  # the host has no name for the caller either
        name, home = "user", os.environ.get("HOME", "/")
    line = f"{name}:x:{uid}:{gid}::{home}:/bin/sh\n"
    return {"/etc/passwd": text + line}
