"""`cache` in an image: what repeats have kept."""

from __future__ import annotations

import json
import os
import time

import pytest

from nbrw_runtime.cache_kinds import to_go
from nbrw_runtime.cache_place import parse_age
from nbrw_runtime.cache_report import CacheItem, age, list_text
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.cli import main
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.result import Result

ENVIRONMENT = digest_bytes(b"environment")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("NBRW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NBRW_CACHE_SIZE", "1G")
    return tmp_path / "cache"


def keep(tmp_path, *contents, title="climate"):
    """Results that need one blob each."""
    with open_caller_store(tmp_path / "scratch") as store:
        kept = []
        for number, data in enumerate(contents):
            checkpoint = Checkpoint(number + 1, ENVIRONMENT, outputs=store.blobs.put(data))
            key = digest_bytes(data).hex
            kept.append(store.keep(Result(ENVIRONMENT, key, checkpoint, title=title)))
        return kept


def say(capsys, *words, code=0):
    """What a command prints."""
    assert main(["cache", *words]) == code
    return capsys.readouterr().out


def test_an_empty_cache_is_said_and_not_made(cache, capsys):
    """By every action."""
    assert say(capsys, "list") == f"nothing is kept in {cache}\n"
    assert say(capsys, "prune") == "nothing to remove\n"
    assert say(capsys, "check") == "all digests hold\n"
    assert say(capsys, "path") == f"{cache}\n"
    assert not cache.exists()


def test_list_says_what_is_kept(cache, tmp_path, capsys):
    """By notebook and environment; what nothing needs apart."""
    keep(tmp_path, b"1" * 1000, b"2" * 1000)
    keep(tmp_path, b"3" * 5_000_000, title="")
    with open_caller_store(tmp_path / "scratch") as store:
        store.blobs.put(b"left by a killed repeat")
    lines = say(capsys, "list").splitlines()
    assert lines[0].split() == ["kind", "name", "parts", "size", "used"]
    assert any("climate (" in line and "just now" in line for line in lines)
    assert any("a notebook (" in line and "5 MB" in line for line in lines)
    assert any("what no result needs" in line for line in lines)
    assert lines[-1].endswith(f"in {cache}")
    value = json.loads(say(capsys, "list", "--json"))
    assert (value["format"], value["version"], value["path"]) == ("nbrw.cache", 1, str(cache))
    climate = next(item for item in value["items"] if item["name"].startswith("climate"))
    assert climate["parts"] == 2 and climate["size"] > 2000
    assert abs(climate["used"] - time.time()) < 600


def test_prune_by_size_age_and_all(cache, tmp_path, capsys):
    """What was used longest ago goes first; what nothing needs goes always."""
    kept = keep(tmp_path, *(bytes([n]) * 100_000 for n in range(4)))
    for number, found in enumerate(kept):
        os.utime(found.path, (time.time() - 86400 * (10 - number),) * 2)
    assert say(capsys, "prune") == "nothing to remove\n"
    assert say(capsys, "prune", "--older", "228h") != "nothing to remove\n"
    assert [found.path.exists() for found in kept] == [False, True, True, True]
    assert say(capsys, "prune", "--size", "250k").startswith("results: removed 1, 100")
    assert [found.path.exists() for found in kept] == [False, False, True, True]
    value = json.loads(say(capsys, "prune", "--all", "--json"))
    assert value["removed"][0]["items"] == 2
    assert say(capsys, "list") == f"nothing is kept in {cache}\n"


def test_nothing_is_removed_while_a_repeat_is_at_work(cache, tmp_path, capsys):
    """It may use any of it."""
    (kept,) = keep(tmp_path, b"1")
    with open_caller_store(tmp_path / "scratch"):
        assert "a repeat is at work" in say(capsys, "prune", "--all")
        value = json.loads(say(capsys, "prune", "--all", "--json"))
        assert "a repeat is at work" in value["removed"][0]["skipped"]
    assert kept.path.exists()
    say(capsys, "prune", "--all")
    assert not kept.path.exists()


def test_check_names_what_is_corrupt_and_ends_with_3(cache, tmp_path, capsys):
    """Once: then it is gone, and the rest stays. It may run beside a repeat."""
    good, bad = keep(tmp_path, b"good", b"bad")
    blob = cache / "repeats/blobs/sha256" / digest_bytes(b"bad").hex
    blob.chmod(0o644)
    blob.write_bytes(b"BAD")
    with open_caller_store(tmp_path / "scratch"):
        said = say(capsys, "check", code=3)
    assert digest_bytes(b"bad").hex in said and "cell 2 of climate is dropped" in said
    assert say(capsys, "check") == "all digests hold\n"
    assert json.loads(say(capsys, "check", "--json"))["corrupt"] == []
    assert good.path.exists() and not bad.path.exists() and not blob.exists()


@pytest.mark.parametrize(
    "words", [["prune", "--size", "much"], ["prune", "--older", "long"], ["lsit"], []]
)
def test_wrong_usage_is_told(cache, capsys, words):
    """With exit code 2, as everywhere."""
    with pytest.raises(SystemExit) as ended:
        main(["cache", *words])
    assert ended.value.code == 2


def test_a_cache_that_cannot_be_locked_is_an_error_of_the_host(cache, capsys):
    """Exit code 5, with what to do."""
    (cache / "repeats/lock").mkdir(parents=True)
    assert main(["cache", "prune"]) == 5
    assert "make it yours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "just now"), (300, "5 minutes ago"), (86400, "24 hours ago"), (3e6, "5 weeks ago")],
)
def test_ages(seconds, text):
    """In one unit, of which there are at least two."""
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("1.5w", 907200)]
)
def test_times(text, seconds):
    """Minutes, hours, days, weeks."""
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "5s", "1 month", "-1d"])
def test_what_is_no_time(text):
    """Is said."""
    with pytest.raises(ValueError, match="not a time"):
        parse_age(text)


@pytest.mark.parametrize(
    ("limit", "longest", "gone"),
    [
        (60, None, []), (59, None, ["a"]), (30, None, ["a", "b"]), (0, None, ["a", "b", "c"]),
        (60, 150, ["a", "b"]), (59, 1e9, ["a"]), (60, 1e9, []),
    ],
)  # fmt: skip
def test_what_goes(limit, longest, gone):
    """Oldest first, until size and age both hold."""
    now = time.time()
    items = [(now - 100, 30, "c"), (now - 300, 10, "a"), (now - 200, 20, "b")]
    assert [path for _, path in to_go(items, limit, longest)] == gone


def test_a_table_is_aligned():
    """Numbers to the right; what is in use says so."""
    items = [
        CacheItem("audits", "x", 10, 1.0, 3),
        CacheItem("audits", "long", 2000, 2.0, busy=True),
    ]
    assert list_text(items, "/c", 1e6).splitlines() == [
        "kind    name  parts  size  used",
        "audits  long      1  2 kB  now",
        "audits  x         3  10 B  12 days ago",
        "2.01 kB in /c",
    ]
