"""The system calls that a read watch is notified of, by name, with their numbers.

Numbers: the kernel's ``syscall_64.tbl`` and ``asm-generic/unistd.h``. Calls that only ask for facts
(stat, access, readlink) are not among them: `docs/design.md`.
"""

from __future__ import annotations

import platform

_NUMBERS = {
    # name: x86_64, aarch64 (None: it has no such call)
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "creat": (85, None),
    "truncate": (76, 45),
    "execve": (59, 221),
    "execveat": (322, 281),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rmdir": (84, None),
    "connect": (42, 203),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
}
_COLUMNS = {"x86_64": 0, "aarch64": 1}


def watched_calls(machine: str = "") -> dict[int, str]:
    """Numbers and names on this machine, or another. Raises OSError for one that is not known."""
    machine = machine or platform.machine()
    if machine not in _COLUMNS:
        raise OSError(f"the system calls of machine {machine} are not known")
    column = _COLUMNS[machine]
    found = ((numbers[column], name) for name, numbers in _NUMBERS.items())
    return {number: name for number, name in found if number is not None}
