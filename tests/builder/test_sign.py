"""Signatures: what is said of them, and that none is called valid that was not checked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbrw_builder import sif
from nbrw_builder.cli import main
from nbrw_builder.engine import RunRequest
from nbrw_builder.engine_apptainer import command
from nbrw_builder.errors import HostError
from nbrw_builder.image_file import open_image
from nbrw_builder.oci_load import manifest_digest
from nbrw_builder.oci_read import DirectoryBlobs
from nbrw_builder.rootfs import unpacked
from nbrw_builder.sif_signature import SIGNATURE, SifFile, sign_sif
from nbrw_builder.sign import require, run_identity, sign_image, signatures
from nbrw_builder.signature import INVALID, UNCHECKED, VALID, SignatureError, statement
from nbrw_builder.signing_keys import private_key, public_key
from nbrw_runtime.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))

from provenance_images import write_provenance  # noqa: E402

needs_squashfs = pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs squashfs-tools")
KINDS = ["image", pytest.param("i.sif", marks=needs_squashfs)]
ALGORITHMS = ("ed25519", "rsa", "ec")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A directory with NAME.pem and NAME.pub for each algorithm, and of a stranger."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    place = tmp_path_factory.mktemp("keys")
    made = {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "rsa": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "stranger": ed25519.Ed25519PrivateKey.generate(),
    }
    for name, key in made.items():
        for suffix, password in (("", None), (".locked", b"secret")):
            locked = form.BestAvailableEncryption(password) if password else form.NoEncryption()
            data = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked)
            (place / f"{name}{suffix}.pem").write_bytes(data)
        public = key.public_key().public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        )
        (place / f"{name}.pub").write_bytes(public)
    return place


@pytest.fixture(params=KINDS)
def image(request, tmp_path):
    """An OCI directory, and a SIF."""
    write_provenance(tmp_path / request.param, tmp_path / "cache")
    return tmp_path / request.param


def states(image, *public):
    return [found.state for found in signatures(open_image(image), [*map(public_key, public)])]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_signature_is_valid_by_its_key_alone(image, keys, name):
    """Without a key, or with another, it was not checked."""
    assert states(image) == []
    sign_image(image, keys / f"{name}.pem")
    open_image(image).verify()
    assert states(image, keys / f"{name}.pub") == [VALID]
    assert states(image, keys / "stranger.pub", keys / f"{name}.pub") == [VALID]
    assert states(image, keys / "stranger.pub") == [UNCHECKED]
    assert states(image) == [UNCHECKED]


def test_several_may_sign(image, keys):
    """Each is told of apart; one that is asked for is enough."""
    for name in ALGORITHMS:
        sign_image(image, keys / f"{name}.pem")
    assert states(image, keys / "rsa.pub") == [UNCHECKED, VALID, UNCHECKED]
    (valid,) = [s for s in require(open_image(image), [keys / "ec.pub"]) if s.state == VALID]
    fingerprint = public_key(keys / "ec.pub").fingerprint
    assert str(keys / "ec.pub") in valid.by and fingerprint[:16] in valid.by


def test_who_asks_for_a_key_gets_an_error_without_its_signature(image, keys):
    """Exit code 3, whether there is none or one by somebody else."""
    with pytest.raises(SignatureError, match="is not signed"):
        require(open_image(image), [keys / "ec.pub"])
    sign_image(image, keys / "stranger.pem")
    with pytest.raises(SignatureError, match="none of the keys"):
        require(open_image(image), [keys / "ec.pub"])
    assert main(["verify", str(image), "--key", str(keys / "ec.pub")]) == 3
    assert main(["verify", str(image), "--key", str(keys / "stranger.pub")]) == 0


def rewrite(path, change):
    """Change the rows of a SIF's table as nobody who signs does."""
    with open(path, "r+b") as stream:
        table = sif.read_table(stream, path.stat().st_size, "it")
        change(stream, table)


