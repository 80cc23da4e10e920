"""`nbrw-build` on an edited notebook: which cells run again, and that it is as if all did.

The audit alone is run, in this process; what an image is made of is compared with a fresh audit's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from nbrw_builder.audit import AuditRequest, audited
from nbrw_builder.audit_checkpoints import without_results
from nbrw_builder.audit_traces import load_traces
from nbrw_builder.host import RealHost
from nbrw_builder.interpreter import ask_python
from nbrw_builder.progress import Progress
from nbrw_builder.resolve import ResolveOptions, resolve
from nbrw_runtime.errors import CellError
from notebook_helper import command, environment, write_notebook

pytestmark = pytest.mark.integration


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty directory that is the working directory, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # A kernel gets the same variables from this process as from one that is started.
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def audit(place, *cells, fresh=False, **options):
    """Audit a notebook of these cells; returns the audit and its dependencies."""
    path = write_notebook(place / "a.ipynb", *cells)
    with audited(AuditRequest(path, fresh=fresh, **options), Progress()) as found:
        traces = load_traces(found.directory, found.state)
        assert traces
        resolved = resolve(
            traces,
            RealHost(),
            ResolveOptions(
                cwd=str(place),
                home=os.path.expanduser("~"),
                notebook=str(path),
                python=ask_python(found.kernel.python),
                ignore=(str(found.directory.root),),
            ),
        )
        found.directory.tidy(found.state)
        return found, resolved.dependencies


def ran(found):
    """The cells that were executed."""
    return [cell.number for cell in found.done if cell.action == "run"]


def reasons(found):
    """Why."""
    return {cell.number: cell.reason for cell in found.done if cell.action == "run"}


def printed(found):
    """What each cell printed."""
    return [
        "".join(out.get("text", "") for out in cell["outputs"]) for cell in found.notebook["cells"]
    ]


def content(audit_and_dependencies):
    """All that an image says, but for timings and the software that a kernel loads for itself."""
    found, dependencies = audit_and_dependencies
    checkpoints = {
        checkpoint.cell: replace(checkpoint, seconds=0.0, overhead=0.0)
        for checkpoint in found.checkpoints
    }
    data = [(d.path, d.state, d.cells, d.digest, d.changed) for d in dependencies.data]
    software = [(s.kind, s.name, s.version, s.cells) for s in dependencies.software]
    return checkpoints, data, software, dependencies.left_out, found.notebook


CELLS = (
    "import json\nrows = [1, 2, 3]",
    "text = open('in.txt').read()\nlimit = len(text)",
    "from collections import Counter\nother = Counter(rows)\nother",
    "kept = [row for row in rows if row < limit]\nopen('kept.txt', 'w').write(str(kept))",
    "print(open('kept.txt').read())",
    "print(json.dumps(dict(other)))\nother",
)


def test_an_edit_in_the_middle_runs_what_it_reaches_and_equals_a_fresh_build(place):
    """Cells 2, 4 and 5 here, 5 by a file; the image says what that of a fresh build says."""
    (place / "in.txt").write_text("ab")
    audit(place, *CELLS)
    edited = [*CELLS[:1], CELLS[1].replace("len(text)", "len(text) + 1"), *CELLS[2:]]
    found = audit(place, *edited)
    assert ran(found[0]) == [2, 4, 5]
    assert reasons(found[0])[5].startswith("it reads ")
    assert printed(found[0])[4] == "[1, 2]\n"
    assert content(found) == content(audit(place, *edited, fresh=True))


def test_a_result_that_is_equal_stops_there_and_a_comment_runs_nothing(place):
    """Early cut-off: cell 2 makes what it made, so cells 4 and 5 are as they were."""
    (place / "in.txt").write_text("ab")
    audit(place, *CELLS)
    edited = [CELLS[0] + "  # three", CELLS[1].replace("len(text)", "len(text) * 1"), *CELLS[2:]]
    found = audit(place, *edited)
    assert ran(found[0]) == [2]
    assert ran(audit(place, *edited, "")[0]) == []


def test_cells_that_move_are_not_run_again(place):
    """Inserted and deleted cells shift the others; dependencies are by the new numbers."""
    (place / "in.txt").write_text("ab")
    audit(place, *CELLS)
    inserted = ["new = 1\nnew", *CELLS]
    found = audit(place, *inserted)
    assert ran(found[0]) == [1]
    fresh = audit(place, *inserted, fresh=True)
    assert content(found)[1:] == content(fresh)[1:]
    assert ran(audit(place, *CELLS)[0]) == []
    shorter = [*CELLS[:2], *CELLS[3:5]]
    found = audit(place, *shorter)
    assert ran(found[0]) == []
    fresh = audit(place, *shorter, fresh=True)
    mine, other = content(found), content(fresh)
    assert mine[1] == other[1] and mine[3:] == other[3:]
    # What a cell loaded that went is nobody's, but it is there.
    assert [s[:3] for s in mine[2]] == [s[:3] for s in other[2]]
    for left, right in zip(found[0].checkpoints, fresh[0].checkpoints, strict=True):
        assert left.cell == right.cell and left.objects == without_results(right).objects


def test_cells_that_look_at_results_by_number_keep_their_place(place):
    """What has moved runs again then: its result has another number."""
    cells = ("a = 1\na", "b = 2\nb", "print(_2)")
    audit(place, *cells)
    found = audit(place, "0", *cells)
    assert ran(found[0]) == [1, 2, 3, 4]
    assert printed(found[0])[3] == "1\n"


def test_a_changed_file_runs_those_that_read_it(place):
    """And what they reach; cells 3 and 6 use neither."""
    (place / "in.txt").write_text("ab")
    audit(place, *CELLS)
    (place / "in.txt").write_text("abcd")
    found = audit(place, *CELLS)
    assert ran(found[0]) == [2, 4, 5]
    assert reasons(found[0])[2] == f"it used {place}/in.txt, which changed"
    assert content(found) == content(audit(place, *CELLS, fresh=True))


def test_a_changed_module_runs_all_from_where_it_was_loaded(place):
    """Also where Python had compiled it before, so that its source was not opened."""
    (place / "helper.py").write_text("def f():\n    return 1\n")
    cells = ("x = 1", "import helper", "print(helper.f())")
    audit(place, *cells)
    audit(place, *cells, fresh=True)
    (place / "helper.py").write_text("def f():\n    return 2\n")
    found = audit(place, *cells)
    assert ran(found[0]) == [2, 3]
    assert printed(found[0])[2] == "2\n"


def test_software_stays_that_a_deleted_cell_had_loaded_for_others(place):
    """The cell that imports it, too, has read nothing: it was there."""
    (place / "helper.py").write_text("value = 1\n")
    cells = (
        "x = 1",
        "import helper, colorsys",
        "import helper as h, colorsys as c\nprint(h.value)",
    )
    audit(place, *cells)
    found = audit(place, cells[0], cells[2])
    assert ran(found[0]) == []
    traces = load_traces(found[0].directory, found[0].state)
    read = {event.path for trace in traces for event in trace.events if event.ok}
    assert any(path and "/colorsys" in path for path in read)
    fresh = audit(place, cells[0], cells[2], fresh=True)
    paths = [data.path for data in found[1].data]
    assert paths == [data.path for data in fresh[1].data] == [f"{place}/helper.py"]


def test_what_could_not_be_stored_is_made_again_for_who_uses_it(place):
    """A generator lives in a kernel only."""
    cells = ("rows = [1, 2]", "turn = (row for row in rows)", "far = 1", "print(next(turn))")
    audit(place, *cells)
    found = audit(place, *cells[:3], "print(next(turn), 'again')")
    assert ran(found[0]) == [2, 4]
    assert printed(found[0])[3] == "1 again\n"


def test_a_hidden_effect_is_made_again_before_a_cell_that_runs(place):
    """A loaded module that a cell has changed is not in the namespace."""
    cells = ("import json", "json.mine = 5", "x = 1", "print(json.mine)")
    audit(place, *cells)
    found = audit(place, *cells[:3], "print(json.mine + 1)")
    assert ran(found[0]) == [2, 4]
    assert printed(found[0])[3] == "6\n"


def test_a_file_that_a_later_cell_overwrote_is_made_again(place):
    """A cell in between must find it as it was, and in the end it must be as the last left it."""
    cells = (
        "open('f', 'w').write('first')",
        "print(open('f').read())",
        "x = 1",
        "open('f', 'w').write('last')",
    )
    audit(place, *cells)
    found = audit(place, cells[0], "print(open('f').read(), '!')", *cells[2:])
    assert printed(found[0])[1] == "first !\n"
    assert (place / "f").read_text() == "last"
    assert 3 not in ran(found[0])


@pytest.mark.parametrize("how", ["lost", "spoilt"])
def test_a_blob_that_cannot_be_read_is_made_again(place, how):
    """A lost one is missed at once, one that is spoilt when a cell needs it; then all after run."""
    cells = ("far = 1", "x = list(range(50))", "y = 1", "print(sum(x))")
    found, _ = audit(place, *cells)
    (stored,) = found.checkpoints[1].objects
    path = found.directory.store.path(stored.blob)
    path.unlink()
    if how == "spoilt":
        path.write_bytes(b"other")
    found = audit(place, *cells[:3], "print(sum(x), 'again')")
    assert ran(found[0]) == [2, 3, 4]
    assert printed(found[0])[3] == "1225 again\n"
    assert any("could not be brought back" in note for note in found[0].notes) == (how == "spoilt")


def test_what_changes_unseen_is_seen_by_cells_after_it(place):
    """A thread that a cell started changes what a later cell uses."""
    start = (
        "import threading, time\nrows = [0]\ndef work():\n    time.sleep(0.5)\n    rows.append(1)\n"
    )
    cells = (start, "go = 1", "time.sleep(1)", "z = 3", "print(rows)")
    audit(place, *cells)
    edited = [start, "threading.Thread(target=work).start()", *cells[2:]]
    found = audit(place, *edited)
    assert printed(found[0])[4] == "[0, 1]\n"
    found = audit(place, *edited[:4], "print(rows, '!')")
    assert printed(found[0])[4] == "[0, 1] !\n"


def test_a_build_that_fails_loses_nothing(place):
    """The cells that it ran, and those of the build before that it did not come to, are kept."""
    log = "open('log{0}', 'a').write('{0} ')\n"
    cells = ["a = 1", log.format(2) + "b = a + 1", "c = a", log.format(4) + "d = 4"]
    audit(place, *cells)
    cells[1] = log.format(3) + "b = a + 2"
    cells[2] = "c = b / 0"
    with pytest.raises(CellError, match="goes on from cell 3"):
        audit(place, *cells)
    cells[2] = "c = b / 1\nprint(c)"
    found = audit(place, *cells)
    assert ran(found[0]) == [3]
    assert printed(found[0])[2] == "3.0\n"
    assert [(place / f"log{number}").read_text() for number in (2, 3, 4)] == ["2 ", "3 ", "4 "]


def test_a_rebuild_that_is_killed_is_resumed(place):
    """Restored cells, and those that had run, are there; the one that was cut off runs."""
    slow = "import time\nopen('started', 'w').close()\ntime.sleep(60)"
    log = "open('log{0}', 'a').write('{0} ')\n"
    cells = ["a = 1", log.format(2) + "b = 2", "c = a", log.format(4) + "d = b", "e = c", ""]
    audit(place, *cells)
    path = write_notebook(place / "a.ipynb", "new = 0", *cells[:2], slow, *cells[3:])
    child = subprocess.Popen(
        [*command("nbrw-build"), str(path), "-o", "a"], cwd=place, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (place / "started").exists():
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/cwd") == str(place) and int(name) != os.getpid():
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass
    after = ["new = 0", *cells[:2], "c = a + 1", *cells[3:]]
    found = audit(place, *after)
    assert ran(found[0]) == [4, 6]
    assert [(place / f"log{number}").read_text() for number in (2, 4)] == ["2 ", "4 "]
    state = json.loads((found[0].directory.root / "audit.json").read_text())
    assert "former" not in state
