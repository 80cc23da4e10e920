"""Results of repeats hold without the image that they were computed with."""

from __future__ import annotations

import pytest

from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.result import Result
from nbrw_runtime.store import DirectoryStore, StackedStore

ENVIRONMENT = digest_bytes(b"environment")
KEY = "ab" * 32


def opened(tmp_path):
    """The caller's store, below tmp_path."""
    variables = {"NBRW_CACHE_DIR": str(tmp_path / "cache"), "NBRW_CACHE_SIZE": "1G"}
    return open_caller_store(tmp_path / "scratch", variables)


def result_of(*blobs):
    """A result that needs these blobs."""
    objects = tuple(StoredObject((f"x{n}",), blob, blob) for n, blob in enumerate(blobs))
    return Result(ENVIRONMENT, KEY, Checkpoint(1, ENVIRONMENT, objects=objects))


def test_a_blob_that_only_the_image_has_is_copied(tmp_path):
    """And what the store has is not."""
    image = DirectoryStore(tmp_path / "image")
    there = image.put(b"in the image")
    with opened(tmp_path) as store:
        store.image = StackedStore([image])
        store.keep(result_of(store.blobs.put(b"here"), there))
    with opened(tmp_path) as store:
        assert len(store.find(ENVIRONMENT, KEY)) == 1
        assert store.blobs.get(there) == b"in the image"


@pytest.mark.parametrize("corrupt", [False, True])
def test_a_result_is_not_kept_if_a_blob_is_nowhere_or_corrupt_in_the_image(tmp_path, corrupt):
    """And the note names the blob."""
    image = DirectoryStore(tmp_path / "image")
    lost = image.put(b"lost")
    path = image.root / "sha256" / lost.hex
    path.unlink()
    if corrupt:
        path.write_bytes(b"soft")
    with opened(tmp_path) as store:
        store.image = StackedStore([image])
        assert store.keep(result_of(lost)) is None
        assert lost.hex in store.notes[0]
        assert store.find(ENVIRONMENT, KEY) == []
