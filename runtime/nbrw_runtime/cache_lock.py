"""The lock of a directory that several programs use: shared by users, exclusive to who removes.

flock(2) holds on local disks, on NFS and on Lustre mounted with ``flock``; elsewhere it is missing,
or only holds on one machine. Then nothing may be removed, since a user may not be seen.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from nbrw_runtime.mount_table import mount_of, read_mounts

_PATIENCE = 30.0  # seconds that somebody may take to remove things
_FORBIDDING = {
    "nfs": ("local_lock=all", "local_lock=flock", "nolock"),
    "nfs4": ("local_lock=all", "local_lock=flock", "nolock"),
    "lustre": ("localflock", "noflock"),
    "cifs": ("nobrl",),
}
_LOCAL_ONLY = ("beegfs", "fuse.")


class CacheLock:
    """Held shared from when it is made until :meth:`close`.

    ``reach`` says why it does not exclude everybody, and is empty if it does. Raises OSError where
    the file cannot be made, TimeoutError (one of them) if somebody keeps it exclusively.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.reach = lock_reach(_mounts(), os.path.realpath(path))
        end = time.monotonic() + _PATIENCE
        try:
            while not self._lock(fcntl.LOCK_SH):
                if time.monotonic() > end:
                    raise TimeoutError(f"another program has locked it for {_PATIENCE:.0f} s")
                time.sleep(0.05)
        except BaseException:
            self.close()
            raise

    def make_exclusive(self) -> bool:
        """Whether nobody else uses the directory now, nor begins to before :meth:`close`."""
        return not self.reach and self._lock(fcntl.LOCK_EX)

    def close(self) -> None:
        """Give it up."""
        os.close(self._descriptor)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self.reach = self.reach or f"the file system has no locks ({error.strerror})"
        return not self.reach or kind == fcntl.LOCK_SH


def lock_reach(mounts: str, path: str) -> str:
    """Why locks of the file at this (real) path may not be seen by everybody; empty: they are.

    ``mounts`` is the text of ``/proc/self/mountinfo``.
    """
    mount = mount_of(read_mounts(mounts), path)
    if mount is None:
        return ""
    bad = [word for word in _FORBIDDING.get(mount.kind, ()) if word in mount.options]
    if bad:
        return f"{mount.kind} is mounted with {bad[0]}: locks hold on one machine only"
    if mount.kind.startswith(_LOCAL_ONLY) and mount.kind != "fuse.fuse-overlayfs":
        return f"locks on {mount.kind} may hold on one machine only"
    return ""


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""
