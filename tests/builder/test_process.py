"""Starting programs."""

import os
import time

import pytest

from nbrw_builder.errors import HostError, ProcessError
from nbrw_builder.process import run


def test_output_comes_back():
    """Standard output is returned; input is fed; a variable can be taken out."""
    assert run(["cat"], feed=lambda stream: stream.write(b"hello")) == "hello"
    os.environ["NBRW_TEST"] = "1"
    try:
        assert "NBRW_TEST" not in run(["env"], without=["NBRW_TEST"])
    finally:
        del os.environ["NBRW_TEST"]


def test_a_failure_tells_status_and_tail():
    """The error carries the status and what the program said last."""
    with pytest.raises(ProcessError, match="status 3: gone wrong") as caught:
        run(["sh", "-c", "echo gone wrong >&2; exit 3"])
    assert caught.value.status == 3


def test_a_missing_program_is_a_matter_of_the_host():
    """The message names the program and a package."""
    with pytest.raises(HostError, match="apt-get install no-such-program"):
        run(["no-such-program"])


def alive(pid):
    # A process that was killed is gone, or waits as a zombie for whoever inherited it.
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_may_have_time_to_end_in_order(tmp_path):
    """It is told to first, and killed if it does not."""
    for trap, said in (("echo ended > ended; exit 0", "ended\n"), (":", None)):
        (tmp_path / "ready").unlink(missing_ok=True)
        (tmp_path / "ended").unlink(missing_ok=True)
        script = f"trap '{trap}' TERM; touch ready; while :; do sleep 0.05; done"

        def interrupt(stream):
            while not (tmp_path / "ready").exists():
                pass
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(["sh", "-c", script], feed=interrupt, cwd=tmp_path, grace=30 if said else 0.2)
        assert (tmp_path / "ended").exists() is (said is not None)


def test_an_error_while_feeding_ends_the_program(tmp_path):
    """Neither the program nor its children outlive an interrupt."""
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"

    def interrupt(stream):
        while not pids.exists():
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", script], feed=interrupt)
    # The kernel ends a killed process in its own time.
    limit = time.monotonic() + 30
    while any(alive(pid) for pid in pids.read_text().split()):
        assert time.monotonic() < limit


def test_a_program_that_stops_reading_fails():
    """A program that ends before it read its input is a failure even with status 0."""
    with pytest.raises(ProcessError):
        run(["true"], feed=lambda stream: [stream.write(bytes(1 << 20)) for _ in range(50)])
