"""The system calls that Python does not offer: namespaces and mounts. x86-64 and AArch64.

Sources: unshare(2), mount(2), pivot_root(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import platform

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME = 32, 1024, 2048
MS_BIND, MS_REC, MS_UNBINDABLE, MS_PRIVATE = 4096, 16384, 1 << 17, 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# What statvfs(3) calls the flags that a remount in a user namespace must not drop.
_KEPT = {
    os.ST_NOSUID: MS_NOSUID, os.ST_NODEV: MS_NODEV, os.ST_NOEXEC: MS_NOEXEC,
    os.ST_NOATIME: MS_NOATIME, os.ST_NODIRATIME: MS_NODIRATIME, os.ST_RELATIME: MS_RELATIME,
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Enter new namespaces. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    given = [os.fsencode(text) if text else None for text in (source, target, kind)]
    text = os.fsencode(data) if data else None
    _check(_libc.mount(*given, ctypes.c_ulong(flags), text), target)


def bind(source: str, target: str, recursive: bool = True) -> None:
    """Show ``source``, with all that is mounted below it, at ``target`` too."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def make_read_only(target: str) -> None:
    """Make one mount read-only, as it is seen here."""
    now = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT.items() if now & bit)
    mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def pivot_root(new: str, old: str) -> None:
    """Change the root of this mount namespace; ``old`` is a directory below ``new``."""
    number = _PIVOT_ROOT[platform.machine()]
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def detach(target: str) -> None:
    """Unmount with all that is below, as soon as nobody uses it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def die_with_parent(number: int) -> None:
    """Get this signal when the parent dies. Entering a user namespace cancels it."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    """Set-uid programs gain nothing from now on."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
