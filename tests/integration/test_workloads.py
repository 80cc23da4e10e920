"""The five workloads of examples/, with small data: built, repeated unchanged and with a change."""

from __future__ import annotations

import json
import subprocess
import sys

import nbformat
import pytest

from notebook_helper import ROOT, environment, run

sys.path.insert(0, str(ROOT / "benchmarks/repeat"))
from check import results, wrong  # noqa: E402
from workload import NAMES, Workload  # noqa: E402

#: A change of each, and the cells that it makes run.
CHANGES = {
    "dv5": ("correlators of fewer points", [5, 7, 8, 10, 11, 12, 13]),
    "mapreduce": ("the reduce function", [6, 7, 8, 9, 11]),
    "dconv": ("the kernel of a quarter", [4, 6, 7, 8]),
    "rag": ("one book", [6, 7, 8, 9, 10, 11, 12, 14, 15]),
    "ctrend": ("one station", [7, 8, 9, 10, 11]),
}


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


@pytest.mark.integration
def test_a_repeat_gives_what_a_plain_run_gives(workload, tmp_path):
    """Unchanged no cell runs; with a change those that it reaches; outputs and files are right."""
    data, work = tmp_path / "data", tmp_path / "work"
    workload.make_data(data, small=True)
    author = workload.lay_out(tmp_path / "author", data).parent
    build = ("nbrw-build", f"{workload.name}.ipynb", "-o", "../image", "--minimal")
    done = run(*build, "--compression", "none", cwd=author)
    assert done.returncode == 0, done.stderr

    repeat = ("nbrw", "run", "--engine", "embedded", tmp_path / "image", "repeat", "--json")
    work.mkdir()
    done = run(*repeat, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {cell["action"] for cell in json.loads(done.stdout)["cells"]} == {"restored"}
    assert results(work) == results(author)

    name, cells = CHANGES[workload.name]
    change = next(change for change in workload.changes if change.name == name)
    plain = workload.lay_out(tmp_path / "plain", data, change)
    command = [sys.executable, ROOT / "benchmarks/repeat/plain.py", plain, plain]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=300)
    changed = tmp_path / "changed"
    words = workload.lay_out_change(changed, data, change)
    done = run(*repeat, *words, cwd=changed)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [c["cell"] for c in report["cells"] if c["action"] == "run"] == cells, report
    assert not report["equal"]  # the change can be seen
    assert wrong(plain, changed / f"{workload.name}.repeat.ipynb") == []
