"""Images that were pushed, as a user of the target site gets them from a registry."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from images import system, write  # noqa: E402

from nbrw_builder.entry import Entry  # noqa: E402
from notebook_helper import ROOT  # noqa: E402

pytestmark = [pytest.mark.site, pytest.mark.integration]
BUSYBOX = Path("/bin/busybox")
INSIDE = "registry:5000"
OUTSIDE = "10.97.0.5:5000"  # the host's programs do not know the site's names
CODE = (
    f"import sys; sys.path[:0] = [{str(ROOT / 'builder')!r}, {str(ROOT / 'runtime')!r}]\n"
    "from nbrw_builder.cli import main; sys.exit(main())"
)


@pytest.fixture(scope="module")
def nbrw(site, tmp_path_factory):
    """Runs `nbrw` on the host, in the site's network, where the registry is."""
    site.registry("up")
    cache = tmp_path_factory.mktemp("cache")

    def run(*words):
        environment = ["env", f"XDG_CACHE_HOME={cache}", f"HOME={cache}"]
        site.registry("exec", *environment, sys.executable, "-c", CODE, *map(str, words))

    yield run
    site.registry("down")


@pytest.fixture(scope="module")
def below():
    """A system layer with a shell in it."""
    if not BUSYBOX.exists():
        pytest.fail("needs a static /bin/busybox (package busybox-static)")
    links = [Entry(f"/bin/{name}", target="busybox") for name in ("sh", "echo")]
    return system(Entry("/bin/busybox", 0o755, source=BUSYBOX), *links)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_apptainer_pulls_the_very_sif_that_was_pushed(site, nbrw, below, tmp_path):
    """And what it pushes back is pulled by us, bit by bit."""
    sif = tmp_path / "nb.sif"
    write(sif, tmp_path / "builds", below=below)
    nbrw("push", "--plain-http", sif, f"oras://{OUTSIDE}/team/nb:sif")
    site.run("apptainer", "pull", "--force", "--no-https", "pulled.sif",
             f"oras://{INSIDE}/team/nb:sif")  # fmt: skip
    assert site.run("sha256sum", "pulled.sif").stdout.split()[0] == sha256(sif)
    assert site.run("apptainer", "run", "pulled.sif", "x", "y").stdout == "args: x y\n"
    site.run("apptainer", "push", "--no-https", "pulled.sif", f"oras://{INSIDE}/team/back:v1")
    nbrw("pull", "--plain-http", f"oras://{OUTSIDE}/team/back:v1", tmp_path / "back.sif")
    assert sha256(tmp_path / "back.sif") == sha256(sif)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_apptainer_runs_pushed_layers(site, nbrw, below, tmp_path, compression):
    """As from any registry; the image's program has its arguments."""
    write(tmp_path / "nb", tmp_path / "builds", below=below, compression=compression)
    nbrw("push", "--plain-http", tmp_path / "nb", f"docker://{OUTSIDE}/team/nb:{compression}")
    words = ("apptainer", "-q", "run", "--no-https", "--no-eval")
    done = site.run(*words, f"docker://{INSIDE}/team/nb:{compression}", "repeat", "--from", "3")
    assert done.stdout == "args: repeat --from 3\n"
