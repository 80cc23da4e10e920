"""Which paths are the image's own software, that no repeat has to look at. Pure.

The image's files are what :func:`nbrw_runtime.result.environment_digest` says they are, but for
what the caller has mounted over or among them.
"""

from __future__ import annotations

from dataclasses import dataclass

from nbrw_runtime.mount_table import Mount, is_below, mount_of, read_mounts
from nbrw_runtime.paths import RELOCATED_ROOT, SYSTEM_DIRECTORIES

_OWN = "/nbrw"
_TOPS = (
    *(top for top in SYSTEM_DIRECTORIES if top != _OWN),
    *(RELOCATED_ROOT, f"{_OWN}/runtime", f"{_OWN}/bin", f"{_OWN}/share", "/.singularity.d"),
)


@dataclass(frozen=True)
class ImageSoftware:
    """What lies below ``tops`` is the image's, unless it lies below one of ``foreign``."""

    tops: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def image_software(mounts: str, work: str, marker: str = f"{_OWN}/runtime") -> ImageSoftware:
    """The image's software, in an image.

    ``mounts`` is the text of ``/proc/self/mountinfo``, ``work`` the work directory, ``marker`` a
    path that certainly is the image's.
    """
    found = read_mounts(mounts)
    own = mount_of(found, marker)
    foreign = [mount.point for mount in found if not _is_own(mount, own)]
    foreign.append(work)
    return ImageSoftware(
        _TOPS, tuple(sorted({p for p in foreign if any(is_below(p, top) for top in _TOPS)}))
    )


def _is_own(mount: Mount, own: Mount | None) -> bool:
    """Whether a mount shows the image's directory under its own name, as ``own`` does."""
    if own is None or mount.device != own.device:
        return False
    image = "" if own.root == "/" else own.root
    if own.point != "/":
        if not image.endswith(own.point):
            return mount == own
        image = image[: -len(own.point)]
    return mount.root.rstrip("/") == image + mount.point.rstrip("/")
