"""A repeat's kernel, with a Dask cluster, under a read watch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nbrw_runtime
from nbrw_runtime.accesses import used
from nbrw_runtime.execute import started
from nbrw_runtime.read_watch import ReadWatch

pytestmark = pytest.mark.integration

RUNTIME = Path(nbrw_runtime.__file__).parent.parent
LAUNCH = [sys.executable, str(RUNTIME / "nbrw_runtime/launch.py")]
CLUSTER = """
from distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
client = Client(cluster)
"""
READ = """
import os
pids = client.gather(client.map(
    lambda n: (open(f"part-{n}").read(), os.getpid())[1], range(20), pure=False))
print(len(set(pids) - {os.getpid()}), "workers")
"""


def test_each_cell_has_what_the_kernel_and_its_workers_read_for_it(tmp_path):
    """And what they write; the end of the kernel is as quick as without a watch."""
    for number in range(20):
        (tmp_path / f"part-{number}").write_text(str(number))
    with ReadWatch(tmp_path / "socket") as watch:
        argv = [*LAUNCH, "--watch", watch.socket_path, "-f", "{connection_file}"]
        with started(argv, str(tmp_path), os.environ, tmp_path / "log") as kernel:
            assert watch.why_not == ""

            def run(number, source):
                watch.take()
                outputs = kernel.run(number, source, 120)
                assert outputs.error is None, outputs.error
                found = used(watch.take())
                assert found.unseen == []
                return found, "".join(out.get("text", "") for out in outputs.outputs)

            run(1, CLUSTER)
            found, printed = run(2, READ)
            assert printed == "2 workers\n"
            assert {str(tmp_path / f"part-{n}") for n in range(20)} <= set(found.read)
            assert found.remote == []
            found, _ = run(3, "open('out', 'w').write('x'); x = 1")
            assert str(tmp_path / "out") in found.written
            assert not any("part-" in path for path in found.read)
            run(4, "client.close(); cluster.close()")


REPEAT = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(RUNTIME)!r})
from nbrw_runtime.execute import started
from nbrw_runtime.read_watch import ReadWatch
root = Path(sys.argv[1])
with ReadWatch(root / "socket") as watch:
    argv = [*{LAUNCH!r}, "--watch", watch.socket_path, "-f", "{{connection_file}}"]
    with started(argv, str(root), os.environ, root / "log") as kernel:
        out = kernel.run(1, {CLUSTER!r} + "import os; print(os.getpid(), flush=True)", 120)
        print(out.outputs[-1]["text"].split()[-1], flush=True)
        time.sleep(600)
"""


def test_a_killed_repeat_leaves_no_kernel_and_no_workers(tmp_path):
    """As it is without a watch: they notice, though they cannot open files any more."""
    with subprocess.Popen(
        [sys.executable, "-c", REPEAT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as repeat:
        kernel = int(repeat.stdout.readline())
        family = [kernel, *descendants(kernel)]
        assert len(family) > 2
        repeat.kill()
    end = time.monotonic() + 60
    while any(alive(pid) for pid in family):
        assert time.monotonic() < end
        time.sleep(0.2)


def descendants(pid):
    """Processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def alive(pid):
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
