"""Images as those who read them see them: skopeo, podman, Docker; and what interrupts a build."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import system, write  # noqa: E402

import nbrw_builder  # noqa: E402
import nbrw_runtime  # noqa: E402
from nbrw_builder.entry import Entry  # noqa: E402
from nbrw_builder.image_file import open_image  # noqa: E402

pytestmark = pytest.mark.integration
BUSYBOX = Path("/bin/busybox")


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} on PATH")


def output(*argv, **options):
    return subprocess.run(
        argv, check=True, text=True, stdout=subprocess.PIPE, timeout=120, **options
    ).stdout


@pytest.fixture
def base():
    """A system layer with a shell in it."""
    if not BUSYBOX.exists():
        pytest.skip("needs a static /bin/busybox (package busybox-static)")
    links = [Entry(f"/bin/{name}", target="busybox") for name in ("sh", "echo", "cat")]
    mounts = [Entry(path) for path in ("/proc", "/sys", "/dev")]
    return system(Entry("/bin/busybox", 0o755, source=BUSYBOX), *links, *mounts)


@needs("skopeo")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_keeps_the_manifest(tmp_path, base, compression):
    """skopeo reads the layout, and a copy has the same manifest digest."""
    cache = tmp_path / "cache"
    written = write(tmp_path / "image", cache, below=base, compression=compression)
    found = json.loads(output("skopeo", "inspect", f"oci:{tmp_path}/image"))
    assert found["Digest"] == str(written.digest)
    assert found["Labels"]["org.opencontainers.image.title"] == "a title"
    output("skopeo", "copy", "-q", f"oci:{tmp_path}/image", f"oci:{tmp_path}/copy")
    copied = json.loads(output("skopeo", "inspect", f"oci:{tmp_path}/copy"))
    assert copied["Digest"] == str(written.digest)
    open_image(tmp_path / "copy").verify()


@needs("skopeo")
def test_the_archive_is_two_images_in_one(tmp_path, base):
    """The tar is read as an OCI archive and as a Docker archive."""
    written = write(tmp_path / "a.tar", tmp_path / "cache", below=base)
    found = json.loads(output("skopeo", "inspect", f"oci-archive:{tmp_path}/a.tar"))
    assert found["Digest"] == str(written.digest)
    found = json.loads(output("skopeo", "inspect", f"docker-archive:{tmp_path}/a.tar"))
    assert len(found["Layers"]) == len(written.layers)


@needs("podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: podman's storage in a directory")
def test_podman_loads_the_archive(tmp_path, base):
    """podman takes the image under its name."""
    write(tmp_path / "a.tar", tmp_path / "cache", below=base)
    # Not pytest's directory: podman takes no run root longer than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nbrw-") as place:
        podman = ("podman", "--root", f"{place}/root", "--runroot", f"{place}/run")
        podman = (*podman, "--storage-driver", "vfs")
        assert "nbrw-test:v1" in output(*podman, "load", "-i", f"{tmp_path}/a.tar")


@pytest.mark.docker
def test_docker_loads_and_runs_the_archive(tmp_path, base, docker_host):
    """docker load takes the tar, and docker run hands its arguments to the runscript."""
    write(tmp_path / "a.tar", tmp_path / "cache", below=base)
    docker = ("docker", "-H", docker_host)
    assert "nbrw-test:v1" in output(*docker, "load", "-i", f"{tmp_path}/a.tar")
    run = (*docker, "run", "--rm", "--network", "none", "nbrw-test:v1")
    assert output(*run, "repeat", "--from", "3") == "args: repeat --from 3\n"


# A child started elsewhere must find the same code as we do.
ROOTS = [
    str(HERE.parent / "builder"),
    str(Path(nbrw_builder.__file__).parent.parent),
    str(Path(nbrw_runtime.__file__).parent.parent),
]
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {roots!r}
from images import system, write
from nbrw_builder.entry import Entry
from nbrw_runtime.errors import StorageError
big = Entry("/big", source=Path(sys.argv[3]))
try:
    write(Path(sys.argv[1]), Path(sys.argv[2]), below=system(big),
          progress=lambda text: print(text, flush=True))
except StorageError as error:
    print(error)
    sys.exit(5)
except KeyboardInterrupt:
    sys.exit(130)
"""


def script(tmp_path):
    path = tmp_path / "build.py"
    path.write_text(textwrap.dedent(SCRIPT).format(roots=ROOTS))
    return path


def can_mount():
    return os.geteuid() == 0 and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
@needs("mksquashfs")
@pytest.mark.parametrize("name", ["a.sif", "a.tar", "image"])
def test_a_full_disk_leaves_nothing(tmp_path, name):
    """When the target's disk is full the message says so, and nothing half-written stays."""
    (tmp_path / "big").write_bytes(os.urandom(12 << 20))
    (tmp_path / "small").mkdir()
    build = f"{sys.executable} {script(tmp_path)} small/{name} {tmp_path}/cache big"
    shell = f"mount -t tmpfs -o size=4m none small && {build}; echo status $?; ls -A small"
    text = output("unshare", "-m", "sh", "-c", shell, cwd=tmp_path)
    assert text.endswith("status 5\n"), text
    assert "No space left" in text or "make room" in text


@needs("mksquashfs")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(("name", "step"), [("a.sif", "pack the"), ("image", "compress")])
def test_an_interrupted_build_leaves_nothing(tmp_path, ending, name, step):
    """After Ctrl-C nothing is left; what a killed build leaves the next one removes."""
    (tmp_path / "big").write_bytes(os.urandom(200 << 20))
    (tmp_path / "out").mkdir()
    argv = [sys.executable, str(script(tmp_path)), f"out/{name}", "cache", "big"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if line.startswith(step):
                break
        child.send_signal(ending)
        child.wait(60)
    if ending == signal.SIGINT:
        assert child.returncode == 130
        assert os.listdir(tmp_path / "out") == []
    assert not (tmp_path / "out" / name).exists()
    subprocess.run(argv, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert os.listdir(tmp_path / "out") == [name]
    open_image(tmp_path / "out" / name).verify()
