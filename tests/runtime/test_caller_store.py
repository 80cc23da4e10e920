"""The caller's store: what is kept is found, whole or not at all, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nbrw_runtime.cache_usage import check, prune, usage
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import IntegrityError
from nbrw_runtime.result import Result

RUNTIME = Path(__file__).parents[2] / "runtime"
ENVIRONMENT = digest_bytes(b"environment")
KEY = "ab" * 32


@pytest.fixture
def variables(tmp_path):
    """The store is below tmp_path."""
    return {"NBRW_CACHE_DIR": str(tmp_path / "cache"), "NBRW_CACHE_SIZE": "1G"}


@pytest.fixture
def opened(tmp_path, variables):
    """Open it, any number of times."""

    @contextlib.contextmanager
    def open_it(**changes):
        with open_caller_store(tmp_path / "scratch", {**variables, **changes}) as store:
            yield store

    return open_it


def make(store, *contents, key=KEY, **more):
    """A result that needs these blobs, which are stored."""
    blobs = [store.blobs.put(data) for data in contents]
    objects = tuple(StoredObject((f"x{n}",), blob, blob) for n, blob in enumerate(blobs))
    return Result(ENVIRONMENT, key, Checkpoint(1, ENVIRONMENT, objects=objects), **more)


def found(store, key=KEY):
    return [kept.result for kept in store.find(ENVIRONMENT, key)]


def blob_files(tmp_path):
    return sorted(os.listdir(tmp_path / "cache/repeats/blobs/sha256"))


def test_what_one_repeat_keeps_the_next_one_finds(opened):
    """Under environment and key; several with other conditions, the one used last first."""
    with opened() as store:
        one = make(store, b"1", files={"/x": "1"})
        two = make(store, b"2", files={"/x": "2"})
        assert store.keep(one).result == one and store.keep(two)
        assert not store.why_not and not store.notes
    with opened() as store:
        assert sorted(r.files["/x"] for r in found(store)) == ["1", "2"]
        (first,) = [kept for kept in store.find(ENVIRONMENT, KEY) if kept.result == one]
        os.utime(first.path, (1, 1))
        assert found(store) == [two, one]
        store.used(first)
        assert found(store) == [one, two]
        assert store.find(ENVIRONMENT, "cd" * 32) == []
        assert store.find(digest_bytes(b"other"), KEY) == []
        assert store.blobs.get(one.checkpoint.blobs[0]) == b"1"


def test_of_two_results_with_the_same_conditions_the_later_counts(opened):
    """As of a cell that computes something else each time, and was run again on purpose."""
    with opened() as store:
        store.keep(make(store, b"first"))
        second = make(store, b"second")
        store.keep(second)
        assert found(store) == [second]
        assert store.keep(second) and found(store) == [second]


def test_a_result_whose_blobs_are_not_stored_is_not_published(opened):
    """Nobody finds what cannot be restored."""
    with opened() as store:
        result = make(store, b"x")
        missing = replace(result.checkpoint, outputs=digest_bytes(b"nowhere"))
        assert store.keep(replace(result, checkpoint=missing)) is None
        assert "is not kept" in store.notes[0]
        assert found(store) == []


def test_a_key_is_no_path(opened):
    """Nothing is looked for or written elsewhere."""
    with opened() as store, pytest.raises(ValueError, match="not a key"):
        store.find(ENVIRONMENT, "../../etc")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100])
def test_a_spoilt_result_is_passed_over_and_said(opened, data):
    """Never an error, and what else is there is found."""
    with opened() as store:
        good, bad = make(store, b"1", files={"/x": "1"}), make(store, b"2", files={"/x": "2"})
        store.keep(good)
        store.keep(bad).path.write_bytes(data)
        assert found(store) == [good]
        assert "passed over" in store.notes[0] and "is corrupt" in store.notes[0]


def test_one_changed_letter_is_noticed(opened):
    """A result that names another object would be a wrong one."""
    with opened() as store:
        path = store.keep(make(store, b"1")).path
        path.write_bytes(path.read_bytes().replace(b'"x0"', b'"y0"'))
        assert found(store) == []


def test_a_result_of_a_newer_version_is_passed_over(opened, tmp_path):
    """It is left for the nbrw that wrote it."""
    with opened() as store:
        kept = store.keep(make(store, b"1"))
        data = json.dumps({**json.loads(kept.path.read_bytes()), "version": 2}).encode()
        newer = kept.path.with_name(f"{digest_bytes(data).hex}.json")
        newer.write_bytes(data)
        assert found(store) == [kept.result]
        assert "version 2" in store.notes[0]
        assert check(usage(tmp_path / "cache/repeats")) == []
        assert newer.exists()


def test_a_result_of_another_cell_is_not_believed(opened):
    """As when files were moved about."""
    with opened() as store:
        kept = store.keep(make(store, b"1"))
        other = kept.path.parent.with_name("cd" * 32)
        kept.path.parent.rename(other)
        assert found(store, "cd" * 32) == []
        assert "another cell" in store.notes[0]


def test_a_result_that_lost_a_blob_is_dropped(opened):
    """When it is looked for, not in the middle of a restore."""
    with opened() as store:
        result = make(store, b"1", b"2")
        kept = store.keep(result)
        (store.blobs.root / "sha256" / result.checkpoint.blobs[1].hex).unlink()
        assert found(store) == [] and not kept.path.exists()
        assert "is missing" in store.notes[0]


def test_a_corrupt_blob_is_named_and_can_be_stored_again(opened):
    """The result that needs it is dropped; its other blobs stay."""
    with opened() as store:
        result = make(store, b"good", b"bad")
        kept = store.keep(result)
        bad = digest_bytes(b"bad")
        path = store.blobs.root / "sha256" / bad.hex
        path.chmod(0o644)
        path.write_bytes(b"BAD")
        (again,) = store.find(ENVIRONMENT, KEY)
        with pytest.raises(IntegrityError, match=bad.hex):
            store.blobs.map(bad)
        assert store.drop(again) == [bad]
        assert bad.hex in store.notes[0]
        assert found(store) == [] and not kept.path.exists()
        assert digest_bytes(b"good") in store.blobs and bad not in store.blobs
        assert store.keep(make(store, b"good", b"bad"))
        assert store.blobs.get(bad) == b"bad"


def test_dropping_twice_is_dropping_once(opened):
    """Two repeats may find the same fault."""
    with opened() as store:
        kept = store.keep(make(store, b"1"))
        assert store.drop(kept) == [] and store.drop(kept) == []


# -- size ----------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_goes_first(opened, tmp_path):
    """Once all together are above the limit, some more than needed."""
    with opened() as store:
        for number in range(10):
            key = f"{number:02d}" * 32
            kept = store.keep(make(store, bytes([number]) * 100_000, key=key))
            os.utime(kept.path, (1000 + number, 1000 + number))
        (oldest,) = store.find(ENVIRONMENT, "00" * 32)
        store.used(oldest)
    with opened(NBRW_CACHE_SIZE="500k") as store:
        store.blobs.put(b"something new")
    with opened() as store:
        left = [n for n in range(10) if store.find(ENVIRONMENT, f"{n:02d}" * 32)]
    assert left == [0, 7, 8, 9]
    assert usage(tmp_path / "cache/repeats").size <= 450_000
    assert len(blob_files(tmp_path)) == 4


def test_blobs_that_several_results_need_stay_for_the_last_of_them(opened, tmp_path):
    """And count once."""
    with opened() as store:
        old = store.keep(make(store, b"shared" * 1000, b"old" * 1000, key="00" * 32))
        os.utime(old.path, (1, 1))
        store.keep(make(store, b"shared" * 1000, b"new", key="11" * 32))
        unused = store.blobs.put(b"no result needs it")
    root = tmp_path / "cache/repeats"
    prune(usage(root), 10**9)
    assert not (store.blobs.root / "sha256" / unused.hex).exists()
    assert len(blob_files(tmp_path)) == 3
    prune(usage(root), usage(root).size - 1)
    with opened() as store:
        assert not store.find(ENVIRONMENT, "00" * 32)
        (kept,) = store.find(ENVIRONMENT, "11" * 32)
        assert store.blobs.get(kept.result.checkpoint.blobs[0])
    assert len(blob_files(tmp_path)) == 2


def test_results_not_used_for_long_can_be_removed(opened, tmp_path):
    """By their time of use, whatever their size."""
    with opened() as store:
        old = store.keep(make(store, b"1", key="00" * 32))
        os.utime(old.path, (time.time() - 1000,) * 2)
        store.keep(make(store, b"2", key="11" * 32))
    done = prune(usage(tmp_path / "cache/repeats"), 10**9, 900)
    assert (done.results, done.size) == (1, 1 + old_size(old))
    assert len(usage(tmp_path / "cache/repeats").results) == 1


def old_size(kept):
    from nbrw_runtime.result import write_result

    return len(write_result(kept.result))


def test_everything_can_be_removed(opened, tmp_path):
    """No file is left but the lock."""
    with opened() as store:
        store.keep(make(store, b"1"))
        (tmp_path / "cache/repeats/results/x").mkdir()
    prune(usage(tmp_path / "cache/repeats"), 0)
    left = [path for path in (tmp_path / "cache/repeats").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["lock"]


def test_what_workers_of_a_killed_kernel_have_left_goes_too(opened, tmp_path):
    """Their spool is in the store, as they can reach it."""
    with opened() as store:
        spool = store.blobs.root / "tasks" / "a kernel"
    spool.mkdir(parents=True)
    (spool / "7-a.seg").write_bytes(b"x" * 1000)
    (spool / "7-a.jsonl").write_bytes(b"")
    prune(usage(tmp_path / "cache/repeats"), 1_000_000)
    assert not spool.exists()


def test_another_repeats_blobs_are_not_removed(opened, tmp_path):
    """Even if no result names them yet; the last to end tidies up."""
    with opened(NBRW_CACHE_SIZE="10k") as first:
        with opened(NBRW_CACHE_SIZE="10k") as second:
            kept = second.keep(make(second, b"x" * 50_000))
            unpublished = first.blobs.put(b"to be published")
        assert unpublished in first.blobs and kept.path.exists()
    assert blob_files(tmp_path) == [] and not kept.path.exists()


def test_check_names_and_drops_what_is_corrupt(opened, tmp_path):
    """Blobs, the results that need them, spoilt results; what is whole stays."""
    root = tmp_path / "cache/repeats"
    with opened() as store:
        store.keep(make(store, b"good", key="00" * 32))
        store.keep(make(store, b"bad", key="11" * 32, title="climate"))
        store.keep(make(store, b"good", key="22" * 32)).path.write_bytes(b"{}")
        bad = digest_bytes(b"bad")
        path = store.blobs.root / "sha256" / bad.hex
        path.chmod(0o644)
        path.write_bytes(b"x")
        said = check(usage(root))
        assert len(said) == 3
        assert any(bad.hex in text and "corrupt" in text for text in said)
        assert f"the result of cell 1 of climate is dropped: it needs {bad}" in said
        assert check(usage(root)) == []
        assert [bool(store.find(ENVIRONMENT, f"{n}{n}" * 32)) for n in range(3)] == [
            True, False, False,
        ]  # fmt: skip


# -- where it cannot be --------------------------------------------------------------------------


def test_a_place_that_cannot_be_used_is_said_and_blobs_go_elsewhere(opened, tmp_path):
    """A repeat goes on without."""
    (tmp_path / "file").touch()
    with opened(NBRW_CACHE_DIR=str(tmp_path / "file/cache")) as store:
        assert "results are not kept" in store.why_not and "NBRW_CACHE_DIR" in store.why_not
        result = make(store, b"1")
        assert store.blobs.get(result.checkpoint.blobs[0]) == b"1"
        assert store.keep(result) is None and found(store) == []
    assert (tmp_path / "scratch").is_dir() and not (tmp_path / "cache").exists()


def test_a_size_of_nothing_switches_it_off(opened, tmp_path):
    """Not even its directory is made."""
    with opened(NBRW_CACHE_SIZE="0") as store:
        assert "NBRW_CACHE_SIZE" in store.why_not
        make(store, b"1")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_directory_that_others_may_write_to_is_not_trusted(opened, tmp_path, mode):
    """What is kept there is executed when it is loaded."""
    (tmp_path / "cache/repeats").mkdir(parents=True)
    (tmp_path / "cache/repeats").chmod(mode)
    with opened() as store:
        assert "others may write to it" in store.why_not
    (tmp_path / "cache/repeats").chmod(0o755)
    with opened() as store:
        assert store.why_not == ""


def test_an_error_of_the_repeat_passes_through(opened):
    """It is not taken for one of the store, and the lock is free again."""
    with pytest.raises(OSError, match="of the repeat"), opened():
        raise OSError("of the repeat")
    with opened(NBRW_CACHE_SIZE="1") as store:
        store.blobs.put(b"no result needs it")
    assert list(store.blobs) == []  # tidied: nobody else held the lock


def test_where_there_are_no_locks_nothing_is_removed(opened, monkeypatch, tmp_path):
    """And it is said; once it is full, nothing more is kept."""

    def flock(descriptor, kind):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with opened() as store:
        kept = store.keep(make(store, b"x" * 1000))
    monkeypatch.setattr(fcntl, "flock", flock)
    with opened() as store:
        assert not store.why_not and "no locks" in store.notes[0]
        assert found(store) == [kept.result]
        left = store.blobs.put(b"nobody needs it")
    assert left in store.blobs
    with opened(NBRW_CACHE_SIZE="1k") as store:
        assert "it is full" in store.why_not
    assert left in store.blobs


def test_a_store_that_somebody_keeps_locked_is_done_without(opened, monkeypatch, tmp_path):
    """After a while."""
    monkeypatch.setattr("nbrw_runtime.cache_lock._PATIENCE", 0.2)
    with opened():
        pass
    with open(tmp_path / "cache/repeats/lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with opened() as store:
            assert "another program has locked it" in store.why_not


# -- real processes ------------------------------------------------------------------------------

PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(RUNTIME)!r})
from pathlib import Path
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import StorageError
from nbrw_runtime.result import Result
E = digest_bytes(b"environment")
def keep(store, number, size=5000):
    blobs = [store.blobs.put(f"{{number}} {{part}} ".encode() * size) for part in range(3)]
    objects = tuple(StoredObject((f"x{{b}}",), b, b) for b in blobs)
    result = Result(E, f"{{number:08x}}", Checkpoint(number, E, objects=objects))
    return store.keep(result)
def whole(store, number):
    for kept in store.find(E, f"{{number:08x}}"):
        for blob in kept.result.checkpoint.blobs:
            store.blobs.get(blob)
        store.used(kept)
        return True
    return False
scratch = Path(sys.argv[1])
"""