def row_named(table, name):
    return next(row for row in table.used if row.name == name)


@needs_squashfs
@pytest.mark.parametrize(
    "what", ["file system", "recipe", "name", "header", "removed", "ungrouped"]
)
def test_a_sif_that_was_changed_after_it_was_signed_has_an_invalid_signature(tmp_path, keys, what):
    """In any part: no signature of it is ever called valid, by whichever key."""
    path = tmp_path / "i.sif"
    write_provenance(path, tmp_path / "cache")
    sign_image(path, keys / "ec.pem")

    def change(stream, table):
        row = row_named(table, "nbrw-recipe.json" if what == "recipe" else "squashfs")
        place = table.offset + (row.number - 1) * 585
        if what in ("file system", "recipe"):
            stream.seek(row.offset + row.size // 2)
            byte = stream.read(1)
            stream.seek(-1, 1)
            stream.write(bytes([byte[0] ^ 1]))
        elif what == "name":
            stream.seek(place + 73)
            stream.write(b"another\0")
        elif what == "header":
            stream.seek(48)
            stream.write(b"\1")
        elif what == "removed":
            place = table.offset + (row_named(table, "labels").number - 1) * 585
            stream.seek(place + 4)
            stream.write(b"\0")
        else:
            fields = {**vars(row), "number": table.free, "group": 0xF0000000}
            sif.add_row(stream, table, sif.Row(**{**fields, "kind": sif.JSON}), 0)

    rewrite(path, change)
    assert states(path, keys / "ec.pub") == [INVALID]
    assert states(path) == [INVALID]
    with pytest.raises(SignatureError, match="INVALID"):
        require(open_image(path), [keys / "ec.pub"])


@needs_squashfs
def test_a_signature_of_one_sif_is_worth_nothing_in_another(tmp_path, keys):
    """Moved with all its bytes."""
    write_provenance(tmp_path / "a.sif", tmp_path / "cache")
    write_provenance(tmp_path / "b.sif", tmp_path / "cache", title="another")
    sign_image(tmp_path / "a.sif", keys / "ec.pem")
    with open(tmp_path / "a.sif", "rb") as stream:
        (found,) = SifFile(stream, "a").signatures
        sign_sif(tmp_path / "b.sif", private_key(keys / "stranger.pem"), 0)

    def change(stream, table):
        row = next(row for row in table.used if row.kind == SIGNATURE)
        stream.seek(0, os.SEEK_END)
        offset = stream.tell()
        stream.write(found.data)
        stream.seek(table.offset + (row.number - 1) * 585 + 17)
        stream.write(offset.to_bytes(8, "little") + len(found.data).to_bytes(8, "little"))

    rewrite(tmp_path / "b.sif", change)
    assert states(tmp_path / "b.sif", keys / "ec.pub") == [INVALID]


def oci_parts(root):
    """The index, the signature's manifest, and where it lies."""
    index = json.loads((root / "index.json").read_text())
    entry = next(entry for entry in index["manifests"] if "artifactType" in entry)
    path = root / "blobs/sha256" / entry["digest"].removeprefix("sha256:")
    return index, json.loads(path.read_text()), path


def test_a_signature_of_one_oci_image_is_worth_nothing_for_another(tmp_path, keys):
    """Although it is listed as one of it: what is signed names the digest."""
    write_provenance(tmp_path / "a", tmp_path / "cache")
    write_provenance(tmp_path / "b", tmp_path / "cache", title="another")
    for name in "ab":
        sign_image(tmp_path / name, keys / "ec.pem")
    _, theirs, _ = oci_parts(tmp_path / "a")
    index, ours, _ = oci_parts(tmp_path / "b")
    for blob in (tmp_path / "a/blobs/sha256").iterdir():
        shutil.copy(blob, tmp_path / "b/blobs/sha256")
    data = json.dumps({**theirs, "subject": ours["subject"]}).encode()
    import hashlib

    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "b/blobs/sha256" / digest).write_bytes(data)
    index["manifests"][1] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (tmp_path / "b/index.json").write_text(json.dumps(index))
    assert states(tmp_path / "b", keys / "ec.pub") == [INVALID]


