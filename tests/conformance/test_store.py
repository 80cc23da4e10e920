"""What every Store promises: one suite, and what only directories can do."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import IntegrityError, NotFoundError, StorageError
from nbrw_runtime.store import DirectoryStore, MemoryStore, StackedStore, _write_all

KINDS = ["memory", "directory", "stacked", "caller"]


def make(kind, place):
    if kind == "memory":
        return MemoryStore()
    if kind == "directory":
        return DirectoryStore(place / "store")
    if kind == "caller":
        with open_caller_store(place, {"NBRW_CACHE_DIR": str(place / "cache")}) as store:
            assert not store.why_not
            return store.blobs
    return StackedStore([DirectoryStore(place / "upper"), DirectoryStore(place / "lower")])


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    return make(request.param, tmp_path)


@pytest.fixture(params=["directory", "stacked", "caller"])
def on_disk(request, tmp_path):
    return make(request.param, tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(3_000_000)])
def test_what_is_put_is_got(store, data):
    """Under the digest of its bytes."""
    digest = store.put(data)
    assert digest == digest_bytes(data)
    assert digest in store
    assert store.get(digest) == data


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_iteration_gives_each_digest_once_sorted(blobs):
    """Putting twice is putting once."""
    store = MemoryStore()
    for data in blobs + blobs:
        store.put(data)
    assert list(store) == sorted({digest_bytes(data) for data in blobs})


def test_iteration_of_any_store_is_sorted(store):
    """An empty one has nothing, and does not fail."""
    assert list(store) == []
    digests = {store.put(bytes([n])) for n in range(9)}
    store.put(b"\x00")
    assert list(store) == sorted(digests)


def test_a_blob_that_is_not_there_is_an_error(store):
    """Not empty bytes."""
    store.put(b"another")
    missing = digest_bytes(b"never put")
    assert missing not in store
    with pytest.raises(NotFoundError, match=missing.hex):
        store.get(missing)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_buffers_of_any_kind_are_copied(store, kind):
    """A later change of the caller's buffer does not reach the store."""
    source = bytearray(b"before")
    digest = store.put(kind(source) if kind is memoryview else source)
    source[:] = b"after!"
    assert store.get(digest) == b"before"


def blob_path(store, digest):
    """Where a store on disk keeps a blob."""
    return store.path(digest)


def spoil(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("data", [b"spoilt", b"", b"the blob and more"])
def test_spoilt_bytes_are_never_given(on_disk, data):
    """Neither read nor mapped, even after the blob was good once."""
    digest = on_disk.put(b"the blob")
    path = blob_path(on_disk, digest)
    spoil(path, data)
    for read in (on_disk.get, on_disk.map, on_disk.path):
        with pytest.raises(IntegrityError, match=digest.hex):
            read(digest)


def test_memory_checks_what_it_gives():
    """Like every other store."""
    store = MemoryStore()
    digest = store.put(b"the blob")
    store._blobs[digest] = b"spoilt"
    with pytest.raises(IntegrityError):
        store.get(digest)


@pytest.mark.parametrize("data", [b"", b"x" * 5000])
def test_a_map_is_private(on_disk, data):
    """Writing to what was restored changes nothing that is stored."""
    digest = on_disk.put(data)
    mapped = on_disk.map(digest)
    assert bytes(mapped) == data
    if data:
        mapped[0] = 0
        assert mapped[0] == 0
    assert on_disk.get(digest) == data


def test_a_files_content_is_stored(on_disk, tmp_path):
    """With its size, whatever its mode; the file itself is not touched."""
    (tmp_path / "file").write_bytes(b"content" * 400_000)
    digest, size = on_disk.put_file(tmp_path / "file")
    assert (digest, size) == (digest_bytes(b"content" * 400_000), 2_800_000)
    assert on_disk.size(digest) == size
    assert (tmp_path / "file").exists()


def test_a_file_that_cannot_be_read_is_the_files_error(on_disk, tmp_path):
    """Not the store's; and nothing is left of the attempt."""
    with pytest.raises(FileNotFoundError):
        on_disk.put_file(tmp_path / "no such file")
    assert list(on_disk) == []


def test_nothing_unfinished_is_left_or_seen(tmp_path):
    """Another writer's temporary file is not a blob."""
    store = DirectoryStore(tmp_path)
    digest = store.put(b"x")
    (tmp_path / "sha256/.new-abc").write_bytes(b"half")
    assert list(store) == [digest]
    (tmp_path / "sha256/.new-abc").unlink()
    assert os.listdir(tmp_path / "sha256") == [digest.hex]
    assert (tmp_path / "sha256" / digest.hex).stat().st_mode & 0o777 == 0o444


def test_many_writers_of_one_blob_agree(on_disk):
    """Every reader sees the whole blob or none."""
    data = os.urandom(300_000)
    threads = [threading.Thread(target=on_disk.put, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(on_disk) == [digest_bytes(data)]
    assert on_disk.get(digest_bytes(data)) == data


def test_a_write_that_takes_a_part_is_continued():
    """The kernel takes 2 GiB at a time at most, and tells so only by the number it returns."""

    class Slow(io.RawIOBase):
        taken = b""

        def write(self, data):
            self.taken += bytes(data[:3])
            return min(3, len(data))

    target = Slow()
    _write_all(target, memoryview(b"0123456789"))
    assert target.taken == b"0123456789"


def test_the_upper_store_takes_what_is_written_and_serves_first(tmp_path):
    """The image's store is read-only; the caller's lies above."""
    upper, lower = DirectoryStore(tmp_path / "upper"), DirectoryStore(tmp_path / "lower")
    below = lower.put(b"below")
    store = StackedStore([upper, lower])
    above = store.put(b"above")
    assert (above in upper, above in lower) == (True, False)
    assert store.get(below) == b"below"
    assert store.size(below) == 5
    assert list(store) == sorted([above, below])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_directory_is_a_storage_error(tmp_path):
    """The message names it."""
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="Permission denied"):
        DirectoryStore(tmp_path / "store").put(b"x")


def test_a_store_below_a_file_is_a_storage_error(tmp_path):
    """As when XDG_CACHE_HOME names a file."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="write to"):
        DirectoryStore(tmp_path / "file/store").put(b"x")


def can_mount():
    return os.geteuid() == 0 and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


FULL = """
import sys
sys.path[:0] = {path!r}
from nbrw_runtime.errors import StorageError
from nbrw_runtime.store import DirectoryStore
try:
    DirectoryStore(sys.argv[1]).put(bytes(3_000_000))
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_a_full_disk_is_a_storage_error_and_leaves_no_half_blob(tmp_path):
    """The message says what to do."""
    (tmp_path / "script.py").write_text(FULL.format(path=sys.path))
    (tmp_path / "small").mkdir()
    shell = 'mount -t tmpfs -o size=1m none small && "$0" script.py small; ls -A small/sha256'
    said = subprocess.check_output(
        ["unshare", "-m", "sh", "-c", shell, sys.executable], cwd=tmp_path, text=True
    )
    assert said.splitlines() == [
        "write to small: the disk is full; free some space or set XDG_CACHE_HOME to a directory "
        "with room, then run the same command again"
    ]
