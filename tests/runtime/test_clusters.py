"""What `--cluster` and the options beside it say."""

from __future__ import annotations

import socket

import pytest

from nbrw_runtime.cluster_guard import image_of, refusal
from nbrw_runtime.cluster_process import address_here
from nbrw_runtime.cluster_tls import NAMES, check, prepare
from nbrw_runtime.clusters import (
    ClusterChoice,
    clock,
    parse_cluster,
    parse_memory,
    parse_walltime,
    parse_word,
    parse_workers,
)
from nbrw_runtime.errors import UsageError
from nbrw_runtime.slurm_keeper import free_port


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("local", "local", ""),
        ("as-written", "as-written", ""),
        ("slurm", "slurm", ""),
        ("tcp://10.0.0.1:8786", "address", "tcp://10.0.0.1:8786"),
        ("tls://[::1]:8786", "address", "tls://[::1]:8786"),
        ("scheduler-file:a dir/s.json", "file", "a dir/s.json"),
    ],
)
def test_each_kind_of_cluster_is_named_in_its_way(text, kind, place):
    """Words, addresses, and the file that a scheduler writes."""
    assert parse_cluster(text) == ClusterChoice(kind, place)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("tcp://host", "HOST:PORT"),
        ("tcp://:8786", "HOST:PORT"),
        ("scheduler-file:", "scheduler-file:PATH"),
        ("ucx://a:1", "tcp://HOST:PORT"),
        ("pbs", "pbs-script"),
        ("kubernetes", "`kubernetes`"),
    ],
)
def test_what_is_no_cluster_is_refused_with_what_is_one(text, remedy):
    """The message says what to write, or which command prints a job."""
    with pytest.raises(UsageError, match=remedy):
        parse_cluster(text)


def test_workers_are_a_number_or_a_range():
    """A range is for clusters that grow with the work."""
    assert parse_workers("4") == (4, 4)
    assert parse_workers("0-8") == (0, 8)
    for text in ("0", "0-0", "8-4", "-1", "many", "4-", ""):
        with pytest.raises(UsageError, match="--workers"):
            parse_workers(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4G", 4 * 10**9), ("512MiB", 512 << 20), ("1.5gb", 15 * 10**8)],
)
def test_memory_is_read_as_dask_reads_it(text, size):
    """Decimal units, and binary ones with an i."""
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "0GB", "-1G", "4 G B", "4GX"])
def test_memory_that_is_none_is_refused(text):
    """Nothing is guessed."""
    with pytest.raises(UsageError, match="--memory"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400), ("2h", 7200), ("1d", 86400), ("30", 1800), ("10:30", 630),
        ("1:30:00", 5400), ("1-00", 86400), ("1-02:30", 95400), ("1-00:00:01", 86401),
    ],
)  # fmt: skip
def test_walltime_is_read_as_slurm_reads_it_and_with_units(text, seconds):
    """A bare number is minutes."""
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "1:2:3:4", "1h30", "-5"])
def test_walltime_that_is_none_is_refused(text):
    """Nothing is guessed."""
    with pytest.raises(UsageError, match="--walltime"):
        parse_walltime(text)


def test_a_walltime_is_written_as_hours_minutes_seconds():
    """All batch systems read that, also above a day."""
    assert clock(5400) == "1:30:00"
    assert clock(2 * 86400 + 61) == "48:01:01"


@pytest.mark.parametrize("text", ["a;b", "$(x)", "a b", "a\nb", "'", ""])
def test_a_name_that_a_shell_would_read_more_in_is_refused(text):
    """It is written into a script."""
    with pytest.raises(UsageError, match="--queue"):
        parse_word("--queue", text)


def test_a_refusal_names_both_images():
    """So that one can tell which of the two to start anew; equal ones are not refused."""
    why = refusal("the worker", "sha256:aa", "sha256:bb", "tcp://a:1")
    assert "sha256:aa" in why and "sha256:bb" in why and "tcp://a:1" in why
    assert "no image" in refusal("the worker", "", "sha256:bb")
    assert refusal("the worker", "sha256:bb", "sha256:bb") == ""


@pytest.mark.parametrize("said", [None, {}, {"nbrw": None}, {"nbrw": {}}, {"packages": {}}])
def test_who_says_nothing_of_an_image_is_of_none(said):
    """A plain worker, client or scheduler of Dask."""
    assert image_of(said) == ""


def test_certificates_are_the_users_alone(tmp_path):
    """An open key is refused before anything is started; an empty directory is to be filled."""
    place = tmp_path / "certs"
    assert prepare(place) is True
    assert place.stat().st_mode & 0o777 == 0o700
    for name in NAMES:
        with pytest.raises(UsageError, match=name):
            check(place)
        (place / name).touch(0o600)
    check(place)
    assert prepare(place) is False
    (place / "key.pem").chmod(0o640)
    with pytest.raises(UsageError, match="chmod go="):
        check(place)
    place.chmod(0o755)
    for name in NAMES:
        (place / name).unlink()
    with pytest.raises(UsageError, match="closed to others"):
        prepare(place)


def test_a_network_is_named_by_its_interface():
    """One that is not there is refused, with those that are."""
    assert address_here("lo") == "127.0.0.1"
    with pytest.raises(UsageError, match=r"--interface ib9: .* there are .*lo"):
        address_here("ib9")


def test_a_schedulers_port_is_free_and_not_one_that_the_system_gives_away():
    """Nobody else is given it between the choice and the scheduler's start."""
    with socket.socket() as taken:
        taken.bind(("", free_port()))
        found = {free_port() for _ in range(50)}
        assert taken.getsockname()[1] not in found
    assert all(1024 < port < 32768 for port in found) and len(found) > 40
