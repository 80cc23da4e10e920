"""Which files a cell left, and what is kept of those it overwrites."""

import os

import pytest

from nbrw_builder.file_changes import FileChanges


@pytest.fixture
def changes(tmp_path):
    """A tracker; its gaps are in ``gaps``."""
    gaps = []
    made = FileChanges(tmp_path / "preserved", gaps.append)
    made.gaps = gaps
    return made


def write(changes, path, text="x"):
    """As the tracer sees a file written."""
    changes.touch(str(path), path.exists())
    path.write_text(text)
    changes.wrote(str(path))


def test_a_window_has_what_was_written_and_removed_in_it(changes, tmp_path):
    """In the final state; the next window begins empty."""
    old = tmp_path / "old"
    old.write_text("x")
    write(changes, tmp_path / "a")
    changes.touch(str(old), True)
    old.unlink()
    expected = {"written": [str(tmp_path / "a")], "removed": [str(old)]}
    assert changes.end_window() == expected
    assert changes.end_window() == {"written": [], "removed": []}


def test_a_temporary_file_is_in_neither_list(changes, tmp_path):
    """Written and removed in one window."""
    write(changes, tmp_path / "tmp")
    (tmp_path / "tmp").unlink()
    assert changes.end_window() == {"written": [], "removed": []}


def test_a_renamed_directory_moves_all_its_files(changes, tmp_path):
    """As zarr and others publish results."""
    (tmp_path / "new").mkdir()
    write(changes, tmp_path / "new/part")
    os.rename(tmp_path / "new", tmp_path / "done")
    changes.moved(str(tmp_path / "new"), str(tmp_path / "done"))
    assert changes.end_window() == {"written": [str(tmp_path / "done/part")], "removed": []}


def test_a_file_that_stays_open_is_seen_to_grow(changes, tmp_path):
    """A log that a later cell writes to, without another open."""
    write(changes, tmp_path / "log")
    changes.end_window()
    with open(tmp_path / "log", "a") as stream:
        stream.write("more")
    assert changes.end_window()["written"] == [str(tmp_path / "log")]


@pytest.mark.parametrize("by_name_only", [True, False])
def test_content_that_was_read_is_kept_before_it_changes(changes, tmp_path, by_name_only):
    """Once; what the notebook wrote itself is not."""
    path = tmp_path / "in"
    path.write_text("old")
    changes.read(str(path))
    name = changes.preserve(str(path), path.stat(), by_name_only)
    if by_name_only:
        path.unlink()
    path.write_text("new")
    assert (tmp_path / "preserved" / name).read_text() == "old"
    write(changes, tmp_path / "own")
    changes.read(str(tmp_path / "own"))
    assert changes.preserve(str(tmp_path / "own"), (tmp_path / "own").stat(), False) is None


def test_a_file_that_was_not_read_is_not_kept(changes, tmp_path):
    """Its old content is no input."""
    (tmp_path / "out").write_text("old")
    assert changes.preserve(str(tmp_path / "out"), (tmp_path / "out").stat(), False) is None


def test_content_that_cannot_be_kept_is_a_gap(changes, tmp_path):
    """Never silence."""
    path = tmp_path / "in"
    path.write_text("old")
    changes.read(str(path))
    status = path.stat()
    path.unlink()
    assert changes.preserve(str(path), status, False) is None
    assert "could not be kept" in changes.gaps[0]


def test_a_mode_that_a_later_cell_sets_is_its_doing(changes, tmp_path):
    """Of a file that the notebook made: no call is seen, and nothing in the file changes."""
    write(changes, tmp_path / "run.sh")
    changes.end_window()
    (tmp_path / "run.sh").chmod(0o755)
    assert changes.end_window() == {"written": [str(tmp_path / "run.sh")], "removed": []}
    assert changes.end_window() == {"written": [], "removed": []}
