"""Signatures of SIFs between nbrw and Apptainer at the target site, in both directions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "builder"))

from provenance_images import write_provenance  # noqa: E402

from nbrw_builder.image_file import open_image  # noqa: E402
from nbrw_builder.sign import sign_image, signatures  # noqa: E402
from nbrw_builder.signature import INVALID, UNCHECKED, VALID  # noqa: E402
from nbrw_builder.signing_keys import public_key  # noqa: E402

pytestmark = [pytest.mark.site, pytest.mark.integration]
ALGORITHMS = {
    "ed25519": ["-algorithm", "ed25519"],
    "rsa": ["-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ec": ["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
}


@pytest.fixture
def place(site, monkeypatch):
    """A shared directory with an unsigned image and keys; `apptainer` is the site's, as alice."""
    pytest.importorskip("cryptography")
    if not shutil.which("mksquashfs"):
        pytest.skip("needs mksquashfs (squashfs-tools)")
    root = site.share / "signatures"
    shutil.rmtree(root, ignore_errors=True)
    (root / "bin").mkdir(parents=True)
    write_provenance(root / "plain.sif", root / "cache")
    for name, words in ALGORITHMS.items():
        private, public = str(root / f"{name}.pem"), str(root / f"{name}.pub")
        subprocess.run(["openssl", "genpkey", *words, "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    shim = root / "bin/apptainer"
    words = f'"${{@/{str(site.share).replace("/", chr(92) + "/")}//share}}"'
    where = f"export TARGET_SITE_DIR={site.share.parent}"
    shim.write_text(f"#!/bin/bash\n{where}\nexec {HERE.parent}/site/run apptainer {words}\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    subprocess.run(["chmod", "-R", "a+rwX", str(root)], check=True)
    yield root
    shutil.rmtree(root)


def copy(place, name):
    """An image of its own, that alice may sign."""
    path = place / name
    shutil.copy(place / "plain.sif", path)
    path.chmod(0o777)
    return path


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_apptainer_checks_what_nbrw_signed_and_nbrw_what_apptainer_signed(site, place, name):
    """With PEM keys; another key is refused by both, and the image still runs."""
    ours, theirs = copy(place, "ours.sif"), copy(place, "theirs.sif")
    sign_image(ours, place / f"{name}.pem")
    site.run("apptainer", "verify", "--key", f"/share/signatures/{name}.pub", site_path(ours))
    other = "rsa" if name != "rsa" else "ec"
    done = site.run(
        "apptainer", "verify", "--key", f"/share/signatures/{other}.pub", site_path(ours),
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    site.run("apptainer", "sign", "--key", f"/share/signatures/{name}.pem", site_path(theirs))
    for path in (ours, theirs):
        open_image(path).verify()
        (found,) = signatures(open_image(path), [public_key(place / f"{name}.pub")])
        assert found.state == VALID
        (found,) = signatures(open_image(path), [public_key(place / f"{other}.pub")])
        assert found.state == UNCHECKED


def site_path(path):
    """A file of the shared directory as the site sees it."""
    return f"/share/signatures/{path.name}"


def test_pgp_signatures_are_apptainers(site, place, monkeypatch):
    """Made and checked by it; whose key is not in the keyring, and no Apptainer, is not checked;
    what was changed since is invalid, whoever is asked.
    """
    path = copy(place, "pgp.sif")
    keyring = "rm -rf ~/.apptainer/keys"
    site.run("sh", "-c", keyring)
    newpair = ["key", "newpair", "-N", "Ada", "-E", "ada@example.org", "-P", "", "-C", "x"]
    site.run("apptainer", *newpair, "-U=false")
    sign_image(path)
    (found,) = signatures(open_image(path))
    assert found.state == VALID and "Ada" in found.by and "PGP " in found.by
    (found,) = signatures(open_image(path), check=False)
    assert found.state == UNCHECKED and found.by.startswith("PGP ")
    with monkeypatch.context() as context:
        context.setenv("PATH", "/nowhere")
        (found,) = signatures(open_image(path))
    assert found.state == UNCHECKED and "not installed" in found.detail
    site.run("sh", "-c", keyring)
    (found,) = signatures(open_image(path))
    assert found.state == UNCHECKED and "key pull" in found.detail
    with open(path, "r+b") as stream:
        stream.seek(33_000)
        byte = stream.read(1)
        stream.seek(33_000)
        stream.write(bytes([byte[0] ^ 1]))
    (found,) = signatures(open_image(path))
    assert found.state == INVALID
