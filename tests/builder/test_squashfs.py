"""One squashfs from layers: merged below, appended above."""

import random
import shutil

import pytest
from images import cell, finish, system, write

from nbrw_builder import process, squashfs
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.errors import BuildError, HostError
from nbrw_builder.image_file import open_image
from nbrw_builder.layer import pack
from nbrw_builder.squashfs import merged, split

needs_mksquashfs = pytest.mark.skipif(
    not shutil.which("mksquashfs"), reason="needs mksquashfs (package squashfs-tools)"
)
CELLS = tuple(f"cell {n}".encode() * 500 for n in range(6))


def names(layers):
    return [layer.name for layer in layers]


def test_layers_with_a_directory_of_their_own_are_appended():
    """Checkpoints and the recipe are appended to the merged layers below them."""
    layers = [pack(plan) for plan in (system(), cell(1, b"1"), cell(2, b"2"))]
    layers.append(pack(finish(layers)))
    base, appended = split(layers)
    assert (names(base), names(appended)) == (["system"], ["cell:1", "cell:2", "recipe"])


def test_layers_that_share_a_directory_are_merged():
    """A checkpoint whose directory another layer has, too, cannot be appended."""
    layers = [pack(plan) for plan in (system(), cell(1, b"1"), cell(2, b"1"), cell(3, b"3"))]
    base, appended = split(layers)
    assert (names(base), names(appended)) == (["system", "cell:1", "cell:2"], ["cell:3"])


def test_the_upper_layer_counts():
    """Of a path in two layers the merged file system has the upper one's."""
    low, high = (pack(LayerPlan("x", (Entry("/f", data=text),))) for text in (b"low", b"high"))
    assert [entry.data for entry in merged((low, high))] == [b"high"]


@needs_mksquashfs
@pytest.mark.parametrize("edited", [0, 3, 5])
def test_a_rebuild_gives_the_bytes_of_a_build_from_scratch(tmp_path, edited):
    """After an edit of any cell, appending to what is kept changes no byte of the result."""
    cells = [*CELLS[:edited], b"edited" * 700, *CELLS[edited + 1 :]]
    write(tmp_path / "a.sif", tmp_path / "cache", CELLS)
    again = write(tmp_path / "a.sif", tmp_path / "cache", cells)
    fresh = write(tmp_path / "b.sif", tmp_path / "other", cells)
    assert again.digest == fresh.digest
    assert (tmp_path / "a.sif").read_bytes() == (tmp_path / "b.sif").read_bytes()


@needs_mksquashfs
def test_an_edit_of_the_last_cell_appends_only_that(tmp_path):
    """The environment and the cells before are taken from the last build."""
    steps = []
    write(tmp_path / "a.sif", tmp_path / "cache", CELLS)
    cells = (*CELLS[:-1], b"new")
    write(tmp_path / "a.sif", tmp_path / "cache", cells, progress=steps.append)
    done = [step for step in steps if step.startswith(("pack", "append"))]
    assert done == ["append cell:6", "append recipe"]


@needs_mksquashfs
def test_a_spoilt_cache_is_not_believed(tmp_path):
    """Kept images whose bytes changed are made again."""
    first = write(tmp_path / "a.sif", tmp_path / "cache", CELLS)
    for kept in (tmp_path / "cache" / "squashfs").iterdir():
        data = bytearray(kept.read_bytes())
        data[200] ^= 1
        kept.write_bytes(data)
    assert write(tmp_path / "a.sif", tmp_path / "cache", CELLS).digest == first.digest


@needs_mksquashfs
def test_a_cache_that_was_moved_is_believed_by_its_bytes(tmp_path):
    """Copies of kept images are used if they have the digest that was noted, and give the same."""
    first = write(tmp_path / "a.sif", tmp_path / "cache", CELLS)
    shutil.copytree(tmp_path / "cache", tmp_path / "moved")
    packed = []
    again = write(tmp_path / "a.sif", tmp_path / "moved", CELLS, progress=packed.append)
    assert again.digest == first.digest
    assert "pack the environment" not in packed


@needs_mksquashfs
def test_files_that_begin_alike_arrive(tmp_path):
    """Blocks that many files share and tails of their own: mksquashfs 4.5.1 loses some of these."""
    draw = random.Random(0)
    text = bytes(draw.choices(b"abcd", k=300_000))
    block = 128 << 10
    contents = {}
    for number in range(60):
        tail = draw.randrange(block)
        begin = text[: block * draw.choice((3, 6))] if number % 2 else text[block : 2 * block] * 3
        contents[f"/data/{number:02}"] = begin * draw.choice((1, 2)) + text[tail : 2 * tail]
    below = system(*(Entry(path, data=data) for path, data in contents.items()))
    cells = [b"".join(contents[path] for path in sorted(contents)[n::20]) for n in range(5)]
    write(tmp_path / "a.sif", tmp_path / "cache", cells, below)
    open_image(tmp_path / "a.sif").extract(tmp_path / "root")
    for path, data in contents.items():
        assert (tmp_path / f"root{path}").read_bytes() == data, path


@needs_mksquashfs
@pytest.mark.parametrize("damaged", [1, 3])
def test_a_damaged_file_system_is_no_image(tmp_path, monkeypatch, damaged):
    """Whatever mksquashfs writes is read back: the first step's, and what is appended."""
    real, inodes = squashfs.run, []

    def broken(argv, **options):
        """Zeros over the first bytes of what one step writes, where inodes were before it."""
        found = real(argv, **options)
        if "-offset" in argv and argv[0] == "mksquashfs":
            name, offset = argv[argv.index("-offset") - 1], int(argv[argv.index("-offset") + 1])
            with open(name, "r+b") as stream:
                stream.seek(offset + 64)
                table = offset + int.from_bytes(stream.read(8), "little")
                inodes.append(table)
                if len(inodes) == damaged:
                    stream.seek(([offset + 96, *inodes])[damaged - 1])
                    stream.write(bytes(64))
        return found

    monkeypatch.setattr(squashfs, "run", broken)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(BuildError, match=r"mksquashfs version .* cannot be read back"):
        write(place / "a.sif", tmp_path / "cache", CELLS, system(Entry("/x", data=b"text" * 9999)))
    assert list(place.iterdir()) == []


@needs_mksquashfs
def test_source_date_epoch_does_not_count(tmp_path, monkeypatch):
    """A variable that mksquashfs would trip over changes nothing."""
    first = write(tmp_path / "a.sif", tmp_path / "one", CELLS)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert write(tmp_path / "a.sif", tmp_path / "two", CELLS).digest == first.digest


@needs_mksquashfs
def test_odd_names_arrive(tmp_path):
    """Spaces, quotes, backslashes and non-ASCII letters in names survive both ways in."""
    odd = 'a "b" \\c é\n'
    below = system(Entry(f"/odd/{odd}", data=b"1"), Entry("/odd/" + "n" * 200, data=b"2"))
    write(tmp_path / "a.sif", tmp_path / "cache", below=below)
    open_image(tmp_path / "a.sif").extract(tmp_path / "root")
    assert (tmp_path / "root" / "odd" / odd).read_bytes() == b"1"
    assert (tmp_path / "root" / "odd" / ("n" * 200)).read_bytes() == b"2"


def test_a_missing_mksquashfs_is_named_with_its_package(tmp_path, monkeypatch):
    """Without mksquashfs the message says what to install, and nothing is left."""
    monkeypatch.setattr(process.shutil, "which", lambda name: None)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(HostError, match="apt-get install squashfs-tools"):
        write(place / "a.sif", tmp_path / "cache")
    assert list(place.iterdir()) == []
