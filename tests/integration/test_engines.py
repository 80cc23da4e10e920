"""One image, every engine: arguments, exit codes, the work directory, signals, and what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import write  # noqa: E402

import nbrw_builder  # noqa: E402
import nbrw_runtime  # noqa: E402
from nbrw_builder.entry import Entry, LayerPlan  # noqa: E402
from nbrw_builder.image import ENTRYPOINT, RUNSCRIPT  # noqa: E402

pytestmark = pytest.mark.integration
BUSYBOX = Path("/bin/busybox")
COMMANDS = ("sh", "cat", "echo", "env", "id", "ls", "mount", "pwd", "sleep", "touch")
ROOTS = [str(Path(p.__file__).parent.parent) for p in (nbrw_builder, nbrw_runtime)]
PROGRAM = f"""
import sys
sys.path[:0] = {ROOTS!r}
from nbrw_builder.run_image import run_image
from nbrw_runtime.errors import NbrwError
name, _, contain = sys.argv[1].partition("+")
try:
    sys.exit(run_image(sys.argv[2], sys.argv[3:], engine=name, contain=bool(contain)))
except NbrwError as error:
    print(type(error).__name__, error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A small image of each kind whose runscript runs its arguments; readable by anybody."""
    if not BUSYBOX.exists():
        pytest.skip("needs a static /bin/busybox (package busybox-static)")
    if not shutil.which("mksquashfs"):
        pytest.skip("needs mksquashfs (package squashfs-tools)")
    base = LayerPlan(
        "system",
        (
            Entry("/bin/busybox", 0o755, source=BUSYBOX),
            *(Entry(f"/bin/{name}", target="busybox") for name in COMMANDS),
            *(Entry(path) for path in ("/proc", "/sys", "/dev", "/var", "/nbrw/work")),
            Entry("/tmp", 0o1777),
            Entry("/etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n"),
            Entry("/nbrw/root/home/ada/env", data=b"the environment\n"),
            Entry("/home"),
            Entry("/etc/group", data=b"root:x:0:\n"),
            Entry("/var/tmp", 0o1777),
            Entry("/.singularity.d/env/90-environment.sh", data=b"export FROM_IMAGE=yes\n"),
            Entry("/.singularity.d/env/99-base.sh", data=b""),
            *(
                Entry(path, 0o755, data=b'#!/bin/sh\nexec "$@"\n')
                for path in (RUNSCRIPT, ENTRYPOINT)
            ),
        ),
    )
    place = Path(tempfile.mkdtemp(prefix="nbrw-engines-"))
    place.chmod(0o755)
    for name in ("a.sif", "a.tar", "layout"):
        write(place / name, place / "cache", below=base)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def work():
    """A work directory that an ordinary user can be given."""
    with tempfile.TemporaryDirectory(prefix="nbrw-work-") as place:
        yield Path(place)


class Caller:
    """Somebody who runs images: ``uid`` 0, or an ordinary user of this machine."""

    def __init__(self, uid, images, work):
        self.images, self.work, self.uid = images, work, uid
        self.home = work / "home"
        self.home.mkdir()
        self.prefix = []
        self.python = sys.executable
        if uid != os.geteuid():
            os.chown(work, uid, uid)
            os.chown(self.home, uid, uid)
            self.prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]

    def argv(self, engine, image, *args):
        return [*self.prefix, self.python, "-c", PROGRAM, engine, str(self.images / image), *args]

    @property
    def options(self):
        return {
            "cwd": self.work,
            "env": {
                **os.environ,
                "HOME": str(self.home),
                "XDG_CACHE_HOME": str(self.work / "cache"),
                "PYTHONPATH": "/nowhere",
            },
        }

    def run(self, engine, image, *args):
        return subprocess.run(
            self.argv(engine, image, *args),
            capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **self.options,
        )  # fmt: skip


def can_be_read_by(uid):
    """Whether another user can use the interpreter that runs these tests, and our packages."""
    if os.geteuid() != 0:
        return uid == os.geteuid()
    # Once more from within: setpriv itself starts a program with root's rights to find it.
    inner = f"import sys; sys.path[:0] = {ROOTS!r}; import nbrw_builder.run_image"
    probe = f"import subprocess, sys; subprocess.check_call([sys.executable, '-c', {inner!r}])"
    argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable]
    return subprocess.run([*argv, "-c", probe], capture_output=True).returncode == 0


@pytest.fixture(params=["caller", "user"])
def caller(request, images, work):
    """Whoever runs the tests; and, if that is root, an ordinary user too."""
    if request.param == "caller":
        return Caller(os.geteuid(), images, work)
    if os.geteuid() != 0:
        pytest.skip("the caller is an ordinary user already")
    if not can_be_read_by(1000):
        pytest.skip(f"{sys.executable} cannot be run by an ordinary user")
    return Caller(1000, images, work)


@pytest.mark.parametrize("image", ["a.sif", "a.tar", "layout"])
def test_the_embedded_engine_hands_over_arguments_and_exit_code(caller, image):
    """Arguments with blanks and dollars arrive as they are."""
    done = caller.run("embedded", image, "sh", "-c", 'echo "$1|$2"; exit 7', "sh", "a b", "$HOME")
    assert (done.returncode, done.stdout) == (7, "a b|$HOME\n"), done.stderr


def test_the_embedded_engine_shows_work_directory_and_home_and_nothing_else_is_writable(caller):
    """Results land in the caller's directory and belong to the caller."""
    done = caller.run(
        "embedded", "a.sif", "sh", "-c",
        "pwd; touch made home/too; touch /made || touch /bin/made || touch /nbrw/made || echo not",
    )  # fmt: skip
    assert done.stdout == f"{caller.work}\nnot\n", done.stderr
    assert (caller.work / "made").stat().st_uid == caller.uid
    assert (caller.home / "too").exists()


def test_a_contained_run_sees_neither_home_nor_tmp(caller):
    """Both are empty, can be written, and are gone afterwards; the work directory stays."""
    (caller.work / "other").mkdir()
    os.chown(caller.work / "other", caller.uid, caller.uid)
    (caller.home / "mine").touch()
    options = {**caller.options, "cwd": caller.work / "other"}
    script = "ls -A ~; ls /tmp; touch ~/made /tmp/made-too made && ls ~; pwd; env"
    done = subprocess.run(
        caller.argv("embedded+contain", "a.sif", "sh", "-c", script),
        capture_output=True, text=True, **options,
    )  # fmt: skip
    shown = caller.work.name
    lines = done.stdout.splitlines()
    assert lines[:3] == [shown, "made", f"{caller.work}/other"], done.stdout + done.stderr
    assert not any(line.startswith("XDG_CACHE_HOME") for line in lines)
    assert (caller.work / "other/made").stat().st_uid == caller.uid
    assert os.listdir(caller.home) == ["mine"] and not Path("/tmp/made-too").exists()
    left = {path.name for path in (caller.work / "cache/nbrw").iterdir()}
    assert left == {"rootfs"}


def test_the_embedded_engine_keeps_the_callers_variables_out(caller):
    """The image's environment script is obeyed."""
    done = caller.run("embedded", "a.sif", "env")
    assert "FROM_IMAGE=yes\n" in done.stdout
    assert "PYTHONPATH" not in done.stdout


def test_the_embedded_engine_runs_as_the_caller_with_a_name(caller):
    """The uid is the caller's and /etc/passwd knows it."""
    done = caller.run("embedded", "a.sif", "sh", "-c", "id -u; cat /etc/passwd")
    uid, *lines = done.stdout.splitlines()
    assert uid == str(caller.uid)
    assert any(line.split(":")[2] == uid for line in lines)


def test_the_embedded_engine_leaves_no_process_and_no_mount(caller):
    """What the image's program left in the background ends with it."""
    before = Path("/proc/self/mountinfo").read_text()
    done = caller.run("embedded", "a.sif", "sh", "-c", "sleep 54321 & echo started")
    assert done.stdout == "started\n", done.stderr
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not sleepers("54321")
    assert os.listdir(caller.work / "cache/nbrw/rootfs/stage") == []


def test_the_embedded_engine_hides_nothing_of_the_author(caller):
    """A caller whose home has the author's path still finds the environment."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a home of that path")
    home = caller.work / "homes"
    (home / "ada").mkdir(parents=True)
    os.chown(home / "ada", caller.uid, caller.uid)
    (home / "ada/mine").touch()
    argv = caller.argv("embedded", "a.sif", "sh", "-c", "ls ~; cat /nbrw/root/home/ada/env")
    shell = f'mount --bind {home} /home && cd /home/ada && HOME=/home/ada exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", *argv],
        capture_output=True, text=True, **caller.options,
    )  # fmt: skip
    assert done.stdout == "mine\nthe environment\n", done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 42), (signal.SIGTERM, 43)])
def test_signals_reach_the_images_program_under_the_embedded_engine(caller, number, code):
    """The program ends as it likes, and nbrw with its exit code."""
    trap = f"trap 'exit {code}' {number.name[3:]}; touch ready; while :; do sleep 0.1; done"
    argv = caller.argv("embedded", "a.sif", "sh", "-c", trap)
    with subprocess.Popen(argv, **caller.options) as child:
        assert wait_until((caller.work / "ready").exists)
        child.send_signal(number)
        assert child.wait(30) == code


def test_a_killed_nbrw_takes_the_images_program_with_it(caller):
    """Nothing goes on computing unseen."""
    argv = caller.argv("embedded", "a.sif", "sh", "-c", "touch ready; sleep 54322")
    with subprocess.Popen(argv, **caller.options) as child:
        assert wait_until((caller.work / "ready").exists)
        child.kill()
    assert wait_until(lambda: not sleepers("54322"))


def test_two_start_at_once_and_unpack_once(caller):
    """The second waits for the first's tree."""
    argv = caller.argv("embedded", "a.sif", "echo", "hello")
    children = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         **caller.options)
        for _ in range(3)
    ]  # fmt: skip
    said = [child.communicate(timeout=60) for child in children]
    assert [out for out, _ in said] == ["hello\n"] * 3
    assert sum("unpacking" in err for _, err in said) == 1


