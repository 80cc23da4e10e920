"""The five workloads of examples/: ordinary notebooks, whose changes are well defined."""

from __future__ import annotations

import sys

import nbformat
import pytest

from notebook_helper import ROOT

sys.path.insert(0, str(ROOT / "benchmarks/repeat"))
from workload import NAMES, Workload  # noqa: E402


@pytest.fixture(params=NAMES)
def workload(request):
    """Each of them."""
    return Workload(request.param)


def digests(directory):
    """The files below a directory, by path."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_data_are_the_same_each_time_and_every_change_applies(workload, tmp_path):
    """An edit that does not apply, or applies twice, would be an error."""
    workload.make_data(tmp_path / "data", small=True)
    first = digests(tmp_path / "data")
    workload.make_data(tmp_path / "data", small=True)
    assert digests(tmp_path / "data") == first
    for number, change in enumerate(workload.changes):
        path = workload.lay_out(tmp_path / str(number), tmp_path / "data", change)
        laid_out = digests(path.parent / "data")
        same = [laid_out[path.parent / p.relative_to(tmp_path)] == b for p, b in first.items()]
        assert same.count(False) == (change.kind == "file-edit")
        assert (workload.notebook(change) != workload.notebook()) == (change.kind == "cell-edit")
        with pytest.raises(ValueError, match="0 times"):
            change.edited(change.edited(change.old))


def test_the_notebook_is_an_ordinary_one(workload):
    """Valid, without outputs, and without a word of nbrw in its code."""
    notebook = nbformat.from_dict(workload.notebook())
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not any("nbrw" in "".join(cell.source) or "%" == cell.source[0][0] for cell in code)
