"""`nbrw cache`: all kinds of things that are kept, and that what is in use stays."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

import pytest

from nbrw_builder.audit_directory import AuditDirectory, AuditState
from nbrw_builder.cli import main
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.result import Result

CODE = digest_bytes(b"code")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """One with something of each kind, used one, two, three and four days ago."""
    root = tmp_path / "cache"
    monkeypatch.setenv("NBRW_CACHE_DIR", str(root))
    with open_caller_store(tmp_path / "scratch") as store:
        checkpoint = Checkpoint(1, CODE, outputs=store.blobs.put(b"result" * 1000))
        used(store.keep(Result(CODE, "ab" * 32, checkpoint, title="climate")).path, 1)
    audit = AuditDirectory(root / "audits/climate-123")
    with audit.locked():
        state = AuditState(("python",), "/", checkpoints=audit.new_checkpoints())
        audit.write_state(state)
        checkpoints = audit.checkpoints_of(state)
        for number in (1, 2):
            blob = audit.store.put(b"audit %d" % number * 1000)
            checkpoints.write(Checkpoint(number, CODE, outputs=blob))
    used(audit.root / "lock", 2)
    data = b"layer" * 1000
    (root / "blobs").mkdir()
    (root / "blobs" / digest_bytes(data).hex).write_bytes(data)
    used(root / "blobs" / digest_bytes(data).hex, 3)
    tree = root / "rootfs" / ("ab" * 32)
    (tree / "nbrw.recipe").mkdir(parents=True)
    (tree / "nbrw.recipe/recipe.json").write_text('{"title": "climate"}')
    (tree / "file").write_bytes(bytes(100_000))
    used(tree.with_name(tree.name + ".lock"), 4)
    return root


def used(path, days):
    """Some days ago."""
    path.touch()
    os.utime(path, (time.time() - 86400 * days,) * 2)


def say(capsys, *words, code=0):
    assert main(["cache", *words]) == code
    return capsys.readouterr().out


def kinds(capsys):
    value = json.loads(say(capsys, "list", "--json"))
    return {item["kind"] for item in value["items"]}


def test_list_shows_every_kind(cache, capsys):
    """As plain text where nobody watches."""
    lines = [line.split() for line in say(capsys, "list").splitlines()]
    assert [line[0] for line in lines[1:-1]] == ["audits", "images", "packed", "results"]
    assert lines[1][1:3] == ["climate-123", "2"]
    assert lines[2][1:3] == ["climate", "(abababab)"]
    assert kinds(capsys) == {"results", "audits", "packed", "images"}
    assert len(say(capsys, "list", "--kind", "images").splitlines()) == 3


def test_a_terminal_gets_a_table(cache, capsys, monkeypatch):
    """The same words."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = say(capsys, "list")
    assert "climate-123" in said and str(cache) in said.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], {"results", "audits", "packed", "images"}),
        (["--older", "60h"], {"results", "audits"}),
        (["--size", "7k"], {"results", "packed"}),
        (["--all", "--kind", "audits", "--kind", "results"], {"packed", "images"}),
        (["--all"], set()),
    ],
)
def test_prune(cache, capsys, words, left):
    """By size, by age, by kind."""
    say(capsys, "prune", *words)
    assert kinds(capsys) == left


def test_prune_says_what_it_removed(cache, capsys):
    """A line for each kind."""
    said = say(capsys, "prune", "--all").splitlines()
    assert [line.split(",")[0] for line in said] == [
        "results: removed 1", "audits: removed 1", "packed: removed 1", "images: removed 1",
    ]  # fmt: skip


def test_what_is_in_use_stays(cache, capsys, tmp_path):
    """And it is said why; packed layers belong to whatever build is at work."""
    tree = cache / "rootfs" / ("ab" * 32)
    with (
        AuditDirectory(cache / "audits/climate-123").locked(),
        open_caller_store(tmp_path / "scratch"),
        open(tree.with_name(tree.name + ".lock"), "rb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_SH)
        said = say(capsys, "prune", "--all")
        value = json.loads(say(capsys, "list", "--json"))
    assert said.count("a build is at work") == 2
    assert "a repeat is at work" in said and "an image is run" in said
    assert kinds(capsys) == {"results", "audits", "packed", "images"}
    assert {item["kind"] for item in value["items"] if item.get("busy")} == {"audits", "images"}


def test_all_with_a_limit_is_refused(cache, capsys):
    """Nobody knows which was meant."""
    assert main(["cache", "prune", "--all", "--size", "1G"]) == 2
    assert kinds(capsys) == {"results", "audits", "packed", "images"}


def spoil(path):
    path.chmod(0o644)
    path.write_bytes(b"spoilt")


def test_check_names_and_removes_what_is_corrupt(cache, capsys):
    """Of results, audits and packed layers; a checkpoint that lacks its blob goes with it."""
    (layer,) = (cache / "blobs").iterdir()
    blobs = [cache / "repeats/blobs/sha256" / digest_bytes(b"result" * 1000).hex]
    blobs.append(cache / "audits/climate-123/store/sha256" / digest_bytes(b"audit 2" * 1000).hex)
    for path in (layer, *blobs):
        spoil(path)
    said = say(capsys, "check", code=3)
    assert all(path.name in said and not path.exists() for path in (layer, *blobs))
    assert "the checkpoint of cell 2 of climate-123 is dropped" in said
    assert "the result of cell 1 of climate is dropped" in said
    audit = AuditDirectory(cache / "audits/climate-123")
    state = audit.read_state()
    assert [found.cell for found in audit.checkpoints_of(state).all()] == [1]
    assert say(capsys, "check") == "all digests hold\n"


def test_path_is_the_directory(cache, capsys):
    """For scripts."""
    assert say(capsys, "path") == f"{cache}\n"


def test_without_a_home_directory_it_is_said_what_to_do(monkeypatch, capsys):
    """Not a traceback."""
    for name in ("NBRW_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert main(["cache", "list"]) == 2
    assert "NBRW_CACHE_DIR" in capsys.readouterr().err
