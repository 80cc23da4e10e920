"""The audit directory: what is kept, what goes."""

import os

import pytest

from nbrw_builder.audit_checkpoints import without_results
from nbrw_builder.audit_directory import AuditDirectory, AuditState, Run, prune_audits
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import StorageError, UsageError

CODE = digest_bytes(b"code")
STATE = AuditState(("python",), "/home/ada", runs=(Run("0002", 1),))


@pytest.fixture
def directory(tmp_path):
    """An audit directory with one checkpoint of one blob."""
    made = AuditDirectory(tmp_path / "audits/one")
    with made.locked():
        blob = made.store.put(b"kept")
        checkpoint = Checkpoint(1, CODE, objects=(StoredObject(("x",), blob, blob),))
        made.checkpoints_of(STATE).root.mkdir()
        made.checkpoints_of(STATE).write(checkpoint)
    return made


def test_a_second_build_of_the_notebook_is_kept_out(directory):
    """Two kernels would write one set of checkpoints."""
    with directory.locked(), pytest.raises(UsageError, match="another build"):
        with AuditDirectory(directory.root).locked():
            pass


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    """With the remedy."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        with AuditDirectory(tmp_path / "file/audit").locked():
            pass


def test_the_state_is_read_as_it_was_written_or_not_at_all(directory):
    """A spoilt file counts as none: everything runs."""
    state = AuditState(("python",), "/home/ada")
    directory.write_state(state)
    assert directory.read_state() == state
    (directory.root / "audit.json").write_text("{")
    assert directory.read_state() is None


def test_outputs_complete_a_checkpoint(directory):
    """The kernel writes it before the executor has them."""
    digest = digest_bytes(b"[]")
    place = directory.checkpoints_of(STATE)
    assert place.write_outputs(1, digest).outputs == digest
    assert place.read(1).outputs == digest
    assert place.write_outputs(2, digest) is None


def test_what_nothing_needs_any_more_goes(directory):
    """Blobs, traces and checkpoints of audits before: edits would fill the disk otherwise."""
    old = directory.store.put(b"old")
    assert directory.new_checkpoints() == "checkpoints-2"
    for number in ("0001", "0002"):
        (directory.trace / f"{number}.jsonl.zst").write_bytes(b"")
    directory.tidy(STATE)
    assert old not in directory.store
    assert directory.store.get(digest_bytes(b"kept")) == b"kept"
    assert [path.name for path in directory.root.glob("checkpoints*")] == ["checkpoints"]
    assert [path.name for path in directory.trace.glob("*.zst")] == ["0002.jsonl.zst"]


def test_what_audits_before_left_stays_while_one_is_under_way(directory):
    """Should it be cut off, the next one has the cells of both."""
    now = AuditState(
        ("python",), "/home/ada", checkpoints=directory.new_checkpoints(), former=(STATE,)
    )
    directory.tidy(now)
    assert directory.store.get(digest_bytes(b"kept")) == b"kept"
    directory.write_state(now)
    assert directory.read_state() == now


def test_a_moved_cell_loses_the_number_of_its_result_and_nothing_else():
    """`_5` would be another cell's now."""
    blob = digest_bytes(b"")
    shared = StoredObject(("_5", "x"), blob, blob, types=("list", "list"))
    alone = StoredObject(("_5",), blob, blob, types=("int",))
    other = StoredObject(("_five",), blob, blob, types=("int",))
    found = without_results(Checkpoint(5, CODE, objects=(shared, alone, other)))
    assert [(o.names, o.types) for o in found.objects] == [
        (("x",), ("list",)), (("_five",), ("int",)),
    ]  # fmt: skip


def test_the_audits_used_longest_ago_go_first(directory, tmp_path):
    """Never the present one, nor one that a build works in."""
    others = [AuditDirectory(tmp_path / "audits" / name) for name in ("old", "busy", "new")]
    for age, other in zip((300, 200, 100), others, strict=True):
        with other.locked():
            other.store.put(other.root.name.encode() * 1000)
        os.utime(other.root / "lock", (1e9 - age, 1e9 - age))
    with others[1].locked():
        os.utime(others[1].root / "lock", (1e9 - 200, 1e9 - 200))
        prune_audits(directory.root, 3600)
    left = sorted(path.name for path in (tmp_path / "audits").iterdir())
    assert left == ["busy", "new", "one"]
