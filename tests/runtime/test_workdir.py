"""The work directory: inputs come and go, the caller's files stay."""

import json
import os
from dataclasses import replace

import pytest

from nbrw_runtime import workdir
from nbrw_runtime.checkpoint import StoredFile
from nbrw_runtime.dependency import Data, DataState, Dependencies
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import UsageError
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.workdir import MANIFEST, WorkDirectory

CWD = "/home/ada/proj"


@pytest.fixture
def image(tmp_path, monkeypatch):
    """The image's files lie below a directory of the test."""
    root = tmp_path / "image"
    monkeypatch.setattr(workdir, "image_path", lambda path: str(root) + path)
    return root


@pytest.fixture
def work(tmp_path, image):
    """An empty work directory."""
    (tmp_path / "work").mkdir()
    return WorkDirectory(tmp_path / "work", CWD)


def given(image, name, text="x", state=DataState.READ):
    """An input of the author's, in the image."""
    path = image / CWD[1:] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Data(f"{CWD}/{name}", state, (1,), digest=digest_bytes(text.encode()), size=len(text))


def names(work):
    """What is in the work directory, but for the manifest."""
    found = work.root.rglob("*")
    return sorted(str(path.relative_to(work.root)) for path in found if path.name != MANIFEST)


def test_inputs_appear_as_links_and_are_gone_at_the_end(work, image):
    """With the directories that were made for them."""
    data = (given(image, "in.csv"), given(image, "parts/a.csv"))
    work.open(Dependencies(data=data))
    assert (work.root / "parts/a.csv").is_symlink()
    assert (work.root / "in.csv").read_text() == "x"
    work.close()
    assert names(work) == []
    assert not (work.root / MANIFEST).exists()


def test_an_input_that_the_notebook_changes_is_a_copy(work, image):
    """The image's file cannot be written to."""
    data = given(image, "base.db")
    written = Data(data.path, DataState.WRITTEN, (2,))
    work.open(Dependencies(data=(data, written)))
    assert not (work.root / "base.db").is_symlink()
    (work.root / "base.db").write_text("changed")


@pytest.mark.parametrize("callers", [False, True])
def test_what_a_repeat_made_of_an_input_is_no_input_of_the_next(work, image, callers):
    """The author's is put back, unless it was the caller's that a cell changed."""
    data = given(image, "base.db")
    inputs = Dependencies(data=(data, Data(data.path, DataState.WRITTEN, (2,))))
    place = work.root / "base.db"
    if callers:
        place.write_text("mine")
    work.open(inputs)
    place.write_text("changed by a cell")
    work.note_written({data.path: digest_bytes(b"changed by a cell")})
    work.close()
    later = WorkDirectory(work.root, CWD)
    later.open(inputs)
    assert place.read_text() == ("changed by a cell" if callers else "x")
    assert (data.path in later.changed) is callers


@pytest.mark.parametrize(("text", "changed"), [("x", False), ("mine", True)])
def test_a_file_of_the_callers_is_never_replaced(work, image, text, changed):
    """If it differs it is a changed input, and a reason to run cells."""
    (work.root / "in.csv").write_text(text)
    work.open(Dependencies(data=(given(image, "in.csv"),)))
    assert (f"{CWD}/in.csv" in work.changed) is changed
    work.close()
    assert (work.root / "in.csv").read_text() == text


def test_a_file_where_the_author_had_none_is_a_changed_input(work):
    """The notebook looked for it."""
    (work.root / "config.yaml").write_text("x")
    work.open(Dependencies(data=(Data(f"{CWD}/config.yaml", DataState.ABSENT, (1,)),)))
    assert "the author had nothing" in work.changed[f"{CWD}/config.yaml"]


def test_an_input_that_changed_during_the_audit_counts_as_changed(work, image):
    """What the image has is not what the checkpoint is of."""
    data = given(image, "in.csv")
    work.open(Dependencies(data=(Data(data.path, data.state, (1,), (), data.digest, 1, True),)))
    assert data.path in work.changed


@pytest.fixture
def stored(tmp_path):
    """A store, and a file in it that a cell wrote."""
    store = DirectoryStore(tmp_path / "store")
    return store, StoredFile(f"{CWD}/out/r.txt", store.put(b"result"), 6, 0o640)


def test_files_of_restored_cells_are_placed_and_stay(work, stored):
    """With their permissions; those outside the working directory are named."""
    store, file = stored
    outside = StoredFile("/data/x", file.digest, 6)
    assert work.restore_files([file, outside], [], store.path) == ["/data/x"]
    work.close()
    assert (work.root / "out/r.txt").read_text() == "result"
    assert (work.root / "out/r.txt").stat().st_mode & 0o777 == 0o640


