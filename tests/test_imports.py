"""The direction of imports, and which modules touch the world."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNTIME = HERE.parent / "runtime/nbrw_runtime"
BUILDER = HERE.parent / "builder/nbrw_builder"
# Values and functions of values: whoever calls them brings the bytes.
PURE_RUNTIME = {
    "accesses", "batch_scripts", "cache_report", "checkpoint", "clusters", "compare",
    "compare_content", "compare_html", "compare_npy", "compare_png", "compare_text", "compare_tree",
    "dependency", "describe", "describe_tasks", "errors", "image_software", "kubernetes_job",
    "left_behind", "mount_table", "names", "needs", "outputs", "parameters", "paths", "plan",
    "private_values", "recipe", "records", "report", "report_tasks", "result", "task_bytecode",
    "task_evidence", "task_explain", "task_plan", "task_reasons", "task_record", "task_summary",
    "tolerance", "trace", "units", "verification", "watched_calls", "why",
}  # fmt: skip
PURE_BUILDER = {
    "account", "challenge", "descriptor", "entry", "errors", "image", "noise", "packages",
    "partial", "private", "reference", "resolve", "uses",
}  # fmt: skip
WORLD = {
    "asyncio", "ctypes", "docker", "fcntl", "ftplib", "glob", "http", "mmap", "multiprocessing",
    "os", "requests", "select", "shutil", "signal", "socket", "spython", "subprocess", "tempfile",
    "threading", "time", "urllib",
}  # fmt: skip
FLOOR = (3, 10)


def sources(package):
    return sorted(package.rglob("*.py"))


def imported(path):
    """Top-level names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; ours are absolute"
            found.add(node.module or "")
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize("path", sources(RUNTIME), ids=lambda path: path.stem)
def test_the_runtime_never_imports_the_builder(path):
    """It is in images, where the builder is not."""
    assert "nbrw_builder" not in imported(path)


@pytest.mark.parametrize("path", sources(RUNTIME), ids=lambda path: path.stem)
def test_the_runtime_is_python_3_10(path):
    """It runs in kernels of the lowest Python supported."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=FLOOR)


@pytest.mark.parametrize("path", sources(RUNTIME), ids=lambda path: path.stem)
def test_the_runtime_needs_only_what_a_notebook_kernel_has(path):
    """Besides the standard library: what ipykernel brings, the two picklers, and Dask if used."""
    kernel = {"IPython", "ipykernel", "ipykernel_launcher", "jupyter_client", "jupyter_core",
              "tornado", "traitlets", "zmq"}  # fmt: skip
    # Imported only if the notebook did so, or if they are there.
    optional = {"cloudpickle", "dill", "dask", "distributed", "h5py", "matplotlib",
                "matplotlib_inline", "numpy", "pandas", "pyarrow", "sklearn", "tlz", "torch",
                "xarray"}  # fmt: skip
    foreign = imported(path) - sys.stdlib_module_names - {"nbrw_runtime"}
    assert foreign <= kernel | optional


@pytest.mark.parametrize("path", sources(BUILDER), ids=lambda path: path.stem)
def test_the_builder_parses_with_the_lowest_python_too(path):
    """pyproject.toml promises 3.10."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=FLOOR)


@pytest.mark.parametrize(
    "path",
    [path for path in sources(RUNTIME) if path.stem in PURE_RUNTIME]
    + [path for path in sources(BUILDER) if path.stem in PURE_BUILDER],
    ids=lambda path: path.stem,
)
def test_the_core_does_no_input_or_output(path):
    """Plan, trace, recipe and their like are tested by tables, for they know no disk or clock."""
    assert not imported(path) & WORLD


def test_no_file_is_too_big_to_hold_in_the_head():
    """24 kB, about 600 lines, is where a module must be two."""
    big = [path.name for path in sources(RUNTIME) + sources(BUILDER) if path.stat().st_size > 24576]
    assert big == []