def test_signing_an_oci_image_changes_no_byte_of_it(tmp_path, keys):
    """Its manifest has the digest that it had; what refers to it beside signatures stays."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache", sbom=("spdx",))
    before = {path.name for path in (root / "blobs/sha256").iterdir()}
    digest = manifest_digest(DirectoryBlobs(root), "")
    sign_image(root, keys / "ec.pem")
    first = {path.name for path in (root / "blobs/sha256").iterdir()}
    sign_image(root, keys / "rsa.pem")
    assert manifest_digest(DirectoryBlobs(root), "") == digest
    assert before < first
    # One manifest has all signatures, as cosign reads the first; the former is gone.
    index = json.loads((root / "index.json").read_text())
    kinds = [entry.get("artifactType") for entry in index["manifests"]]
    assert kinds == [
        None, "application/spdx+json", "application/vnd.dev.cosign.artifact.sig.v1+json",
    ]  # fmt: skip
    # And an image that is built again as it was keeps them.
    write_provenance(root, tmp_path / "cache", sbom=("spdx",))
    assert states(root, keys / "ec.pub") == [VALID, UNCHECKED]
    assert index["manifests"][0]["annotations"]["kind"] == "dev.cosignproject.cosign/image"
    again = json.loads((root / "index.json").read_text())["manifests"][0]
    assert again == index["manifests"][0]


@pytest.mark.skipif(not shutil.which("cosign"), reason="needs cosign")
def test_cosign_checks_what_nbrw_signed(tmp_path, keys):
    """`cosign verify --local-image`, by any of the keys; a stranger's key it refuses."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache")
    for name in ALGORITHMS:
        sign_image(root, keys / f"{name}.pem")

    def cosign(name):
        argv = ["cosign", "verify", "--insecure-ignore-tlog=true", "--local-image", str(root)]
        argv += ["--key", str(keys / f"{name}.pub")]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    for name in ALGORITHMS:
        done = cosign(name)
        assert done.returncode == 0, done.stderr
        digest = str(manifest_digest(DirectoryBlobs(root), ""))
        assert digest in done.stdout
    assert cosign("stranger").returncode != 0


