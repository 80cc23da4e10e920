"""Coroutines as tasks: Dask awaits them, as it does without a cache."""

from __future__ import annotations

import pytest
from test_task_cache import Kernel, client  # noqa: F401  (a fixture)

pytestmark = pytest.mark.integration

START = """
import asyncio, functools
import dask
async def read(name, more=0):
    await asyncio.sleep(0)
    with open(name) as stream:
        return int(stream.read()) + more
def add(x, y):
    return x + y
"""
WAYS = {
    "submit": "out = client.submit(read, NAME).result()",
    "partial": "out = client.submit(functools.partial(read, more=1), NAME).result()",
    "between others": "def name_of(x):\n    return NAME\n"
    "a = client.submit(read, client.submit(name_of, 1))\nout = client.submit(add, a, 2).result()",
    "in one graph": "def name_of(x):\n    return NAME\n"
    "out = dask.delayed(add)(dask.delayed(read)(dask.delayed(name_of)(1)), 2)\n"
    "out = out.compute(optimize_graph=False)",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_coroutine_runs_each_time_and_so_does_what_uses_it(tmp_path, client, way):  # noqa: F811
    """Nobody sees what it reads: a file that changed must not go unnoticed."""
    path = tmp_path / "number.txt"
    source = WAYS[way].replace("NAME", repr(str(path)))
    more = {"submit": 0, "partial": 1}.get(way, 2)
    path.write_text("5")
    audit = Kernel(tmp_path, client)
    assert audit.run(START, source) == 5 + more
    assert not audit.cache.notes

    path.write_text("7")
    again = Kernel(tmp_path, client, audit.known() if audit.found else {})
    assert again.run(START, source) == 7 + more
    assert "it is a coroutine, of which nobody sees what it reads" in again.cache.counts.misses
    if way in ("between others", "in one graph"):
        assert again.cache.counts.loaded == 1
