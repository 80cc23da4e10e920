"""Where caches are, how big they may be, and whether locks there can be relied on."""

from pathlib import Path

import pytest

from nbrw_runtime.cache_lock import lock_reach
from nbrw_runtime.cache_place import cache_home, parse_size, results_root, size_limit

G = 10**9


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"NBRW_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/nbrw"),
        ({"NBRW_CACHE_DIR": "relative", "XDG_CACHE_HOME": "/b"}, "/b/nbrw"),
    ],
)
def test_variables_say_where(variables, place):
    """nbrw's own first; one that is not absolute does not count, as the XDG text has it."""
    assert cache_home(variables) == Path(place)
    assert results_root(variables) == Path(place) / "repeats"


def test_without_variables_it_is_in_the_home_directory(monkeypatch):
    """As for other programs."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_home({}) == Path("/home/ada/.cache/nbrw")


@pytest.mark.parametrize(
    ("text", "size"),
    [("5G", 5 * G), ("500M", 500 * 10**6), ("1.5 GB", 1_500_000_000), ("12", 12), ("0", 0),
     ("2t", 2000 * G), ("3kB", 3000)],
)  # fmt: skip
def test_sizes(text, size):
    """In decimal units, as they are printed."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "5X", "-1G", "5 G B", "1e9", "five"])
def test_what_is_no_size(text):
    """Is said."""
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("free", "kept", "variables", "limit"),
    [
        (1000 * G, 0, {}, 20 * G), (50 * G, 0, {}, 5 * G), (40 * G, 10 * G, {}, 5 * G),
        (0, 0, {}, 0), (50 * G, 0, {"NBRW_CACHE_SIZE": "7G"}, 7 * G),
    ],
)  # fmt: skip
def test_the_usual_limit_is_a_tenth_of_what_is_free(free, kept, variables, limit):
    """What is kept counts as free, so that the limit does not fall while it fills up."""
    assert size_limit(free, kept, variables) == (limit, "")


def test_a_wrong_limit_is_said_and_the_usual_one_holds():
    """A repeat does not fail for it."""
    limit, note = size_limit(50 * G, 0, {"NBRW_CACHE_SIZE": "much"})
    assert limit == 5 * G and "much" in note


def mount(point, kind, mounted="rw", options="rw"):
    return f"36 35 98:0 / {point} {mounted} master:1 - {kind} source {options}\n"


ROOT = mount("/", "ext4")


@pytest.mark.parametrize(
    ("mounts", "reason"),
    [
        (ROOT, ""),
        (ROOT + mount("/home", "nfs4", options="rw,vers=4.2,local_lock=none"), ""),
        (ROOT + mount("/home", "nfs", options="rw,vers=3,local_lock=flock"), "nfs is mounted with"),
        (ROOT + mount("/home", "nfs", options="rw,nolock"), "nolock"),
        (ROOT + mount("/home", "lustre", options="rw,flock"), ""),
        (ROOT + mount("/home", "lustre", "rw,localflock"), "localflock"),
        (ROOT + mount("/home", "beegfs"), "beegfs"),
        (ROOT + mount("/home", "fuse.sshfs"), "fuse.sshfs"),
        (ROOT + mount("/home", "fuse.fuse-overlayfs"), ""),
        (ROOT + mount("/home", "beegfs") + mount("/home/ada", "ext4"), ""),
        (ROOT + mount("/homes", "beegfs") + mount("/home/a", "beegfs"), ""),
        (ROOT + mount("/home/ada/with\\040space", "beegfs"), ""),
        ("", ""),
    ],
)
def test_locks_that_other_machines_may_not_see(mounts, reason):
    """The mount that the file is on decides."""
    found = lock_reach(mounts, "/home/ada/.cache/nbrw/repeats/lock")
    assert reason in found and bool(reason) == bool(found)
