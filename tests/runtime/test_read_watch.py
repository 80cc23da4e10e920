"""A read watch and what it sees of real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nbrw_runtime.accesses import Use, used
from nbrw_runtime.image_software import ImageSoftware
from nbrw_runtime.read_watch import ReadWatch

RUNTIME = Path(__file__).parents[2] / "runtime"
START = f"""
import sys
sys.path.insert(0, {str(RUNTIME)!r})
from nbrw_runtime.read_watch_install import install
reason = install(sys.argv[1])
sys.path.pop(0)
if reason:
    print("not watched:", reason, flush=True)
"""


def program(watch, code, *arguments):
    """The argument vector of a Python program that is watched."""
    return [sys.executable, "-c", START + code, watch.socket_path, *map(str, arguments)]


def run(tmp_path, code, *arguments, **options):
    """Run one to its end; returns what it used, and what it printed."""
    with ReadWatch(tmp_path / "socket", **options) as watch:
        done = subprocess.run(
            program(watch, code, *arguments), cwd=tmp_path, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = used(watch.take())
    found.unseen = [text for text in found.unseen if not text.startswith("the kernel has ended")]
    return found, done.stdout


def below(paths, root):
    """The paths below a directory, relative to it."""
    return sorted(os.path.relpath(path, root) for path in paths if path.startswith(f"{root}/"))


@pytest.fixture(scope="module", autouse=True)
def can_watch(tmp_path_factory):
    """Skips where the host forbids it, as some containers do."""
    _, printed = run(tmp_path_factory.mktemp("probe"), "")
    if printed:
        pytest.skip(printed.strip())


def test_files_are_seen_as_they_were_right_before(tmp_path):
    """Read, looked for in vain, listed, written; by absolute path, with facts."""
    (tmp_path / "data").write_text("content")
    (tmp_path / "dir").mkdir()
    before = (tmp_path / "data").stat()
    found, _ = run(
        tmp_path,
        "import os\n"
        "open('data').read()\n"
        "open('data', 'a').write('more')\n"
        "os.listdir('dir')\n"
        "try: open('missing')\n"
        "except OSError: pass\n"
        "open('out', 'w').write('x')\n"
        "open('out').read()\n",
    )
    stamp = found.read[str(tmp_path / "data")]
    assert (stamp.inode, stamp.size, stamp.mtime) == (
        before.st_ino, len("content"), before.st_mtime_ns,
    )  # fmt: skip
    assert found.read[str(tmp_path / "missing")] is None
    assert below(found.read, tmp_path) == ["data", "missing"]
    assert str(tmp_path / "dir") in found.listed
    assert below(found.written, tmp_path) == ["data", "out"]
    assert found.unseen == []


def test_names_are_made_absolute_as_the_system_does(tmp_path):
    """Against the process' directory or an open one; symbolic links stay in them."""
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("real/a", "real/b", "real/deep/c", "d"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("real/deep")
    found, _ = run(
        tmp_path,
        "import os\n"
        "where = os.open('real', os.O_PATH | os.O_DIRECTORY)\n"
        "os.open('a', 0, dir_fd=where)\n"
        "os.chdir('other')\n"
        "open('../real/./b')\n"
        "open('..//link/c')\n"
        "os.chdir('../link')\n"
        "open('../../d')\n"
        "open('../b')\n",  # of real, not beside the link
    )
    wanted = ["d", "link/c", "real", "real/a", "real/b"]
    assert below(found.read, tmp_path) == wanted


def test_every_process_and_thread_that_descends_from_it_is_seen(tmp_path):
    """Threads, forks, other programs, multiprocessing by spawn, a detached grandchild."""
    (tmp_path / "worker.py").write_text("def read(name):\n    return open(name).read()\n")
    for name in ("fork", "exec", "detached", *(f"t{n}" for n in range(20)), "s0", "s1", "s2"):
        (tmp_path / name).write_text("x")
    code = """
import os, multiprocessing, subprocess, sys, threading
sys.path.insert(0, "")
import worker
if __name__ == "__main__":
    threads = [threading.Thread(target=worker.read, args=(f"t{n}",)) for n in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    child = os.fork()
    if not child:
        worker.read("fork")
        os._exit(0)
    os.waitpid(child, 0)
    subprocess.run(["cat", "exec"], check=True, capture_output=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(worker.read, ["s0", "s1", "s2"])
    end = os.pipe()
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.close(end[0])
            worker.read("detached")
        os._exit(0)
    os.close(end[1])
    os.read(end[0], 1)
"""
    script = tmp_path / "program.py"
    script.write_text(code)
    found, _ = run(tmp_path, "import runpy; runpy.run_path('program.py', run_name='__main__')")
    seen = set(below(found.read, tmp_path))
    assert {"fork", "exec", "detached", "s0", "s1", "s2"} <= seen
    assert {f"t{n}" for n in range(20)} <= seen
    assert any(path.endswith("/cat") for path in [*found.executed, *found.read])
    assert found.unseen == []


def test_ten_thousand_opens_are_all_seen_in_order(tmp_path):
    """None is lost, by one thread or several."""
    with ReadWatch(tmp_path / "socket") as watch:
        code = (
            "import os\n"
            "for n in range(10_000):\n"
            "    try: os.open(f'/nowhere/{n}', 0)\n"
            "    except OSError: pass\n"
        )
        subprocess.run(program(watch, code), check=True, timeout=120)
        paths = [access.path for access in watch.take() if access.path.startswith("/nowhere/")]
    assert paths == [f"/nowhere/{n}" for n in range(10_000)]


def test_what_a_call_used_can_be_taken_when_it_has_returned(tmp_path):
    """The end of a cell comes after its calls; nothing may slip into the next."""
    code = (
        "import os\n"
        "for n in range(300):\n"
        "    try: os.open(f'/nowhere/{n}', 0)\n"
        "    except OSError: pass\n"
        "    os.write(1, b'x')\n"
        "    os.read(0, 1)\n"
    )
    with (
        ReadWatch(tmp_path / "socket") as watch,
        subprocess.Popen(
            program(watch, code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as child,
    ):
        for number in range(300):
            assert child.stdout.read(1) == b"x"
            taken = watch.take()
            assert f"/nowhere/{number}" in [access.path for access in taken]
            assert Use.UNSEEN not in [access.use for access in taken]
            assert watch.seen() == []
            child.stdin.write(b"y")


def test_what_is_moved_linked_and_removed(tmp_path):
    """A name that appears is written; what was moved there is read."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text(name)
    found, _ = run(
        tmp_path,
        "import os\n"
        "os.rename('a', 'a2')\n"
        "os.link('b', 'b2')\n"
        "os.symlink('c', 'c2')\n"
        "os.remove('d')\n"
        "os.mkdir('dir')\n"
        "open('new.tmp', 'w').write('x')\n"
        "os.replace('new.tmp', 'new')\n"
        "os.truncate('c', 0)\n"
        "where = os.open('.', os.O_TMPFILE | os.O_RDWR)\n"
        "import ctypes\n"
        "old, new = f'/proc/self/fd/{where}'.encode(), b'unnamed'\n"
        "assert ctypes.CDLL(None).linkat(-100, old, -100, new, 0x400) == 0\n",
    )
    assert below(found.read, tmp_path) == ["a", "b"]
    assert below(found.written, tmp_path) == ["a2", "b2", "c", "c2", "dir", "new", "unnamed"]
    assert below(found.removed, tmp_path) == ["a", "d"]
    assert below(found.temporary, tmp_path) == ["new.tmp"]
    assert found.unseen == []


def test_software_is_noted_only_if_it_is_changed(tmp_path):
    """And what is ignored is not noted at all; what is mounted among software is none."""
    for name in ("software", "software/mounted", "ignored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("x")
    (tmp_path / "software/file").touch()
    foreign = (str(tmp_path / "software/mounted"), str(tmp_path / "software/file"))
    found, _ = run(
        tmp_path,
        "for top in ('software', 'ignored'):\n"
        "    open(f'{top}/old').read()\n"
        "    open(f'{top}/new', 'w').write('x')\n"
        "open('software/mounted/old')\n"
        "open('software/file')\n",
        ignored=[str(tmp_path / "ignored")],
        software=ImageSoftware((str(tmp_path / "software"),), foreign),
    )
    assert below(found.read, tmp_path) == ["software/file", "software/mounted/old"]
    assert below(found.written, tmp_path) == ["software/new"]


def test_connections_are_seen(tmp_path):
    """With addresses; those beyond this machine can be told."""
    found, _ = run(
        tmp_path,
        "import socket\n"
        "def go(family, address):\n"
        "    with socket.socket(family, socket.SOCK_DGRAM) as s:\n"
        "        try: s.connect(address)\n"
        "        except OSError: pass\n"
        "go(socket.AF_INET, ('127.0.0.1', 8786))\n"
        "go(socket.AF_INET, ('192.0.2.7', 443))\n"
        "go(socket.AF_INET6, ('2001:db8::7', 443))\n"
        "go(socket.AF_UNIX, '/nowhere/socket')\n",
    )
    assert found.connected == [
        "127.0.0.1:8786", "192.0.2.7:443", "[2001:db8::7]:443", "unix:/nowhere/socket",
    ]  # fmt: skip
    assert found.remote == ["192.0.2.7:443", "[2001:db8::7]:443"]


def test_what_cannot_be_followed_is_said(tmp_path):
    """A directory that is moved takes names along that nobody listed."""
    (tmp_path / "dir").mkdir()
    found, _ = run(tmp_path, "import os; os.rename('dir', 'dir2')")
    assert found.unseen == [f"the directory {tmp_path / 'dir'} is moved"]


@pytest.mark.skipif(
    subprocess.run(["unshare", "-r", "-m", "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces",
)
def test_a_process_that_sees_other_files_is_said(tmp_path):
    """Its paths mean something else."""
    found, _ = run(
        tmp_path,
        "import subprocess\nsubprocess.run(['unshare', '-r', '-m', 'cat', '/etc/passwd'], "
        "check=True, capture_output=True)",
    )
    assert any("has another root or mount namespace" in text for text in found.unseen)


SERVING = f"""
import subprocess, sys
sys.path.insert(0, {str(RUNTIME)!r})
from nbrw_runtime.accesses import used
from nbrw_runtime.read_watch import ReadWatch
watch = ReadWatch("socket")
subprocess.run([sys.executable, "-c", sys.argv[1], watch.socket_path], check=True)
found = used(watch.take())
print([text for text in found.unseen if "mounted" in text], flush=True)
"""
MOUNTING = """
import subprocess
directories = "lowerdir=lower,upperdir=upper,workdir=work"
subprocess.run(["fuse-overlayfs", "-o", directories, "mounted"], check=True)
print(open("mounted/file").read(), open("link/file").read(), flush=True)
subprocess.run(["umount", "mounted"], check=True)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("fuse-overlayfs") or not os.path.exists("/dev/fuse"),
    reason="needs root, /dev/fuse and fuse-overlayfs (package fuse-overlayfs)",
)
def test_a_program_that_serves_files_itself_is_not_waited_for(tmp_path):
    """To look at such a file we would wait for the program, and it for us."""
    for name in ("lower", "upper", "work", "mounted"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").write_text("served")
    (tmp_path / "link").symlink_to("mounted")
    argv = ["unshare", "-m", sys.executable, "-c", SERVING, START + MOUNTING]
    said = subprocess.check_output(argv, cwd=tmp_path, text=True, timeout=60).splitlines()
    assert said[0] == "served served"
    assert "may be served by the notebook itself" in said[1]


def test_signals_do_not_disturb(tmp_path):
    """A timer that rings all the time: every open succeeds, and is seen."""
    code = (
        "import os, signal\n"
        "rung = []\n"
        "signal.signal(signal.SIGALRM, lambda *a: rung.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "open('there', 'w').close()\n"
        "for n in range(3000):\n"
        "    os.close(os.open('there', 0))\n"
        "    try: os.open(f'/nowhere/{n}', 0)\n"
        "    except FileNotFoundError: pass\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "assert rung\n"
    )
    found, _ = run(tmp_path, code)
    assert {path for path in found.read if path.startswith("/nowhere/")} == {
        f"/nowhere/{n}" for n in range(3000)
    }
    assert found.unseen == []


def test_a_killed_process_is_nothing_unseen(tmp_path):
    """A call that was never made needs no word, whenever the end comes."""
    code = (
        "import os, signal, threading, time\n"
        "for n in range(40):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        while True: os.close(os.open('/etc/passwd', 0))\n"
        "    time.sleep(0.002)\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n"
    )
    found, _ = run(tmp_path, code)
    assert found.unseen == []


def test_a_process_with_threads_is_not_watched_and_both_sides_say_so(tmp_path):
    """They would not be under the filter; the process goes on as if nothing had been asked."""
    code = f"""
import sys, threading, time
threading.Thread(target=time.sleep, args=(1,)).start()
sys.path.insert(0, {str(RUNTIME)!r})
from nbrw_runtime.read_watch_install import install
print(install(sys.argv[1]))
open("/etc/passwd").close()
"""
    with ReadWatch(tmp_path / "socket") as watch:
        argv = [sys.executable, "-c", code, watch.socket_path]
        said = subprocess.check_output(argv, text=True).strip()
        assert said == "the kernel has several threads already"
        wait_for(lambda: said in watch.why_not)
        (told,) = used(watch.take()).unseen
        assert told == said


def test_under_another_listener_a_process_is_not_watched(tmp_path):
    """The system allows one; the outer watch goes on."""
    with ReadWatch(tmp_path / "outer") as outer, ReadWatch(tmp_path / "inner") as inner:
        code = f"print(install({inner.socket_path!r}))\nopen('/nowhere/x')"
        done = subprocess.run(program(outer, code), capture_output=True, text=True)
        assert done.stdout.startswith("this host does not let a kernel be watched:")
        assert "FileNotFoundError" in done.stderr
        assert "/nowhere/x" in used(outer.take()).read
        wait_for(lambda: "does not let" in inner.why_not)


def test_without_a_watch_a_process_goes_on(tmp_path):
    """It says why it is not watched; so does a watch that nobody asks."""
    argv = [sys.executable, "-c", START + "open('/etc/passwd')", str(tmp_path / "nobody")]
    assert "not watched: the watch cannot be reached" in subprocess.check_output(argv, text=True)
    with ReadWatch(tmp_path / "socket") as watch:
        assert used(watch.seen()).unseen == ["the kernel did not ask to be watched"]


def test_where_no_socket_can_be_nothing_is_raised(tmp_path):
    """A repeat goes on, and keeps no results."""
    with ReadWatch(tmp_path / "no/such/directory/socket") as watch:
        assert watch.socket_path == ""
        (told,) = used(watch.take()).unseen
        assert told.startswith("no kernel can be watched here: ")


def test_a_socket_with_a_long_path_serves_too(tmp_path):
    """Addresses of sockets are short, temporary directories of batch systems are not."""
    place = tmp_path / ("d" * 120)
    place.mkdir()
    (place / "data").write_text("x")
    found, printed = run(place, "open('data')")
    assert below(found.read, place) == ["data"] and printed == ""


def wait_for(condition, seconds=30):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


SUPERVISOR = f"""
import subprocess, sys, time
sys.path.insert(0, {str(RUNTIME)!r})
from nbrw_runtime.image_software import ImageSoftware
from nbrw_runtime.read_watch import ReadWatch
watch = ReadWatch(sys.argv[1])
subprocess.run([sys.executable, "-c", sys.argv[2], watch.socket_path])
"""
OPENING = (
    START
    + """
import errno, os, time
print(os.getpid(), flush=True)
while True:
    try:
        os.close(os.open("/etc/passwd", 0))
    except OSError as error:
        print("failed:", errno.errorcode[error.errno], flush=True)
        break
print("ended", flush=True)
"""
)


def test_when_the_watching_process_is_killed_calls_fail_and_nothing_hangs(tmp_path):
    """SIGKILL, in the middle of thousands of opens: an error of the call, then the usual end."""
    for number in range(5):
        place = tmp_path / str(number)
        place.mkdir()
        argv = [sys.executable, "-c", SUPERVISOR, str(place / "socket"), OPENING]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as supervisor:
            supervisor.stdout.readline()
            time.sleep(0.05)
            supervisor.kill()
            assert supervisor.stdout.read() == "failed: ENOSYS\nended\n"


def test_what_outlives_the_watch_goes_on_and_so_does_nothing_else(tmp_path):
    """A detached program can open files after the end; the process that lets it ends with it."""
    code = (
        "import os, time\n"
        "print(os.getpid(), flush=True)\n"
        "for n in range(200):\n"
        "    os.close(os.open('/etc/passwd', 0)); time.sleep(0.01)\n"
        "open('last', 'w').write('whole')\n"
    )
    with ReadWatch(tmp_path / "socket") as watch:
        with subprocess.Popen(program(watch, code), cwd=tmp_path, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            watch_ends = threading.Thread(target=watch.close)
            watch_ends.start()
            watch_ends.join()
            assert child.poll() is None and len(answering()) == 1
            assert child.wait(60) == 0
        watch.close = lambda: None
    assert (tmp_path / "last").read_text() == "whole"
    wait_for(lambda: not answering())


def answering():
    """Processes forked from this one that have a listener open."""
    found = []
    own = Path("/proc/self/cmdline").read_bytes()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes() != own:
                    continue
                links = [os.readlink(link) for link in (entry / "fd").iterdir()]
                found += [entry.name for link in links if "seccomp notify" in link]
    return found


def test_ctrl_c_reaches_a_watched_program(tmp_path):
    """As without a watch."""
    code = (
        "import os\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    while True: os.close(os.open('/etc/passwd', 0))\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    with (
        ReadWatch(tmp_path / "socket") as watch,
        subprocess.Popen(program(watch, code), stdout=subprocess.PIPE, text=True) as child,
    ):
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "interrupted\n"
        assert child.wait(30) == 0
