"""Opening, unpacking and verifying images."""

import io
import json
import shutil
import sys
import tarfile

import pytest
from images import finish, write

from nbrw_builder.cli import main
from nbrw_builder.entry import LayerPlan
from nbrw_builder.extract import unpack_layer
from nbrw_builder.image_file import open_image
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import EXIT_INTEGRITY, FormatError, IntegrityError, NbrwError, UsageError
from nbrw_runtime.recipe import read_recipe

KINDS = [
    pytest.param(
        "a.sif",
        marks=pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs squashfs-tools"),
    ),
    "a.tar",
    "a",
]


def listing(root):
    found = {}
    for path in root.rglob("*"):
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (content, path.stat().st_mode)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_recipe_and_files(tmp_path, name):
    """Recipe and unpacked tree are the same whatever kind the image is of."""
    written = write(tmp_path / name, tmp_path / "cache")
    image = open_image(tmp_path / name)
    assert image.kind == written.kind
    image.verify()
    recipe = read_recipe(image.recipe_bytes())
    assert [layer.diff_id for layer in recipe.layers] == [x.diff_id for x in written.layers[:-1]]
    image.extract(tmp_path / "root")
    want = {e.path[1:]: e.data for x in written.layers for e in x.entries}
    found = listing(tmp_path / "root")
    assert {path: data for path, (data, _) in found.items()} == want
    assert found["tmp"][1] & 0o7777 == 0o1777
    assert found[".singularity.d/runscript"][1] & 0o777 == 0o755


@pytest.mark.parametrize("name", ["a.sif", "a.tar"])
def test_no_flipped_bit_goes_unseen(tmp_path, name):
    """A changed byte in a layer or the file system is found by verify."""
    if name == "a.sif" and not shutil.which("mksquashfs"):
        pytest.skip("needs squashfs-tools")
    out = tmp_path / name
    write(out, tmp_path / "cache")
    data = bytearray(out.read_bytes())
    image = open_image(out)
    spots = [image._root().offset + 150] if name == "a.sif" else blob_spots(out)
    for spot in spots:
        spoilt = bytearray(data)
        spoilt[spot] ^= 0x40
        out.write_bytes(spoilt)
        with pytest.raises(IntegrityError):
            open_image(out).verify()


@pytest.mark.skipif(not shutil.which("mksquashfs"), reason="needs squashfs-tools")
def test_a_file_system_that_was_made_damaged_is_found(tmp_path, monkeypatch, capsys):
    """As old versions of mksquashfs make some: all digests hold, and `nbrw verify` says no."""
    out = tmp_path / "a.sif"
    write(out, tmp_path / "cache")
    image = open_image(out)
    image.verify()
    image.decode()
    start, summary = image._root().offset, json.loads(image.summary_bytes())
    data = bytearray(out.read_bytes())
    data[start + 96 : start + 128] = bytes(32)
    body = data[start : start + summary["squashfs"]["size"]]
    was, now = summary["squashfs"]["digest"], str(digest_bytes(bytes(body)))
    out.write_bytes(bytes(data).replace(was.encode(), now.encode()))
    open_image(out).verify()
    monkeypatch.setattr(sys, "argv", ["nbrw", "verify", str(out)])
    assert main() == EXIT_INTEGRITY
    assert "damaged although its digest holds" in capsys.readouterr().err


def blob_spots(path):
    with tarfile.open(path) as tar:
        return [m.offset_data + m.size // 2 for m in tar if m.isfile() and "sha256" in m.name]


@pytest.mark.parametrize("name", KINDS[:2])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_cut_off_image_is_an_error_of_ours(tmp_path, name, share):
    """A half-copied image is refused with a sentence, not a traceback."""
    out = tmp_path / name
    write(out, tmp_path / "cache")
    out.write_bytes(out.read_bytes()[: int(out.stat().st_size * share)])
    with pytest.raises(NbrwError):
        open_image(out).verify()


def test_what_is_no_image_is_said(tmp_path):
    """Files, directories and missing paths that are no image are usage errors."""
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path, tmp_path / "gone"):
        with pytest.raises(UsageError, match="open "):
            open_image(path)


def test_a_newer_layout_is_refused_by_version(tmp_path):
    """An OCI layout of another version names the version."""
    write(tmp_path / "a", tmp_path / "cache")
    (tmp_path / "a" / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(FormatError, match=r"version 2\.0\.0"):
        open_image(tmp_path / "a").recipe_bytes()


def test_a_recipe_of_other_layers_is_found(tmp_path):
    """verify compares the layers that the recipe names with those that are there."""
    import images

    def wrong(layers):
        return LayerPlan("recipe", finish(layers[:1] + layers[:1]).entries)

    plans = [images.system(), images.cell(1, b"1")]
    images.write_image(
        plans, tmp_path / "a", config=images.CONFIG, finish=wrong, cache=tmp_path / "cache"
    )
    with pytest.raises(FormatError, match="other layers"):
        open_image(tmp_path / "a").verify()


def evil(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = link
            tar.addfile(info)
    stream.seek(0)
    return tarfile.open(fileobj=stream)


@pytest.mark.parametrize(
    "members",
    [
        [("../out", tarfile.REGTYPE, "")],
        [("a/../../out", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, ".."), ("l/out", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "../secret")],
        [("dev", tarfile.CHRTYPE, "")],
    ],
)
def test_a_layer_cannot_reach_outside(tmp_path, members):
    """Names with .., paths through links, links out and devices are refused."""
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "root"
    root.mkdir()
    with evil(*members) as tar, pytest.raises(FormatError):
        unpack_layer(tar, root, "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root", "secret"]


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path):
    """A file that takes the name of a link is a new file; the link's target stays."""
    (tmp_path / "secret").write_text("s")
    root = tmp_path / "root"
    root.mkdir()
    with evil(("f", tarfile.SYMTYPE, "../secret"), ("f", tarfile.REGTYPE, "")) as tar:
        unpack_layer(tar, root, "x")
    assert (tmp_path / "secret").read_text() == "s"
    assert (root / "f").read_bytes() == b""
