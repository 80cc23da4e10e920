"""Run a program in a directory tree as its root, without privileges and without a daemon.

A process of its own that is given an :class:`Order` as JSON: namespaces for users need a process
without threads. An ordinary user gets a user namespace in
which the ids stay as they are; root needs none (and in a chroot could not have one). The program
has its own mounts and, where /proc can be mounted, its own process ids: when it ends, all that it
started ends, and no mount is left.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from nbrw_builder import linux
from nbrw_builder.sandbox_tree import BIND, LINK, MAKE, outermost, plan_tree
from nbrw_runtime.errors import EXIT_HOST

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SI_KERNEL = 0x80  # si_code of a signal from the terminal, which all of us have had


@dataclass(frozen=True)
class Order:
    """What to run. Paths are the host's.

    ``root`` is the image's tree, ``stage`` an empty directory, ``binds`` are host directories to
    have at their own paths (the home, ``/tmp``, the work directory), ``files`` host files to have
    at theirs where the image has one, ``texts`` the content of such files, by path. ``sources``
    are other directories to show at some of the binds' paths, ``inside`` binds that lie below one
    of those. ``environment`` replaces the caller's.
    """

    root: str
    stage: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    binds: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The text that :func:`main` reads."""
        return json.dumps(asdict(self))


def main(text: str) -> int:
    """Carry out an order; returns the program's exit code, or EXIT_HOST with a message."""
    order = Order(**json.loads(text))
    try:
        status = _outer(order, own_pids=True)
        if status is None:
            status = _outer(order, own_pids=False)
        return EXIT_HOST if status is None else status
    except OSError as error:
        _complain(error)
        return EXIT_HOST


def _outer(order: Order, own_pids: bool) -> int | None:
    """Start the inner process, pass signals on to it; its exit code, None if /proc was refused."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    parent = os.getpid()
    refused, refuse = os.pipe()
    child = os.fork()
    if child == 0:
        _between(order, own_pids, parent, refuse)
    os.close(refuse)
    linux.die_with_parent(signal.SIGTERM)
    status = _attend(child)
    with contextlib.suppress(OSError):
        # In a chroot, what is mounted on the stage may have reached the host.
        linux.detach(order.stage)
    with open(refused, "rb") as stream:
        return None if stream.read() else status


def _between(order: Order, own_pids: bool, parent: int, refuse: int) -> NoReturn:
    """Enter the namespaces. That of process ids holds for children only: one more process."""
    try:
        _enter_namespaces()
        if own_pids:
            linux.unshare(linux.CLONE_NEWPID)
            inner = os.fork()
            if inner:
                os.close(refuse)
                _die_with(parent)
                os._exit(_attend(inner))
            linux.die_with_parent(signal.SIGKILL)
        else:
            _die_with(parent)
        os._exit(_inner(order, own_pids, refuse))
    except OSError as error:
        _complain(error)
    finally:
        os._exit(EXIT_HOST)


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(PermissionError):
            linux.unshare(linux.CLONE_NEWNS)
            return
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _die_with(parent: int) -> None:
    linux.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(EXIT_HOST)


def _inner(order: Order, own_pids: bool, refuse: int) -> int:
    """Build the tree, move into it for good, and be init for the program."""
    _make_private()
    # Whatever is mounted from here on is below this one, so nothing reaches the host.
    linux.mount("tmpfs", order.stage, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    # Nor is it found again in a home that holds the stage.
    linux.mount("", order.stage, flags=linux.MS_UNBINDABLE)
    new = order.stage
    binds = outermost([*filter(os.path.isdir, ("/sys", "/dev")), *order.binds])
    _build(order, new, ["/proc", *binds])
    try:
        if own_pids:
            flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            linux.mount("proc", new + "/proc", "proc", flags)
        else:
            linux.bind("/proc", new + "/proc")
    except OSError as error:
        # Where parts of /proc are covered (a container), no new one may be mounted.
        if own_pids and error.errno in (errno.EPERM, errno.EACCES):
            os.write(refuse, b"/proc")
            return EXIT_HOST
        raise
    for path in binds:
        linux.bind(order.sources.get(path, path), new + path)
    for path in order.inside:
        linux.bind(path, new + path)
    _move_into(new)
    os.close(refuse)
    if not own_pids:
        linux.adopt_orphans()
    linux.no_new_privileges()
    os.chdir(order.directory)
    child = os.fork()
    if child:
        return _attend(child, ending=not own_pids)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_PASSED_ON, signal.SIGCHLD})
        os.execve(order.argv[0], order.argv, order.environment)
    except OSError as error:
        _complain(error)
    finally:
        os._exit(EXIT_HOST)


def _make_private() -> None:
    try:
        linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        # In a chroot, / is no mount; the stage is then made private as soon as it is one.
        if error.errno != errno.EINVAL:
            raise


def _build(order: Order, new: str, targets: list[str]) -> None:
    root = Path(order.root)
    files = {path for path in (*order.files, *order.texts) if (root / path[1:]).is_file()}
    for step in plan_tree(root, [*targets, *files]):
        path = new + step.path
        if step.act == LINK:
            os.symlink(step.source, path)
        elif step.path in order.texts:
            Path(path).write_text(order.texts[step.path])
        elif step.path in files:
            _bind_file(step.path, path)
        elif step.act == MAKE:
            Path(path).mkdir(0o755)
        elif step.act == BIND and Path(step.source).is_dir():
            Path(path).mkdir(0o755)
            linux.bind(step.source, path)
            linux.make_read_only(path)
        else:
            _bind_file(step.source, path)


def _bind_file(source: str, path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    linux.bind(source, path, recursive=False)
    linux.make_read_only(path)


def _move_into(new: str) -> None:
    """Make ``new`` the root, and read-only itself."""
    os.chdir(new)
    try:
        Path(".nbrw-old").mkdir()
        linux.pivot_root(".", ".nbrw-old")
        os.chdir("/")
        linux.detach("/.nbrw-old")
        Path("/.nbrw-old").rmdir()
    except OSError as error:
        # The root of a chroot cannot be exchanged, but changed once more.
        if error.errno != errno.EINVAL:
            raise
        Path(".nbrw-old").rmdir()
        os.chroot(".")
    linux.make_read_only("/")
    # The program may want namespaces of its own, and to bind from here.
    linux.mount("", "/", flags=linux.MS_PRIVATE)


def _attend(child: int, ending: bool = False) -> int:
    """Pass signals on and bury orphans until ``child`` ends; its exit code, 128 + N by signal N.

    ``ending``: kill the descendants that are left then.
    """
    while True:
        found = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if found.si_signo in _PASSED_ON and found.si_code != _SI_KERNEL:
            os.kill(child, found.si_signo)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                if ending:
                    _end_orphans()
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code


def _end_orphans() -> None:
    while True:
        mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not mine:
            return
        for pid in mine:
            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(int(pid), 0)


def _complain(error: OSError) -> None:
    print(
        f"nbrw: start the image: {error.filename or 'a namespace'}: {error.strerror}; "
        "this host may forbid namespaces to ordinary users: install apptainer or podman, or see "
        "the sysctls user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns",
        file=sys.stderr,
    )
