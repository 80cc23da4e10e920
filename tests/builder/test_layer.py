"""Deterministic tars and the layers made of them."""

import io
import os
import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_builder.cache import LayerCache
from nbrw_builder.entry import Entry, LayerPlan
from nbrw_builder.errors import BuildError
from nbrw_builder.layer import FIXED_TIME, file_stamp, pack
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import IntegrityError

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
PARTS = NAMES.filter(lambda name: name not in (".", ".."))


def tar_of(layer):
    stream = io.BytesIO()
    layer.write_tar(stream)
    return stream.getvalue()


@given(st.dictionaries(PARTS, st.binary(max_size=600), max_size=6), st.randoms())
def test_order_of_entries_does_not_count(files, shuffle):
    """Equal entries in any order give equal tars, which hold what the entries say."""
    entries = [Entry(f"/top/{name}/f", data=data) for name, data in files.items()]
    first = pack(LayerPlan("data", tuple(entries)))
    shuffle.shuffle(entries)
    second = pack(LayerPlan("data", tuple(entries)))
    assert first.diff_id == second.diff_id
    data = tar_of(first)
    assert digest_bytes(data) == first.diff_id
    assert len(data) == first.size
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        names = tar.getnames()
    assert found == {f"top/{name}/f": text for name, text in files.items()}
    assert all(os.path.dirname(name) in names for name in names if "/" in name)


def test_the_digest_of_a_layer_stays_the_same():
    """A pinned layer: a change of these bytes makes every published layer another one."""
    entries = (
        Entry("/a/run", 0o700, data=b"#!/bin/sh\n"),
        Entry("/a/link", target="run"),
        Entry("/b/" + "n" * 200, 0o600, data=b"x" * 1000),
        Entry("/tmp", 0o1777),
    )
    layer = pack(LayerPlan("system", entries))
    assert (layer.diff_id.hex[:16], layer.size) == ("a39b3ff91bee31fd", 6656)


def test_modes_owners_and_times_are_normalised():
    """Whatever the host's modes, the image's files are readable by all and owned by root."""
    entries = (
        Entry("/d", 0o700),
        Entry("/d/plain", 0o600, data=b""),
        Entry("/d/program", 0o710, data=b""),
        Entry("/tmp", 0o1777),
    )
    with tarfile.open(fileobj=io.BytesIO(tar_of(pack(LayerPlan("x", entries))))) as tar:
        members = {m.name: m for m in tar}
    assert {name: m.mode for name, m in members.items()} == {
        "d": 0o755, "d/plain": 0o644, "d/program": 0o755, "tmp": 0o1777,
    }  # fmt: skip
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, FIXED_TIME)}


def test_a_file_that_changed_since_its_stamp_is_named(tmp_path):
    """A source with another stamp than the plan's stops the build."""
    source = tmp_path / "data.csv"
    source.write_bytes(b"1")
    stamp = file_stamp(source.stat())
    source.write_bytes(b"22")
    with pytest.raises(BuildError, match=r"data\.csv has changed"):
        pack(LayerPlan("data", (Entry("/data.csv", source=source, stamp=stamp),)))


def test_a_file_that_changes_after_packing_is_named(tmp_path):
    """A layer writes the bytes it was packed from, or nothing."""
    source = tmp_path / "data.csv"
    source.write_bytes(b"1")
    layer = pack(LayerPlan("data", (Entry("/data.csv", source=source),)))
    source.write_bytes(b"2222")
    with pytest.raises(BuildError, match=r"data\.csv has changed"):
        tar_of(layer)


def test_a_file_that_vanished_is_named(tmp_path):
    """A missing source stops the build."""
    with pytest.raises(BuildError, match="gone cannot be read"):
        pack(LayerPlan("data", (Entry("/data", source=tmp_path / "gone"),)))


def test_a_fifo_does_not_block(tmp_path):
    """A source that is no regular file stops the build instead of hanging it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="not a regular file"):
        pack(LayerPlan("data", (Entry("/pipe", source=tmp_path / "pipe"),)))


@pytest.mark.parametrize("inline", [True, False])
def test_bytes_without_their_digest_are_refused(tmp_path, inline):
    """An entry's digest is checked against the bytes that are packed."""
    (tmp_path / "f").write_bytes(b"wrong")
    what = {"data": b"wrong"} if inline else {"source": tmp_path / "f"}
    with pytest.raises(IntegrityError):
        pack(LayerPlan("data", (Entry("/f", digest=digest_bytes(b"right"), **what),)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((Entry("/a", data=b"1"), Entry("/a", data=b"2")), "twice"),
        ((Entry("/a", target="b"), Entry("/a/f", data=b"")), "no directory"),
        ((Entry("/other/f", data=b""),), "outside /nbrw.1"),
    ],
)
def test_layers_that_mean_nothing_are_refused(entries, message):
    """Contradicting entries, and entries outside the layer's directory, stop the build."""
    directory = "/nbrw.1" if "outside" in message else ""
    with pytest.raises(BuildError, match=message):
        pack(LayerPlan("cell:1", entries, (1,), directory))


def test_known_layers_are_not_read_again(tmp_path):
    """With digests in the entries the cache answers, and the answer is the same."""
    source = tmp_path / "blob"
    source.write_bytes(random.Random(0).randbytes(1000))
    digest = digest_bytes(source.read_bytes())
    plan = LayerPlan("data", (Entry("/blob", source=source, digest=digest),))
    cache = LayerCache(tmp_path / "cache")
    first = pack(plan, cache)
    os.truncate(source, 0)
    source.write_bytes(bytes(1000))  # same size and digest promised, other bytes
    second = pack(plan, cache)
    assert second.diff_id == first.diff_id
    with pytest.raises(IntegrityError):
        tar_of(second)


def test_files_changed_just_now_are_not_remembered(tmp_path):
    """A stamp is believed only once the file's clock has moved on."""
    source = tmp_path / "fresh"
    source.write_bytes(b"1")
    pack(LayerPlan("data", (Entry("/fresh", source=source),)), LayerCache(tmp_path / "cache"))
    assert not (tmp_path / "cache" / "layers").exists()
