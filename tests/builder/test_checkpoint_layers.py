"""Checkpoints to layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_builder.checkpoint_layers import checkpoint_layers
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.store import DirectoryStore

CODE = digest_bytes(b"code")


def checkpoints(store, *cells):
    """One checkpoint for each list of blob contents."""
    made = []
    for number, contents in enumerate(cells, 1):
        objects = tuple(
            StoredObject((f"x{n}",), digest_bytes(data), store.put(data))
            for n, data in enumerate(contents)
        )
        made.append(Checkpoint(number, CODE, objects=objects))
    return made


def blobs(layer):
    """The names of a layer's blobs."""
    return [entry.path.rpartition("/")[2] for entry in layer.entries]


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return DirectoryStore(tmp_path / "store")


def test_a_blob_lies_in_the_layer_of_the_first_cell_that_needs_it(store):
    """What a later cell shares with an earlier one does not travel twice."""
    layers = checkpoint_layers(checkpoints(store, [b"a"], [b"a", b"b"]), store.path)
    assert [layer.cells for layer in layers] == [(1,), (2,)]
    assert blobs(layers[1]) == [digest_bytes(b"b").hex]


def test_a_cell_that_stored_nothing_has_no_layer(store):
    """An empty layer would only cost."""
    layers = checkpoint_layers(checkpoints(store, [b"a"], [], [b"c"]), store.path)
    assert [layer.name for layer in layers] == ["cell:1", "cell:3"]


def test_a_cell_inserted_above_leaves_the_layers_below_alone(store):
    """A layer's directory is named by its content, not by the cell's number."""
    before = checkpoint_layers(checkpoints(store, [b"a"], [b"b"]), store.path)
    after = checkpoint_layers(checkpoints(store, [b"new"], [b"a"], [b"b"]), store.path)
    assert [layer.directory for layer in after[1:]] == [layer.directory for layer in before]
    assert [layer.entries for layer in after[1:]] == [layer.entries for layer in before]


@given(count=st.integers(1, 300), limit=st.integers(5, 80))
def test_many_cells_share_layers_within_the_limit(tmp_path_factory, count, limit):
    """However many cells there are, the limit holds, and every blob has one place, in order."""
    store = DirectoryStore(tmp_path_factory.mktemp("store"))
    made = [
        Checkpoint(n, CODE, objects=(StoredObject(("x",), digest, digest),))
        for n in range(1, count + 1)
        for digest in [digest_bytes(str(n).encode())]
    ]
    path = store.root / "any"
    path.write_bytes(b"")
    layers = checkpoint_layers(made, lambda digest: path, limit)
    assert len(layers) <= max(limit, 1)
    assert [cell for layer in layers for cell in layer.cells] == list(range(1, count + 1))
    assert len({layer.directory for layer in layers}) == len(layers)
