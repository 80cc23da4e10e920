"""The tracer misses nothing that strace sees: opens, executions, renames, removals."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nbrw_builder.trace_file import read_trace
from nbrw_runtime.trace import Kind
from notebook_helper import ROOT, environment

pytestmark = pytest.mark.integration
TRACEES = ROOT / "tests/tracees"
CALLS = "open,openat,openat2,creat,execve,execveat,rename,renameat,renameat2,unlink,unlinkat,rmdir"
STRACE = ["strace", "-ff", "--seccomp-bpf", "-y", "-s", "4096", "-qq", "-e", f"trace={CALLS}"]
# Names that are drawn at random, or hold a process id.
RANDOM = re.compile(r"(?<=[/._-])(?=\w*\d|\w{8}\b)[a-z0-9_]{8}(?=[/._-]|$)|\d{4,}")
OUTSIDE = ("/proc", "/sys", "/dev")


@pytest.fixture(params=["caller", "ordinary user"])
def who(request, tmp_path):
    """The ids that programs run under."""
    if request.param == "caller":
        return []
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    os.chmod(tmp_path, 0o777)
    for parent in tmp_path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if mode & 0o055 != 0o055:  # a directory of pytest's; others are left as they are
            parent.chmod(mode | 0o055)
    return ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]


def readable_by_others(path):
    """Whether an ordinary user may read this file."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in Path(path).resolve().parents)


def run(who, argv, place):
    """Run a program in an empty directory of its own."""
    place.mkdir()
    place.chmod(0o777)
    cache = place.parent / "cache"
    cache.mkdir(exist_ok=True)
    cache.chmod(0o777)
    variables = environment(HOME=str(cache), TMPDIR=str(place), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(
        [*who, *argv], cwd=place, env=variables, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]


def by_strace(who, argv, place, out):
    """What strace says: kind -> set of paths, as the kernel resolved them."""
    out.mkdir()
    out.chmod(0o777)
    run(who, [*STRACE, "-o", str(out / "s"), *argv], place)
    found = {"open": set(), "exec": set(), "rename": set(), "remove": set()}
    for path in out.iterdir():
        for line in path.read_bytes().decode("utf-8", "surrogateescape").splitlines():
            call, _, rest = line.partition("(")
            result = re.search(r"\) += (-?\d+)(<(.*)>)?( \(deleted\))?( \w+ \(.*\))?$", rest)
            if result is None or int(result[1]) < 0:
                continue
            if "open" in call or call == "creat":
                found["open"].add(_unescaped(result[3]))
                continue
            kind = {"ex": "exec", "re": "rename", "un": "remove", "rm": "remove"}[call[:2]]
            found[kind].update(_arguments(rest))
    return found


def _unescaped(text):
    """strace writes bytes that are no text as octal escapes."""
    octal = re.sub(rb"\\([0-7]{1,3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(text or ""))
    return os.fsdecode(octal)


def _arguments(text):
    """The absolute paths among the quoted arguments of a line of strace -y."""
    bases = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>, ", text)
    names = re.findall(r'"((?:[^"\\]|\\.)*)"', text.split("[")[0])
    if not bases:
        return {name for name in names if name.startswith("/")}
    pairs = zip(names, bases * len(names), strict=False)
    return {os.path.normpath(os.path.join(base, name)) for name, base in pairs}


def by_tracer(who, argv, place, out):
    """What our trace says, in the same form."""
    out.mkdir()
    out.chmod(0o777)
    run(who, [sys.executable, "-m", "nbrw_builder.tracer", "--out", str(out), "--", *argv], place)
    # The end of the program is not that of all its descendants.
    deadline = time.monotonic() + 60
    while not (trace := read_trace(out / "0001.jsonl.zst")).complete:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = {"open": set(), "exec": set(), "rename": set(), "remove": set()}
    for event in trace.events:
        if not event.ok:
            continue
        if event.kind in (Kind.READ, Kind.WRITE, Kind.LIST):
            found["open"].add(os.path.realpath(event.path))
            found["open"].add(event.path)
        elif event.kind is Kind.EXEC:
            found["exec"].add(event.path)
        elif event.kind is Kind.RENAME:
            found["rename"].update((event.path, event.target))
        elif event.kind is Kind.REMOVE:
            found["remove"].add(event.path)
    return trace, found


def plain(paths, place):
    """Paths without what differs between two runs."""
    kept = (path for path in paths if path and not path.startswith(OUTSIDE))
    kept = (path for path in kept if not re.match(r"(pipe|socket|anon_inode|memfd):", path))
    return {RANDOM.sub("?", path.replace(str(place), "PLACE")) for path in kept}


@pytest.mark.parametrize("program", ["torture", "imports", "cluster"])
def test_no_successful_call_is_missing(who, tmp_path, program):
    """Whatever strace reports as done is in the trace, for every process of the program."""
    if who and not (readable_by_others(sys.executable) and readable_by_others(ROOT / "x")):
        pytest.skip("an ordinary user cannot read this Python or this checkout")
    argv = [sys.executable, str(TRACEES / f"{program}.py")]
    run(who, [*argv, str(tmp_path / "warm")], tmp_path / "warm")
    # Two runs of a cluster are not alike: a warning in one of them opens sources to quote them.
    # What the tracer cannot see would be missing every time.
    always: dict[str, set[str]] = {}
    for attempt in range(5):
        place = tmp_path / str(attempt)
        place.mkdir()
        place.chmod(0o777)
        strace_place, tracer_place = place / "strace", place / "tracer"
        oracle = by_strace(who, [*argv, str(strace_place)], strace_place, place / "s")
        trace, ours = by_tracer(who, [*argv, str(tracer_place)], tracer_place, place / "t")
        assert trace.complete
        assert trace.header.backend == "ptrace"
        assert len(plain(oracle["open"], strace_place)) > 50
        for kind, paths in oracle.items():
            missing = plain(paths, strace_place) - plain(ours[kind], tracer_place)
            always[kind] = always.get(kind, missing) & missing
        if not any(always.values()):
            return
    assert not any(always.values()), always
