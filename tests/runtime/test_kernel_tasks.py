"""When a kernel may load what the audit's Dask tasks gave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbrw_runtime import kernel_tasks
from nbrw_runtime.dependency import GAP_NOTE, Data, DataState, Dependencies
from nbrw_runtime.kernel_tasks import KernelTasks
from nbrw_runtime.recipe import Environment, Recipe
from nbrw_runtime.repeat_kernel import prepare_session
from nbrw_runtime.session_file import read_session
from nbrw_runtime.store import DirectoryStore, StackedStore

USED = (
    Data("/d/in.csv", DataState.READ, (1,), ("kernel",)),
    Data("/d/part.parquet", DataState.READ, (1,), ("kernel", "worker")),
)
RECIPE = Recipe({}, (), (), Environment("", "/home/ada"), Dependencies(data=USED))


def session(place, recipe=RECIPE, **options):
    """What the kernel is told."""
    path, _ = prepare_session(recipe, [], "/w", place, **options)
    return read_session(path)


def test_what_workers_used_is_told_to_the_kernel(tmp_path):
    """What only the kernel used is the cell's affair, and that of tasks that ran in the kernel."""
    found = session(tmp_path)
    assert found.tasks and [data.path for data in found.worker_data] == ["/d/part.parquet"]
    assert [data.path for data in found.kernel_data] == ["/d/in.csv"]


def test_tasks_are_not_loaded_if_the_trace_has_a_gap_or_the_caller_says_so(tmp_path):
    """Then nobody knows what they read and wrote; or all is to be proved."""
    gap = replace(RECIPE.dependencies, notes=(f"{GAP_NOTE}a child was not traced",))
    assert not session(tmp_path, replace(RECIPE, dependencies=gap)).tasks
    assert not session(tmp_path, tasks=False).tasks
    other = replace(RECIPE.dependencies, notes=("a file was left out",))
    assert session(tmp_path, replace(RECIPE, dependencies=other)).tasks


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2025.4.1", False),
        ("2025.5.0", True),
        ("2026.8.0", True),
        ("2024.12.1", False),
        ("?", False),
    ],
)
def test_dask_that_is_not_known_to_work_is_left_alone(tmp_path, monkeypatch, version, known):
    """In one line; the notebook goes on."""
    monkeypatch.setitem(
        kernel_tasks.sys.modules, "dask", type("dask", (), {"__version__": version})
    )
    store = DirectoryStore(tmp_path)
    tasks = KernelTasks({}, "/w", StackedStore([store]), store)
    client = type("Client", (), {"_graph_to_futures": lambda self, expr, keys: "usual"})
    usual = client._graph_to_futures
    tasks.start(client)
    assert (client._graph_to_futures is not usual) == known
    assert tasks.end() == (
        [] if known else [f"results of tasks are not kept: Dask {version} is not known to work"]
    )
    assert tasks.collect() == (None, ()) and tasks.by_cell() == {}
