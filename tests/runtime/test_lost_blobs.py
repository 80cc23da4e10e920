"""Blobs that are missing or corrupt: the cell that made them runs again, and it is said why."""

from __future__ import annotations

import pytest

from nbrw_runtime.blob_checks import LARGE, BlobChecks
from nbrw_runtime.plan import Request
from nbrw_runtime.store import DirectoryStore
from repeat_harness import Repeat, audit, plain_run

SOURCES = [
    "import numpy as np",
    "x = np.arange(400_000.0)\nopen('out.txt', 'w').write('7')\nprint('made')",
    "y = x + 1",
    "print(y.sum(), x[:3])\nprint(open('out.txt').read())",
]


def damage(store, digest, how):
    """Spoil a blob."""
    path = store._path(digest)
    path.chmod(0o644)
    if how == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def blob_of(recipe, what):
    """A blob of cell 2."""
    made = recipe.checkpoint(2)
    x = next(stored for stored in made.objects if stored.names == ("x",))
    return {
        "pickle": x.blob, "buffer": x.buffers[0], "file": made.files[0].digest,
        "outputs": made.outputs,
    }[what]  # fmt: skip


@pytest.mark.parametrize("how", ["gone", "corrupt"])
@pytest.mark.parametrize("what", ["pickle", "buffer", "file", "outputs"])
def test_the_cell_whose_blob_is_lost_runs_again(tmp_path, what, how):
    """The outputs are those of a run from the top, and the blob is named."""
    recipe, store = audit(tmp_path / "audit", SOURCES)
    damage(store, blob_of(recipe, what), how)
    repeat = Repeat(tmp_path / "repeat", recipe, store, SOURCES, Request(cells=(4,)))
    assert repeat.outputs == plain_run(tmp_path / "plain", SOURCES)
    assert repeat.actions == "rXrX"
    assert str(blob_of(recipe, what)) in repeat.report[1].reason


def test_a_cell_that_worked_with_corrupt_bytes_does_not_count(tmp_path):
    """A large buffer is checked while the cell runs already."""
    recipe, store = audit(tmp_path / "audit", SOURCES)
    buffer = blob_of(recipe, "buffer")
    assert store.size(buffer) >= LARGE
    damage(store, buffer, "corrupt")
    repeat = Repeat(tmp_path / "repeat", recipe, store, SOURCES, Request(cells=(3,)))
    assert repeat.actions == "rXXr"
    assert repeat.outputs == plain_run(tmp_path / "plain", SOURCES)


def test_a_check_names_what_failed_once(tmp_path):
    """And nothing of what is whole."""
    store = DirectoryStore(tmp_path)
    good, bad = store.put(b"g" * LARGE), store.put(b"b" * LARGE)
    damage(store, bad, "corrupt")
    checks = BlobChecks()
    checks.begin(1, ["a"], store, [good])
    checks.begin(2, ["b", "c"], store, [good, bad])
    assert checks.pending
    (failed,) = checks.failures()
    assert (failed["cell"], failed["names"], failed["integrity"]) == (2, ["b", "c"], True)
    assert str(bad) in failed["reason"]
    assert not checks.pending and checks.failures() == []
