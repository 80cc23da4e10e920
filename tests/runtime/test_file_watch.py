"""What a cell of a repeat did to the files that other cells depend on."""

from __future__ import annotations

import os

import pytest

from nbrw_runtime import workdir
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.file_watch import FileWatch
from nbrw_runtime.workdir import WorkDirectory

HOME = "/home/ada"
DATA = (
    Data(f"{HOME}/in.csv", DataState.READ, (1,)),
    Data(f"{HOME}/out.csv", DataState.WRITTEN, (2,)),
    Data(f"{HOME}/no.csv", DataState.ABSENT, (1,)),
    Data(HOME, DataState.LISTED, (1,)),
)


@pytest.fixture
def watch(tmp_path):
    """A watched work directory that has the input."""
    (tmp_path / "in.csv").write_text("1")
    return FileWatch(WorkDirectory(tmp_path, HOME), DATA)


def test_new_changed_and_vanished_files_are_told_once(watch, tmp_path):
    """By the author's paths, with digests."""
    assert watch.changes() == {}
    (tmp_path / "out.csv").write_text("x")
    (tmp_path / "in.csv").unlink()
    found = watch.changes()
    assert found[f"{HOME}/out.csv"] == str(digest_bytes(b"x"))
    assert found[f"{HOME}/in.csv"] is None
    assert watch.changes() == {}


def test_a_rewrite_of_the_same_size_at_the_same_time_is_seen(watch, tmp_path):
    """The time of a change of the file's state cannot be set."""
    before = (tmp_path / "in.csv").stat()
    (tmp_path / "in.csv").write_text("2")
    os.utime(tmp_path / "in.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch.changes() == {f"{HOME}/in.csv": str(digest_bytes(b"2"))}


def test_a_file_that_nobody_knows_counts_for_who_lists_its_directory(watch, tmp_path):
    """Caches, and what nbrw keeps there, do not."""
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".nbrw-work.json").write_text("{}")
    assert watch.changes() == {f"{HOME}/other.txt": "new"}


def test_before_all_is_done_again_known_results_go_and_unknown_files_stay(watch, tmp_path):
    """A file that is not known may be somebody's."""
    for name in ("out.csv", "other.txt"):
        (tmp_path / name).write_text("x")
    watch.changes()
    watch.rewind()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "other.txt"]
    assert watch.changes() == {f"{HOME}/other.txt": "new"}


@pytest.mark.parametrize("act", ["appended", "removed"])
@pytest.mark.parametrize("owner", ["author", "caller"])
def test_before_all_is_done_again_inputs_are_as_they_were(act, owner, tmp_path, monkeypatch):
    """Whoever has them; and that they are again is no change of the next cell's."""
    monkeypatch.setattr(workdir, "image_path", lambda path: f"{tmp_path}/image{path}")
    place, source = tmp_path / "work/in.csv", tmp_path / "image/home/ada/in.csv"
    for path in (source, place)[: 2 if owner == "caller" else 1]:
        path.parent.mkdir(parents=True)
        path.write_text("1" if path is source else "mine")
    place.parent.mkdir(exist_ok=True)
    data = (
        Data(f"{HOME}/in.csv", DataState.READ, (1,), digest=digest_bytes(b"1"), size=1),
        Data(f"{HOME}/in.csv", DataState.WRITTEN, (2,)),
    )
    work = WorkDirectory(place.parent, HOME)
    work.open(Dependencies(data=data))
    watch = FileWatch(work, data)
    for _ in range(2):
        watch.begin(tmp_path / "aside")
        assert watch.changes() == {}
        assert place.read_text() == ("mine" if owner == "caller" else "1")
        place.write_text("more") if act == "appended" else place.unlink()
        assert watch.rewind() == []
        work.open(Dependencies(data=data))


def test_an_input_that_cannot_be_put_back_is_named(tmp_path, monkeypatch):
    """A large one that no cell of the audit wrote is not copied."""
    monkeypatch.setattr("nbrw_runtime.file_watch.MOST", 0)
    (tmp_path / "in.csv").write_text("1")
    watch = FileWatch(WorkDirectory(tmp_path, HOME), DATA)
    watch.begin(tmp_path / "aside")
    (tmp_path / "in.csv").write_text("22")
    assert watch.rewind() == [f"{HOME}/in.csv"]