def start(code, tmp_path, variables, *arguments, **options):
    """A program with the definitions above."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code, str(tmp_path / "scratch"), *map(str, arguments)],
        env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_parallel_repeats_share_one_store(tmp_path, variables):
    """Six at once, opening and closing it all the time, with a limit that has them prune."""
    code = """
import random
first = int(sys.argv[2])
random.seed(first)
hits = 0
for turn in range(12):
    with open_caller_store(scratch) as store:
        assert not store.why_not, store.why_not
        for _ in range(8):
            number = random.randrange(60)
            if whole(store, number):
                hits += 1
            else:
                assert keep(store, number)
                assert whole(store, number)
        assert not store.notes, store.notes
print(hits)
"""
    limit = {**variables, "NBRW_CACHE_SIZE": "2M"}
    children = [start(code, tmp_path, limit, number) for number in range(6)]
    hits = [int(child.communicate(timeout=120)[0] or -1) for child in children]
    assert [child.returncode for child in children] == [0] * 6
    assert sum(hits) > 0
    assert check(usage(tmp_path / "cache/repeats")) == []


def test_a_kill_at_any_point_leaves_only_whole_results(tmp_path, variables):
    """SIGKILL while it stores and prunes; what nothing names is removed when room is needed."""
    code = """
number = int(sys.argv[2])
while True:
    with open_caller_store(scratch) as store:
        for _ in range(4):
            number += 1
            assert keep(store, number)
        print(number, flush=True)
