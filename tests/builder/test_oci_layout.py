"""OCI layouts and archives on disk."""

import gzip
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import system, write

from nbrw_builder.compress import compressor
from nbrw_builder.entry import Entry
from nbrw_builder.errors import BuildError
from nbrw_builder.image_file import open_image
from nbrw_runtime.errors import UsageError


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=5))
def test_gzip_gives_back_what_was_written(pieces):
    """However the input is cut, the member decompresses to it and its bytes are the same."""
    outputs = []
    for parts in (pieces, [b"".join(pieces)]):
        stream = io.BytesIO()
        sink = compressor("gzip", stream)
        for part in parts:
            sink.write(part)
        sink.finish()
        outputs.append(stream.getvalue())
    assert outputs[0] == outputs[1]
    assert gzip.decompress(outputs[0]) == b"".join(pieces)


def test_gzip_of_many_pieces_is_one_member():
    """Input longer than one piece is still a single gzip member."""
    data = random.Random(1).randbytes(9 << 20)
    stream = io.BytesIO()
    sink = compressor("gzip", stream)
    sink.write(data)
    sink.finish()
    assert gzip.decompress(stream.getvalue()) == data


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("name", ["image", "image.tar"])
def test_two_builds_are_equal(tmp_path, name, compression):
    """The same layers written twice, without a common cache, are the same bytes."""
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        out = tmp_path / side / name
        written = write(out, tmp_path / f"cache-{side}", compression=compression)
        open_image(out).verify()
    a, b = tmp_path / "a", tmp_path / "b"
    assert tree(a) == tree(b)
    assert written.kind == ("oci-tar" if name == "image.tar" else "oci-dir")


def test_known_blobs_are_not_written_again(tmp_path):
    """A rebuild after an edit of the last cell leaves the other blobs' files as they are."""
    out = tmp_path / "image"
    write(out, tmp_path / "cache")
    before = {p.name: p.stat().st_ino for p in (out / "blobs/sha256").iterdir()}
    write(out, tmp_path / "cache", cells=(b"one" * 1000, b"new" * 1000))
    after = {p.name: p.stat().st_ino for p in (out / "blobs/sha256").iterdir()}
    open_image(out).verify()
    same = before.keys() & after.keys()
    assert len(same) == 2  # the system's and the first cell's layer
    assert len(after) == 6  # nothing of the old image is left
    assert all(before[name] == after[name] for name in same)


def test_a_spoilt_blob_is_mended(tmp_path):
    """A blob whose bytes are not those of its name is written again."""
    out = tmp_path / "image"
    write(out, tmp_path / "cache")
    blob = max((out / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    blob.write_bytes(bytes(blob.stat().st_size))
    write(out, tmp_path / "cache")
    open_image(out).verify()


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    """A directory that is not an image is never written into."""
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1").write_text("text")
    with pytest.raises(UsageError, match="not empty"):
        write(out, tmp_path / "cache")
    assert tree(out) == {"chapter1": b"text"}


@pytest.mark.parametrize("name", ["image", "image.tar"])
def test_an_error_leaves_nothing_new(tmp_path, name):
    """A build that fails half-way leaves the target as it was and no unfinished file."""
    place = tmp_path / "place"
    place.mkdir()
    source = tmp_path / "data"
    source.write_bytes(b"1")
    seen = []

    def spoil(text):
        seen.append(text)
        if text.startswith("compress"):
            source.write_bytes(b"22")

    below = system(Entry("/data", source=source))
    with pytest.raises(BuildError, match="has changed"):
        write(place / name, tmp_path / "cache", below=below, progress=spoil)
    assert seen
    assert list(place.iterdir()) == []


def test_leftovers_of_a_killed_build_are_removed(tmp_path):
    """Unfinished files that nobody holds disappear with the next build."""
    (tmp_path / ".image.nbrw-unfinished-abc").mkdir()
    (tmp_path / ".image.nbrw-unfinished-def").write_bytes(b"half")
    write(tmp_path / "image", tmp_path / "cache")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "image"]
