"""The audit directory: what is kept, what goes."""

import json
import os

import pytest

from nbrw_builder.audit_directory import AuditDirectory, AuditState, prune_audits
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import StorageError, UsageError
from nbrw_runtime.records import to_json

CODE = digest_bytes(b"code")


@pytest.fixture
def directory(tmp_path):
    """An audit directory with one checkpoint of one blob."""
    made = AuditDirectory(tmp_path / "audits/one")
    with made.locked():
        blob = made.store.put(b"kept")
        checkpoint = Checkpoint(1, CODE, objects=(StoredObject(("x",), blob, blob),))
        made.checkpoint_path(1).write_text(json.dumps(to_json(checkpoint)))
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
    directory.write_outputs(1, digest)
    assert directory.read_checkpoint(1).outputs == digest


def test_checkpoints_from_a_cell_on_can_be_dropped(directory):
    """Those before it stay."""
    directory.checkpoint_path(2).write_text(directory.checkpoint_path(1).read_text())
    directory.drop_from(2)
    assert directory.read_checkpoint(1) is not None
    assert directory.read_checkpoint(2) is None


def test_blobs_that_nothing_needs_any_more_go(directory):
    """Edits would fill the disk otherwise."""
    old = directory.store.put(b"old")
    directory.tidy()
    assert old not in directory.store
    assert directory.store.get(digest_bytes(b"kept")) == b"kept"


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