"""
    limit = {**variables, "NBRW_CACHE_SIZE": "2M"}
    root = tmp_path / "cache/repeats"
    for turn in range(12):
        with start(code, tmp_path, limit, 1000 * turn) as child:
            child.stdout.readline()
            time.sleep(0.01 * turn)
            child.kill()
        state = usage(root)
        assert state.results and not state.spoilt
        assert all(blob in state.blobs for kept in state.results for blob in kept.blobs)
        assert check(state) == []
    prune(usage(root), 1_000_000)
    state = usage(root)
    assert state.unfinished == [] and set(state.blobs) == state.needed() != set()
    assert state.size <= 1_000_000


def can_mount():
    return os.geteuid() == 0 and (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


def in_small_disk(code, tmp_path, variables, mount):
    """Run a program where the cache is a file system of its own."""
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "program.py").write_text(PROGRAM + code)
    shell = f'{mount} && "$0" program.py scratch'
    return subprocess.check_output(
        ["unshare", "-m", "sh", "-ec", shell, sys.executable], cwd=tmp_path, text=True,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_a_full_disk_ends_keeping_and_nothing_else(tmp_path, variables):
    """What was kept before is whole; the next repeat makes room by the usual limit."""
    code = """
with open_caller_store(scratch) as store:
    kept = full = 0
    for number in range(40):
        try:
            kept += keep(store, number) is not None
        except StorageError as error:  # of a blob: the caller says so, and goes on
            assert "the disk is full" in str(error)
            full += 1
    assert kept and full, (kept, full)
    assert all(whole(store, number) for number in range(kept))
