"""The notebooks that are measured: cells, of tasks in some shape, and what an edit of one reaches.

The cells compute ``out``. A shape's tasks are of two functions, one of which is edited; ``half``
is what share of the tasks that edit reaches, ``leaf`` the seconds of each task (0: trivial).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CLUSTER = """\
import time
import dask, distributed
cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
client = distributed.Client(cluster)
"""
IMPORTS = {
    "array": "import dask.array as da\n",
    "frame": "import numpy as np, pandas as pd, dask.dataframe as dd\n",
}
FUNCTIONS = """\
SCALE = 3
def helper(x):
    return x * SCALE
def wait(x):
    {work}
    return x
def first(x):
    return helper(wait(x))
def second(x):
    return helper(wait(x)) + 1
def add(x, y):
    return x + y
def add_block(block):
    return block + SCALE
def edited_block(block):
    return block * 1
"""
#: The edit; both functions cost what they did.
EDIT = ("helper(wait(x)) + 1\n", "helper(wait(x)) + 2\n"), ("block * 1\n", "block * 2\n")
WORK = {
    "trivial": "pass",
    "sleep": "time.sleep({leaf})",
    # Not until some time has passed: what asks the clock is never loaded.
    "cpu": "sum(range({loops}))",
}
SHAPES = {
    "map": "n = {n} // 2\n"
    "out = sum(client.gather(client.map(first, range(n)) + client.map(second, range(n))))\n",
    # Half of the tasks are leaves.
    "tree": "n = {n} // 4\n"
    "level = client.map(first, range(n)) + client.map(second, range(n))\n"
    "while len(level) > 1:\n"
    "    rest = level[len(level) // 2 * 2:]\n"
    "    level = client.map(add, level[:-1:2], level[1::2]) + rest\n"
    "out = level[0].result()\n"
    "del level, rest\n",
    "delayed": "n = {n} // 4\n"
    "level = [dask.delayed(f)(i) for f in (first, second) for i in range(n)]\n"
    "while len(level) > 1:\n"
    "    rest = level[len(level) // 2 * 2:]\n"
    "    level = [dask.delayed(add)(x, y) for x, y in zip(level[:-1:2], level[1::2])] + rest\n"
    "out = level[0].compute()\n"
    "del level, rest\n",
    "submit": "n = {n} // 2\n"
    "out = sum(client.gather([client.submit(f, i) for f in (first, second) for i in range(n)]))\n",
    # After fusion a task for each block, and those of the sum.
    "array": "x = da.arange({n} * 8, chunks=8).map_blocks(add_block).map_blocks(edited_block)\n"
    "out = int(x.sum().compute())\n",
    "frame": "p = pd.DataFrame({{'k': np.arange({n} * 2) % 7, 'v': range({n} * 2)}})\n"
    "d = dd.from_pandas(p, npartitions={n}).map_partitions(lambda q: q.assign(w=q.v * SCALE))\n"
    "out = int(d.w.map_partitions(edited_block).sum().compute())\n",
}


@dataclass(frozen=True)
class Workload:
    """A notebook. ``work`` is what a task does (see `WORK`), for ``leaf`` seconds.

    ``rate``: numbers that one adds in a second.
    """

    shape: str
    tasks: int
    work: str = "trivial"
    leaf: float = 0.0
    rate: float = 0.0

    @property
    def name(self) -> str:
        """Which one, for people and for the tables."""
        return f"{self.shape} {self.tasks} {self.work}"

    @property
    def functions(self) -> str:
        """The text of the functions, unedited."""
        work = WORK[self.work].format(leaf=self.leaf, loops=round(self.leaf * self.rate))
        return FUNCTIONS.format(work=work)

    def cells(self, edited: bool = False) -> list[str]:
        """Cluster, functions, and the tasks: the last cell is the one that counts."""
        functions = self.functions
        if edited:
            for old, new in EDIT:
                assert old in functions
                functions = functions.replace(old, new)
        first = CLUSTER + IMPORTS.get(self.shape, "")
        return [first, functions, SHAPES[self.shape].format(n=self.tasks)]

    def expected(self, edited: bool = False) -> int:
        """What ``out`` must be."""
        if self.shape == "array":
            blocks = range(self.tasks * 8)
            return (sum(blocks) + 3 * len(blocks)) * (2 if edited else 1)
        if self.shape == "frame":
            return sum(range(self.tasks * 2)) * 3 * (2 if edited else 1)
        count = self.tasks // (4 if self.shape in ("tree", "delayed") else 2)
        return 2 * 3 * sum(range(count)) + count * (2 if edited else 1)


def by_size(workloads: Iterable[Workload]) -> dict[str, dict[int, str]]:
    """Names of the workloads of each shape, by their number of tasks."""
    found: dict[str, dict[int, str]] = {}
    for workload in workloads:
        found.setdefault(workload.shape, {})[workload.tasks] = workload.name
    return found
