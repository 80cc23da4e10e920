"""Registries in trouble, and pushes and pulls that are interrupted."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import write  # noqa: E402

import nbrw_builder  # noqa: E402
import nbrw_runtime  # noqa: E402
from nbrw_builder.image_file import open_image  # noqa: E402
from nbrw_builder.registry import retry  # noqa: E402
from nbrw_builder.registry.account import State  # noqa: E402
from nbrw_builder.registry.client import Access  # noqa: E402
from nbrw_builder.registry.errors import RegistryError  # noqa: E402
from nbrw_builder.registry.pull import pull  # noqa: E402
from nbrw_builder.registry.push import push  # noqa: E402
from nbrw_builder.registry.reference import parse_reference  # noqa: E402
from nbrw_runtime.errors import IntegrityError  # noqa: E402
from registry_helper import Fault, Proxy, registry  # noqa: E402

pytestmark = pytest.mark.integration
PLAIN = Access(plain_http=True)
PIECE = 1 << 20
BLOB = "blobs/sha256:"


@pytest.fixture(autouse=True)
def caller(tmp_path, monkeypatch):
    """A caller with an empty home and cache, who waits little between attempts."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "NBRW_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "_FIRST", 0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A registry without TLS that lets everybody in."""
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def proxy(server):
    """What stands between us and the registry."""
    with Proxy(server.host) as found:
        yield found


@pytest.fixture
def image(tmp_path):
    """An OCI directory with a layer of several pieces."""
    found = tmp_path / "image"
    cells = (random.Random(1).randbytes(5 * PIECE + 1234), b"two" * 1000)
    write(found, tmp_path / "builds", cells=cells)
    return found


def contents(root):
    return {path.name: path.read_bytes() for path in (root / "blobs/sha256").iterdir()}


def target_of(proxy, request):
    name = request.node.name.replace("[", "/").strip("]").lower()
    return parse_reference(f"docker://{proxy.host}/{name}:v1")


def large(account):
    return max(account.moved, key=lambda found: found.blob.size)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("HEAD", "", 2, 503),
        Fault("POST", "", 2, 500),
        Fault("PATCH", "", 2, 502),
        Fault("PATCH", "", 2, 429, {"Retry-After": "0"}),
        Fault("PUT", "uploads", 2, 504),
        Fault("PUT", "manifests", 2, 500),
        Fault("PATCH", "", 2, cut=300_000),
        Fault("PUT", "uploads", 2, cut=10),
        Fault("PATCH", "", 9, 404),
        Fault("PATCH", "", 9, 405),
    ],
    ids=["head-503", "post-500", "patch-502", "patch-429", "put-504", "tag-500",
         "patch-dropped", "put-dropped", "no-upload", "no-pieces"],
)  # fmt: skip
def test_a_push_gets_over_what_passes(tmp_path, server, proxy, request, image, fault):
    """Failures of the registry, lost connections, and one that takes no pieces."""
    proxy.faults.append(Fault(**vars(fault)))
    target = target_of(proxy, request)
    account = push(image, target, PLAIN, piece=PIECE)
    assert proxy.faults[0].times < fault.times
    assert server.tags(target.repository) == ["v1"]
    pull(target, tmp_path / "out", PLAIN)
    assert contents(tmp_path / "out") == contents(image)
    assert {found.state for found in account.moved} == {State.SENT}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "manifests", 2, 500),
        Fault("GET", BLOB, 2, 503),
        Fault("GET", BLOB, 2, 429, {"Retry-After": "0"}),
        Fault("GET", BLOB, 3, cut=200),
    ],
    ids=["manifest-500", "blob-503", "blob-429", "blob-dropped"],
)  # fmt: skip
def test_a_pull_gets_over_what_passes(tmp_path, proxy, request, image, fault):
    """And what was there when the connection was lost is not fetched again."""
    target = target_of(proxy, request)
    push(image, target, PLAIN)
    proxy.faults.append(Fault(**vars(fault)))
    account = pull(target, tmp_path / "out", PLAIN)
    assert proxy.faults[0].times == 0
    assert contents(tmp_path / "out") == contents(image)
    assert account.travelled == sum(found.blob.size for found in account.moved)


@pytest.mark.parametrize("status", [429, 500])
def test_what_does_not_pass_ends_in_an_error_and_no_tag(server, proxy, request, image, status):
    """After some attempts, with the object and the remedy."""
    proxy.faults.append(Fault("PATCH", "", 99, status, {"Retry-After": "0"}))
    target = target_of(proxy, request)
    with pytest.raises(RegistryError, match="^push layer cell:1 to .*(try|later)") as error:
        push(image, target, PLAIN, piece=PIECE)
    assert error.value.status == status and error.value.exit_code == 5
    assert len(proxy.requests("PATCH")) == retry.ATTEMPTS
    assert server.tags(target.repository) == []


def test_nobody_waits_for_ever(proxy, request, image):
    """A registry that asks to come back in an hour is told of, not waited for."""
    proxy.faults.append(Fault("HEAD", "", 99, 429, {"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(RegistryError, match="too many requests"):
        push(image, target_of(proxy, request), PLAIN)
    assert len(proxy.requests("HEAD")) <= 4
    assert time.monotonic() - began < 600


def test_a_lost_answer_is_not_a_lost_upload(server, proxy, request, image):
    """The registry has the blob, only nobody said so: it is not sent again."""
    proxy.faults.append(Fault("PUT", "uploads.*digest", 1, 0, cut=0))
    target = target_of(proxy, request)
    push(image, target, PLAIN)
    assert server.tags(target.repository) == ["v1"]


def test_a_layer_that_lost_its_connection_goes_on_where_the_registry_has_it(proxy, request, image):
    """Pieces that were taken are not sent again."""
    target = target_of(proxy, request)
    proxy.faults += [Fault("PATCH", "", 2, slow=0.0), Fault("PATCH", "", 1, 503)]
    account = push(image, target, PLAIN, piece=PIECE)
    sent = [found.length for found in proxy.requests("PATCH")]
    blob = large(account).blob
    assert account.travelled <= sum(found.blob.size for found in account.moved) + PIECE
    assert sum(sent) <= blob.size + PIECE and sent.count(PIECE) >= 5


@pytest.mark.parametrize("resumed", [False, True])
def test_wrong_bytes_are_never_an_image(tmp_path, proxy, request, image, resumed):
    """They are refused, and what is there by then is not gone on with."""
    target = target_of(proxy, request)
    account = push(image, target, PLAIN)
    blob = large(account).blob
    proxy.faults.append(Fault("GET", f"blobs/{blob.digest}", 1, spoil=True))
    if resumed:
        work = tmp_path / ".out.nbrw-pull"
        work.mkdir()
        (work / f"{blob.digest.hex}.part").write_bytes(b"wrong" * 1000)
    with pytest.raises(IntegrityError, match=str(blob.digest)) if not resumed else nothing():
        pull(target, tmp_path / "out", PLAIN)
    assert (tmp_path / "out").exists() is resumed
    pull(target, tmp_path / "out", PLAIN)
    open_image(tmp_path / "out").verify()
    assert not (tmp_path / ".out.nbrw-pull").exists()


class nothing:
    """No error is expected."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def test_a_tag_that_is_another_image_meanwhile_is_noticed(tmp_path, proxy, request, image):
    """A manifest with other bytes than the registry says."""
    target = target_of(proxy, request)
    push(image, target, PLAIN)
    proxy.faults.append(Fault("GET", "manifests", 1, spoil=True))
    with pytest.raises(IntegrityError, match="the manifest"):
        pull(target, tmp_path / "out", PLAIN)
    assert not (tmp_path / "out").exists()