with open_caller_store(scratch) as store:
    assert not store.why_not
    assert keep(store, 99, 10)
    assert whole(store, 99)
print("went on")
"""
    mount = "mount -t tmpfs -o size=2m none cache"
    usual = {**variables, "NBRW_CACHE_SIZE": ""}
    assert in_small_disk(code, tmp_path, usual, mount) == "went on\n"


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces for a small disk")
def test_a_disk_without_room_for_the_result_itself(tmp_path, variables):
    """The blobs fit, the document does not: nothing is published, and it is said once."""
    code = """
with open_caller_store(scratch) as store:
    first = keep(store, 1, 10)
    with open(os.path.join(os.environ["NBRW_CACHE_DIR"], "filler"), "wb", 0) as filler:
        blobs = [store.blobs.put(f"2 {part} ".encode() * 10) for part in range(3)]
        try:
            while True: filler.write(bytes(4096))
        except OSError: pass
        assert keep(store, 2, 10) is None
    assert "the disk is full" in store.why_not, store.notes
    assert whole(store, 1)  # what was kept before is found all the same
    print(len(store.notes), first.path.exists(), len(list((first.path.parents[1]).glob("*/.new*"))))
"""
    mount = "mount -t tmpfs -o size=1m none cache"
    assert in_small_disk(code, tmp_path, variables, mount) == "1 True 0\n"


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces to mount read-only")
def test_a_read_only_cache_is_said_and_done_without(tmp_path, variables):
    """As a home directory in some containers."""
    code = """