def test_a_directory_that_a_cell_made_comes_back_and_goes(work):
    """With nothing in it; a later cell that removed it is restored too."""
    made = StoredFile(f"{CWD}/plots/deep", digest_bytes(b""), 0, 0o750, directory=True)
    for _ in range(2):
        assert work.restore_files([made], [], None) == []
        assert (work.root / "plots/deep").stat().st_mode & 0o777 == 0o750
        work.close()
        assert names(work) == ["plots", "plots/deep"]
    again = WorkDirectory(work.root, CWD)
    again.open(Dependencies())
    again.restore_files([], [made.path], None)
    assert names(work) == ["plots"]


def test_what_is_in_a_directory_of_the_callers_stays(work):
    """A cell that removed the directory is restored, and the caller has put something there."""
    made = StoredFile(f"{CWD}/plots", digest_bytes(b""), 0, 0o755, directory=True)
    work.restore_files([made], [], None)
    (work.root / "plots/mine").touch()
    work.restore_files([], [made.path], None)
    assert names(work) == ["plots", "plots/mine"]


def test_a_file_where_a_directory_was_stops_the_repeat(work):
    """It is named, and stays."""
    (work.root / "plots").write_text("mine")
    made = StoredFile(f"{CWD}/plots", digest_bytes(b""), 0, 0o755, directory=True)
    with pytest.raises(UsageError, match="has a file of this name"):
        work.restore_files([made], [], None)


def test_another_file_of_that_name_stops_the_repeat(work, stored):
    """Unless an earlier repeat made it and nobody touched it."""
    store, file = stored
    (work.root / "out").mkdir()
    (work.root / "out/r.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"out/r\.txt.*--work-dir"):
        work.restore_files([file], [], store.path)
    assert (work.root / "out/r.txt").read_text() == "precious"


def test_results_of_an_earlier_repeat_may_be_replaced(work, stored):
    """The manifest knows them."""
    store, file = stored
    work.restore_files([file], [], store.path)
    work.close()
    later = WorkDirectory(work.root, CWD)
    later.open(Dependencies())
    new = StoredFile(file.path, store.put(b"new"), 3)
    later.restore_files([new], [], store.path)
    assert (work.root / "out/r.txt").read_text() == "new"
    (work.root / "out/r.txt").write_text("touched")
    last = WorkDirectory(work.root, CWD)
    last.open(Dependencies())
    with pytest.raises(UsageError):
        last.restore_files([file], [], store.path)


def test_links_of_a_killed_repeat_are_known_and_removed(work, image):
    """By the manifest that it left."""
    work.open(Dependencies(data=(given(image, "in.csv"),)))
    value = json.loads((work.root / MANIFEST).read_bytes())
    assert (value["format"], value["links"]) == ("nbrw.work", ["in.csv"])
    later = WorkDirectory(work.root, CWD)
    later.open(Dependencies(data=(given(image, "in.csv"),)))
    assert later.changed == {}
    later.close()
    assert names(work) == []


def test_a_link_of_ours_is_led_elsewhere_and_one_of_the_callers_is_not(work):
    """One that a cell made in this repeat, or that an earlier repeat placed, is ours."""
    link = work.root / "latest"
    first, second = (
        StoredFile(f"{CWD}/latest", digest_bytes(b""), 0, link=name) for name in ("a", "b")
    )
    work.root.joinpath("c").mkdir()
    link.symlink_to("c")
    work.note_written({first.path: "directory"})
    work.restore_files([first], [], None)
    assert os.readlink(link) == "a"
    later = WorkDirectory(work.root, CWD)
    later.open(Dependencies())
    later.restore_files([second], [], None)
    assert os.readlink(link) == "b"
    link.unlink()
    link.symlink_to("mine")
    with pytest.raises(UsageError, match="another file of this name"):
        later.restore_files([first], [], None)
    assert os.readlink(link) == "mine"


@pytest.mark.parametrize("ours", [True, False])
def test_a_file_of_ours_gets_the_mode_that_the_next_cell_gave_it(work, stored, ours):
    """Though what it holds is the same; one of the caller's keeps its own."""
    store, file = stored
    place = work.root / "out/r.txt"
    if ours:
        work.restore_files([file], [], store.path)
    else:
        place.parent.mkdir()
        place.write_bytes(b"result")
        place.chmod(0o640)
    work.restore_files([replace(file, mode=0o750)], [], store.path)
    assert place.stat().st_mode & 0o777 == (0o750 if ours else 0o640)
