"""The tracer's own life: signals, exit codes, its death, where it is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nbrw_builder.trace_file import read_trace
from nbrw_runtime.trace import Kind
from notebook_helper import environment

pytestmark = pytest.mark.integration


def argv(out, *program):
    """A program under the tracer."""
    options = ["--out", str(out), "--written", str(out / "written"), "--ignore", str(out)]
    return [sys.executable, "-m", "nbrw_builder.tracer", *options, "--", *program]


def run(out, *program, **options):
    """Run one to its end; waits for its trace."""
    done = subprocess.run(
        argv(out, *program), env=environment(), capture_output=True, text=True, timeout=60,
        **options,
    )  # fmt: skip
    wait_for(lambda: list(out.glob("*.done")))
    return done


def wait_for(condition, seconds=30):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


MARKED = """
import os
def mark(n, edge):
    try: os.readlink(f"/nbrw/cell/{n}/{edge}")
    except OSError: pass
"""


def test_exit_codes_and_output_are_the_programs(tmp_path):
    """The tracer is not to be noticed."""
    done = run(tmp_path / "t", "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_a_program_that_is_not_there_is_said(tmp_path):
    """As a shell does: 127."""
    done = subprocess.run(
        argv(tmp_path / "t", "/not/there"), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 127 and "/not/there" in done.stderr


def test_the_program_keeps_the_process_id_that_was_started(tmp_path):
    """Jupyter signals and waits for that."""
    with subprocess.Popen(
        argv(tmp_path / "t", "/bin/sh", "-c", "echo $$; sleep 0.1"), env=environment(),
        stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert int(child.stdout.readline()) == child.pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program_and_not_the_tracer(tmp_path, number):
    """To the whole group, as a terminal and Jupyter send them; the trace is complete."""
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *a: sys.exit(3))\n"
        "print('ready', flush=True)\ntime.sleep(30)"
    )
    with subprocess.Popen(
        argv(tmp_path / "t", sys.executable, "-c", code), env=environment(),
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as child:  # fmt: skip
        child.stdout.readline()
        os.killpg(child.pid, number)
        assert child.wait(30) == 3
    wait_for(lambda: read_trace(tmp_path / "t/0001.jsonl.zst").complete)


def test_events_have_the_cell_that_was_open_and_the_one_they_stem_from(tmp_path):
    """A background process of cell 1 that reads in cell 2."""
    (tmp_path / "in.txt").write_text("x")
    code = MARKED + (
        "import subprocess, time\n"
        "mark(1, 'begin')\n"
        f"p = subprocess.Popen(['/bin/sh', '-c', 'read x; cat {tmp_path}/in.txt'],"
        " stdin=subprocess.PIPE)\nmark(1, 'end')\n"
        "mark(2, 'begin')\np.communicate(b'go\\n')\n"
        f"open('{tmp_path}/out.txt', 'w').close()\nmark(2, 'end')\n"
    )
    run(tmp_path / "t", sys.executable, "-c", code)
    trace = read_trace(tmp_path / "t/0001.jsonl.zst")
    (event,) = [e for e in trace.events if e.path == f"{tmp_path}/in.txt"]
    assert (event.cell, event.origin) == (2, 1)
    assert trace.gaps == ()
    written = json.loads((tmp_path / "t/written/2.json").read_text())
    assert written == {"written": [f"{tmp_path}/out.txt"], "removed": []}


def test_a_dead_tracer_takes_the_program_along(tmp_path):
    """It neither hangs nor goes on half traced."""
    forever = "print('ready', flush=True)\nwhile 1: open('/etc/hosts').close()"
    with subprocess.Popen(
        argv(tmp_path / "t", sys.executable, "-c", forever),
        env=environment(), stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        child.stdout.readline()
        with open(f"/proc/{child.pid}/status") as stream:
            tracer = next(int(line.split()[1]) for line in stream if line.startswith("TracerPid"))
        os.kill(tracer, signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    assert not read_trace(tmp_path / "t/0001.jsonl.zst").complete


def test_a_process_that_outlives_the_program_does_not_keep_it(tmp_path):
    """The mark of the end is there at once; the trace goes on."""
    began = time.monotonic()
    run(tmp_path / "t", "/bin/sh", "-c", "sleep 8 >/dev/null 2>&1 & exit 0")
    assert not read_trace(tmp_path / "t/0001.jsonl.zst").complete
    assert time.monotonic() > began


def test_runs_are_numbered(tmp_path):
    """A kernel that is started again does not overwrite the first trace."""
    for _ in range(2):
        run(tmp_path / "t", "/bin/true")
    wait_for(lambda: len(list((tmp_path / "t").glob("*.done"))) == 2)
    assert len(list((tmp_path / "t").glob("[0-9]*.jsonl*"))) == 2


def test_where_tracing_is_refused_the_program_runs_all_the_same(tmp_path):
    """A process can have one tracer: under another, ours falls back and says why."""
    if not os.path.exists("/usr/bin/strace"):
        pytest.skip("needs strace")
    words = argv(
        tmp_path / "t", sys.executable, "-c", "import os; print(os.environ['NBRW_AUDIT_HOOK'])"
    )
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=none", *words],
        env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    settings = json.loads(done.stdout)
    assert "not permitted" in settings["reason"]
    assert settings["trace"].endswith("0001.jsonl")


def test_the_fallback_writes_the_same_format(tmp_path):
    """From Python's audit events: opens, cells, the list of files; and says what it cannot see."""
    out = tmp_path / "t"
    out.mkdir()
    settings = json.dumps(
        {"trace": str(out / "0001.jsonl"), "written": str(out / "written"), "ignore": [str(out)],
         "reason": "no reason"}
    )  # fmt: skip
    code = (
        f"from nbrw_runtime import audit_hook; audit_hook.install({settings!r})\n"
        f"import sys\nsys.audit('nbrw.cell', 3, 'begin')\nopen('{tmp_path}/made', 'w').close()\n"
        f"try: open('{tmp_path}/gone')\nexcept OSError: pass\nsys.audit('nbrw.cell', 3, 'end')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
    trace = read_trace(out / "0001.jsonl")
    assert trace.header.backend == "audithook"
    assert "cannot be" in trace.gaps[0].reason or "forbids" in trace.gaps[0].reason
    events = {(e.kind, e.path, e.cell): e for e in trace.events}
    assert (Kind.WRITE, f"{tmp_path}/made", 3) in events
    assert not events[(Kind.READ, f"{tmp_path}/gone", 3)].ok
    written = json.loads((out / "written/3.json").read_text())
    assert written["written"] == [f"{tmp_path}/made"]