# -- processes that end ------------------------------------------------------------------------

ROOTS = [str(Path(found.__file__).parent.parent) for found in (nbrw_builder, nbrw_runtime)]
CODE = (
    "import sys\n"
    f"sys.path[:0] = {ROOTS!r}\n"
    "from nbrw_builder.registry import upload, push\n"
    f"push.push.__kwdefaults__['piece'] = {PIECE}\n"
    "from nbrw_builder.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


def started(*words):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition, process):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it did not come so far")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_push_goes_on(server, proxy, request, image, number):
    """No tag is there before; pieces that the registry has are not sent again where it allows that:
    always after Ctrl-C, which lets the piece under way come to its end.
    """
    proxy.faults.append(Fault("PATCH", "", 99, slow=0.01))
    target = target_of(proxy, request)
    process = started("push", "--plain-http", str(image), str(target))
    until(lambda: len(proxy.requests("PATCH")) >= 3, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert server.tags(target.repository) == []
    if number != signal.SIGKILL:
        assert (process.returncode, said.strip()) == (130, "nbrw: interrupted")
    proxy.faults.clear()
    before = sum(found.length for found in proxy.requests("PATCH"))
    account = push(image, target, PLAIN, piece=PIECE)
    assert server.tags(target.repository) == ["v1"]
    found = large(account)
    if number != signal.SIGKILL:
        assert found.resumed >= 2 * PIECE
        after = sum(found.length for found in proxy.requests("PATCH")) - before
        assert after == found.blob.size - found.resumed
    assert found.travelled + found.resumed == found.blob.size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("out", ["out", "out.tar", "out.sif"])
def test_an_interrupted_pull_goes_on(tmp_path, proxy, request, image, out, number):
    """Nothing has the image's name before; bytes that are there are not fetched again."""
    if out == "out.sif" and not shutil.which("mksquashfs"):
        pytest.skip("needs mksquashfs (package squashfs-tools)")
    target = target_of(proxy, request)
    size = large(push(image, target, PLAIN)).blob.size
    proxy.faults.append(Fault("GET", BLOB, 99, slow=0.02))
    process = started("pull", "--plain-http", str(target), str(tmp_path / out))
    work = tmp_path / f".{out}.nbrw-pull"

    def half():
        for part in work.glob("*.part") if work.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):  # a small one, that has just come whole
                if part.stat().st_size > size // 3:
                    return True
        return False

    until(half, process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert not (tmp_path / out).exists()
    proxy.faults.clear()
    account = pull(target, tmp_path / out, PLAIN)
    found = large(account)
    assert found.resumed > size // 4
    assert found.travelled + found.resumed == found.blob.size
    open_image(tmp_path / out).verify()
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]
    assert left == []