@pytest.mark.skipif(not shutil.which("cosign"), reason="needs cosign")
def test_cosigns_own_keys_sign_by_cosign(tmp_path, monkeypatch):
    """They are encrypted in a form of cosign's; a SIF they do not sign."""
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    argv = ["cosign", "generate-key-pair", "--output-key-prefix", str(tmp_path / "c")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    write_provenance(tmp_path / "image", tmp_path / "cache")
    sign_image(tmp_path / "image", tmp_path / "c.key")
    assert states(tmp_path / "image", tmp_path / "c.pub") == [VALID]


def test_a_key_that_cannot_be_used_is_said_with_the_remedy(image, keys, tmp_path, monkeypatch):
    """A wrong or missing password, no key, a public one to sign with, a file that is not there."""
    monkeypatch.delenv("NBRW_KEY_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="NBRW_KEY_PASSWORD"):
        sign_image(image, keys / "ec.locked.pem")
    monkeypatch.setenv("NBRW_KEY_PASSWORD", "wrong")
    with pytest.raises(UsageError, match="wrong password"):
        sign_image(image, keys / "ec.locked.pem")
    monkeypatch.setenv("NBRW_KEY_PASSWORD", "secret")
    sign_image(image, keys / "ec.locked.pem")
    monkeypatch.delenv("NBRW_KEY_PASSWORD")
    with pytest.raises(UsageError, match="no private key"):
        sign_image(image, keys / "ec.pub")
    with pytest.raises(UsageError, match="no public key"):
        require(open_image(image), [keys / "ec.pem"])
    with pytest.raises(UsageError, match="name a PEM file"):
        sign_image(image, tmp_path / "none.pem")
    assert states(image, keys / "ec.pub") == [VALID]


def test_a_tar_is_not_signed(tmp_path, keys):
    """The message says how to have something that is."""
    write_provenance(tmp_path / "i.tar", tmp_path / "cache")
    with pytest.raises(UsageError, match="skopeo copy oci-archive:"):
        sign_image(tmp_path / "i.tar", keys / "ec.pem")


def test_without_apptainer_there_are_no_pgp_signatures(image, monkeypatch):
    """And an OCI image has none at all."""
    monkeypatch.setenv("PATH", "/nowhere")
    expected = HostError if image.suffix else UsageError
    with pytest.raises(expected, match="--key"):
        sign_image(image)


@needs_squashfs
def test_a_sif_without_room_is_told_so(tmp_path, keys):
    """Its table has 48 places."""
    write_provenance(tmp_path / "i.sif", tmp_path / "cache")
    for _ in range(42):
        sign_sif(tmp_path / "i.sif", private_key(keys / "ed25519.pem"), 0)
    before = (tmp_path / "i.sif").stat().st_size
    with pytest.raises(Exception, match="no free descriptor"):
        sign_image(tmp_path / "i.sif", keys / "ed25519.pem")
    assert (tmp_path / "i.sif").stat().st_size == before


@pytest.mark.parametrize("as_json", [False, True])
def test_verify_tells_of_signatures(image, keys, capsys, as_json):
    """For people and as JSON; a signature without a key is no error, and not called good."""
    sign_image(image, keys / "ec.pem")
    words = ["--json"] if as_json else []
    assert main(["verify", str(image), *words]) == 0
    said = capsys.readouterr().out
    if as_json:
        value = json.loads(said)
        assert (value["format"], value["version"]) == ("nbrw.verify", 1)
        assert [found["state"] for found in value["signatures"]] == ["not checked"]
    else:
        assert "all digests hold" in said and "not checked" in said


def test_listing_signatures_does_not_read_the_image(tmp_path, keys):
    """`nbrw run` does it each time: it says that they are there, and no more."""
    pytest.importorskip("cryptography")
    path = tmp_path / "i.tar"
    write_provenance(path, tmp_path / "cache")
    assert signatures(open_image(path), check=False) == []
    if shutil.which("mksquashfs"):
        write_provenance(tmp_path / "i.sif", tmp_path / "cache")
        sign_image(tmp_path / "i.sif", keys / "ec.pem")
        with open(tmp_path / "i.sif", "r+b") as stream:
            stream.seek(40000)
            stream.write(b"spoilt")
        (found,) = signatures(open_image(tmp_path / "i.sif"), check=False)
        assert (found.state, found.detail) == (UNCHECKED, "")


def test_an_image_whose_signature_was_checked_runs_from_a_tree_of_its_own(tmp_path, keys):
    """What an unsigned image of the same recipe had unpacked is not taken for it."""
    root = tmp_path / "image"
    write_provenance(root, tmp_path / "cache")
    image = open_image(root)
    with unpacked(image, tmp_path / "c") as (plain, _):
        pass
    with unpacked(image, tmp_path / "c", identity=run_identity(image)) as (checked, _):
        assert checked != plain and checked.is_dir()


def test_engines_pass_on_what_is_known_of_the_signature(tmp_path):
    """One line, in a variable that the repeat reads."""
    write_provenance(tmp_path / "image", tmp_path / "cache")
    variables = {"NBRW_SIGNATURE": statement([])}
    request = RunRequest(open_image(tmp_path / "image"), (), tmp_path, variables=variables)
    argv = command("apptainer", request)
    assert argv[argv.index("--env") + 1] == "NBRW_SIGNATURE=the image is not signed"
