"""The system calls that the tracer stops at: names, numbers, which need their result."""

from __future__ import annotations

import platform

#: Calls whose exit is awaited, as what they did is known only then.
WITH_RESULT = frozenset(
    {
        "creat", "execve", "execveat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
        "rmdir", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "mknod", "mknodat",
        "truncate", "connect", "chroot", "unshare", "setns", "io_uring_setup",
    }
)  # fmt: skip

#: Opens: whether their exit is awaited depends on their flags.
OPENS = frozenset({"open", "openat", "openat2"})

#: Python's os.readlink uses the first that the machine has; cells are marked by it.
_MARKERS = ("readlink", "readlinkat")


def traced_calls() -> dict[int, str]:
    """Numbers and names of all traced calls on this machine, from python-ptrace's tables."""
    from ptrace.syscall.names import SYSCALL_NAMES

    # Numbers above belong to x32, whose names repeat.
    known = {name: number for number, name in SYSCALL_NAMES.items() if number < 512}
    # Newer than python-ptrace's tables, and the same number on every architecture.
    known.setdefault("openat2", 437)
    known.setdefault("io_uring_setup", 425)
    wanted = set(WITH_RESULT | OPENS)
    wanted.add(_MARKERS[0] if platform.machine() == "x86_64" else _MARKERS[1])
    return {known[name]: name for name in sorted(wanted) if name in known}