def test_the_embedded_engine_works_in_a_chroot(images, work):
    """Root in a chroot cannot make user namespaces and need not."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a chroot")
    caller = Caller(0, images, work)
    root = work / "chroot"
    root.mkdir()
    script = textwrap.dedent(
        f"""
        mount --rbind / {root} && mount --make-rslave {root}
        cd {root}{work} && chroot {root} sh -c 'cd "$0" && exec "$@"' {work} "$@"

        """
    )
    argv = caller.argv("embedded", "a.sif", "sh", "-c", "pwd; echo in $$")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *argv],
        capture_output=True, text=True, **caller.options,
    )  # fmt: skip
    assert done.stdout == f"{work}\nin 2\n", done.stderr


@pytest.mark.skipif(not shutil.which("podman"), reason="needs podman")
@pytest.mark.parametrize("image", ["a.tar", "layout"])
def test_podman_runs_the_image_in_the_work_directory(caller, image):
    """What it writes belongs to the caller."""
    if caller.uid == 0:
        pytest.skip("podman as root may lack the right to set limits; an ordinary user's is tested")
    done = caller.run("podman", image, "sh", "-c", "touch made; pwd; exit 7")
    if "/proc" in done.stderr or "newuidmap" in done.stderr or "RLIMIT" in done.stderr:
        pytest.skip(f"podman does not start containers here: {done.stderr[-300:]}")
    assert (done.returncode, done.stdout) == (7, "/nbrw/work\n"), done.stderr
    assert (caller.work / "made").stat().st_uid == caller.uid


@pytest.mark.docker
@pytest.mark.parametrize("image", ["a.tar", "layout"])
def test_docker_runs_the_image_in_the_work_directory(images, work, docker_host, monkeypatch, image):
    """Output and errors are told apart, the exit code is passed on, no container stays."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    caller = Caller(os.geteuid(), images, work)
    for _ in range(2):
        done = caller.run("docker", image, "sh", "-c", "touch made; pwd; echo e >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "/nbrw/work\n", "e\n")
    assert (work / "made").exists()
    listing = ["docker", "-H", docker_host, "ps", "--all", "--quiet"]
    assert subprocess.check_output(listing, text=True) == ""


@pytest.mark.docker
def test_ctrl_c_reaches_the_program_in_docker(images, work, docker_host, monkeypatch):
    """It ends as it likes, nbrw with its exit code."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    caller = Caller(os.geteuid(), images, work)
    trap = "trap 'exit 42' INT; touch ready; while :; do sleep 0.1; done"
    argv = caller.argv("docker", "a.tar", "sh", "-c", trap)
    with subprocess.Popen(argv, **caller.options) as child:
        assert wait_until((work / "ready").exists)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 42


@pytest.mark.site
def test_apptainer_at_the_site_runs_the_image(images, site, work, monkeypatch):
    """nbrw on the host, whose `apptainer` is the site's: arguments and exit code pass through."""
    shutil.copy(images / "a.sif", site.share / "engines.sif")
    scripts = HERE.parent / "site"
    shim = work / "bin/apptainer"
    shim.parent.mkdir()
    # The site sees the shared folder under another path.
    words = f'"${{@/{str(site.share).replace("/", chr(92) + "/")}//share}}"'
    # Nor does it find the site by itself: the caller here has another home.
    place = f"export TARGET_SITE_DIR={site.share.parent}"
    shim.write_text(f"#!/bin/bash\n{place}\nexec {scripts}/run --as ada apptainer {words}\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    caller = Caller(0, site.share, work)
    options = {**caller.options, "cwd": site.share}
    script = 'pwd; echo "$1"; cat /nbrw/root/home/ada/env; exit 7'
    done = subprocess.run(
        caller.argv("apptainer", "engines.sif", "sh", "-c", script, "sh", "a $b"),
        capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip
    (site.share / "engines.sif").unlink()
    assert done.stdout == "/share\na $b\nthe environment\n", done.stderr
    assert done.returncode == 7


def sleepers(argument):
    """The processes of this machine that run `sleep ARGUMENT`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[-2:-1] == [argument.encode()]:
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