with open_caller_store(scratch) as store:
    print(store.why_not)
    assert keep(store, 1) is None
"""
    mount = "mount --bind cache cache && mount -o remount,bind,ro cache"
    said = in_small_disk(code, tmp_path, variables, mount)
    assert "results are not kept" in said and "Read-only file system" in said
    assert not (tmp_path / "cache/repeats").exists()
    (tmp_path / "cache/repeats/results").mkdir(parents=True)
    (tmp_path / "cache/repeats").chmod(0o700)
    (tmp_path / "cache/repeats/blobs/sha256").mkdir(parents=True)
    assert "it cannot be written" in in_small_disk(code, tmp_path, variables, mount)


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(tmp_path, variables):
    """RLIMIT_FSIZE, as some sites set it: small results are kept, big ones are not."""
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with open_caller_store(scratch) as store:
    assert keep(store, 1, 100)
    try:
        keep(store, 2, 50_000)
    except StorageError as error:
        print(error)
    assert whole(store, 1) and not whole(store, 2)
"""
    with start(code, tmp_path, variables) as child:
        assert "File too large" in child.communicate(timeout=60)[0]
        assert child.returncode == 0
    assert check(usage(tmp_path / "cache/repeats")) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_cache_is_said_and_done_without(opened, tmp_path):
    """By its permissions."""
    (tmp_path / "cache").mkdir(mode=0o555)
    with opened() as store:
        assert "Permission denied" in store.why_not


def test_a_cache_that_the_view_hides_is_not_used(tmp_path, variables):
    """The work directory takes the place of the author's: what is below would go there."""
    with open_caller_store(tmp_path / "scratch", variables, hidden=str(tmp_path)) as store:
        assert "below the author's working directory" in store.why_not
        store.blobs.put(b"x")
    assert not (tmp_path / "cache").exists()
    with open_caller_store(tmp_path / "scratch", variables, hidden=f"{tmp_path}-not") as store:
        assert store.why_not == ""