def test_two_pulls_to_one_place_do_not_meet(tmp_path, proxy, request, image):
    """The second says so and leaves the first alone."""
    target = target_of(proxy, request)
    push(image, target, PLAIN)
    proxy.faults.append(Fault("GET", BLOB, 99, slow=0.02))
    process = started("pull", "--plain-http", str(target), str(tmp_path / "out"))
    until(lambda: proxy.requests("GET", BLOB), process)
    with pytest.raises(Exception, match="another pull to it is at work"):
        pull(target, tmp_path / "out", PLAIN)
    proxy.faults.clear()
    assert process.wait(60) == 0
    open_image(tmp_path / "out").verify()


def can_mount():
    return os.geteuid() == 0 and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_a_full_disk_is_told_and_gone_on_from(tmp_path, proxy, request, image):
    """Exit code 5 with the remedy; the image's name is not there, and room makes it go on."""
    target = target_of(proxy, request)
    push(image, target, PLAIN)
    (tmp_path / "small").mkdir()
    (tmp_path / "pull.py").write_text(CODE)
    command = f"{sys.executable} {tmp_path}/pull.py pull --plain-http {target} small/out"
    shell = (
        f"mount -t tmpfs -o size=3m none small; {command}; echo status $?; ls small; "
        f"mount -o remount,size=20m small; {command} && ls small && ls -A small | wc -l"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", shell], capture_output=True, text=True, cwd=tmp_path
    )
    assert "make room and start it again" in done.stderr
    first, _, second = done.stdout.partition("status 5\n")
    assert first == "" and "from an interrupted pull" in second
    assert second.endswith("out\n1\n")


def test_memory_does_not_grow_with_the_image(tmp_path, proxy, request):
    """A layer of 300 MB goes up and down within 150 MB."""
    write(tmp_path / "image", tmp_path / "builds", cells=[bytes(300_000_000)], compression="none")
    target = target_of(proxy, request)
    code = CODE.replace(
        "sys.exit(main(sys.argv[1:]))",
        "status = main(sys.argv[1:])\n"
        # Not getrusage: that counts what this process had before it became another.
        "from pathlib import Path\n"
        "status_file = Path('/proc/self/status').read_text()\n"
        "print(status_file.partition('VmHWM:')[2].split()[0])\n"
        "sys.exit(status)",
    )
    for words in (
        ["push", "-q", "--plain-http", str(tmp_path / "image"), str(target)],
        ["pull", "-q", "--plain-http", str(target), str(tmp_path / "out")],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        kilobytes = int(done.stdout.split()[-1])
        assert kilobytes * 1024 <= 150_000_000
