"""Golden samples: what version 1 of each format wrote is read, for ever, and written the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nbrw_builder.audit_directory import AuditState
from nbrw_builder.trace_file import read_trace
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.errors import FormatError
from nbrw_runtime.recipe import load_document, read_recipe, write_recipe
from nbrw_runtime.records import from_json, to_json
from nbrw_runtime.report import Report, report_text, report_to_json
from nbrw_runtime.result import Result, write_result
from nbrw_runtime.session_file import Session
from nbrw_runtime.task_record import read_tasks, write_tasks
from nbrw_runtime.tolerance import Tolerance
from nbrw_runtime.trace import Facts, Kind
from nbrw_runtime.why import why, why_text

FORMATS = Path(__file__).with_name("formats")


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        ("checkpoint-v1/0002.json", Checkpoint),
        ("session-v1/session.json", Session),
        ("audit-v1/audit.json", AuditState),
        ("report-v1/report.json", Report),
        ("report-v1/verified.json", Report),
        ("report-v1/tasks.json", Report),
        ("report-v1/signed.json", Report),
        ("result-v1/result.json", Result),
    ],
)
def test_a_sample_is_read_and_written_the_same(sample, kind):
    """No field is lost, none is added."""
    value = json.loads((FORMATS / sample).read_bytes())
    found = from_json(kind, value, sample)
    written = report_to_json(found) if kind is Report else to_json(found)
    assert written == value
    assert from_json(kind, written, sample) == found


def test_the_sample_of_a_checkpoint_means_what_it_meant():
    """Field by field, where a silent change would be a wrong result."""
    value = json.loads((FORMATS / "checkpoint-v1/0002.json").read_bytes())
    found = from_json(Checkpoint, value, "sample")
    (stored,) = found.objects
    assert (found.cell, stored.names, stored.codec) == (2, ("a", "b"), "pickle")
    assert len(stored.blobs) == 3 and len(found.blobs) == 6
    assert [omitted.name for omitted in found.omitted] == ["g", "file:/x"]
    assert [(f.path, f.mode, f.link) for f in found.files] == [
        ("/home/ada/out.txt", 0o640, ""), ("/home/ada/l", 0o777, "out.txt"),
    ]  # fmt: skip
    # Layers are named by what such digests are made of.
    assert found.digest.hex == ("731a6cc78e40d3ba7539d4ab6b93d1b047fb2314a34558eb994721f9153e260e")


def test_the_sample_of_a_result_means_what_it_meant():
    """What a cell depended on decides whether it is restored."""
    value = json.loads((FORMATS / "result-v1/result.json").read_bytes())
    found = from_json(Result, value, "sample")
    assert found.inputs == {"a": "sha256:" + "2a" * 32, "b": None}
    assert found.files["/home/ada/absent"] is None and len(found.checkpoint.blobs) == 6
    assert found.hidden == "it runs %magic"
    assert found.identity.hex == "cece5bbf213cd887a20c4083029d212c23d223e609c56bbf2551d9a7b9354923"
    # Files are named by this.
    assert (
        digest_bytes(write_result(found)).hex
        == "266e08b1f2f1e78b2e7ce5fefd5876ce8ca7289fecc8d1e3b2c651362166553d"
    )


def test_the_sample_of_tasks_means_what_it_meant():
    """What may be loaded is decided by it."""
    data = (FORMATS / "tasks-v1/tasks.json").read_bytes()
    cheap, stored, unsafe = read_tasks(data, "sample")
    assert write_tasks([unsafe, cheap, stored]) == data
    assert (stored.is_stored, cheap.is_stored, cheap.unsafe) == (True, False, False)
    assert stored.reads["/home/ada/none"] is None and stored.buffers and unsafe.unsafe


def test_the_sample_of_tasks_that_are_explained_means_what_it_meant():
    """Ingredients are a person's affair: they say nothing of what may be loaded."""
    data = (FORMATS / "tasks-v1/explained.json").read_bytes()
    found = read_tasks(data, "sample")
    assert write_tasks(found) == data
    assert found[1].ingredients["global THRESHOLD"] == "10.0"
    plain = read_tasks((FORMATS / "tasks-v1/tasks.json").read_bytes(), "sample")
    assert [replace(record, ingredients={}) for record in found] == plain


@pytest.mark.parametrize("name", ["recipe", "verified", "tasks"])
def test_the_sample_of_a_recipe_is_read_and_written_to_the_byte(name):
    """A recipe's bytes are its identity."""
    data = (FORMATS / f"recipe-v1/{name}.json").read_bytes()
    recipe = read_recipe(data)
    assert write_recipe(recipe) == data
    assert recipe.checkpoint(2) is not None and recipe.parameters == {"t": 5.0}


def test_the_sample_of_a_verified_recipe_means_what_it_meant():
    """Which cells repeat, and in what the others differed; without it nobody has tried."""
    found = read_recipe((FORMATS / "recipe-v1/verified.json").read_bytes()).verification
    assert found.tolerance == Tolerance(1e-6, 1e-12) and not found.holds
    assert [(c.cell, c.outcome) for c in found.cells] == [
        (1, "equal"), (2, "different"), (3, "not compared"), (4, "failed"), (5, "not run"),
    ]  # fmt: skip
    assert found.cell(2).differences == ("stdout, `2` instead of `1`", "file a.txt: it is missing")
    assert read_recipe((FORMATS / "recipe-v1/recipe.json").read_bytes()).verification is None


def test_the_sample_of_a_trace_is_read():
    """Events, facts, a gap, a path that is not UTF-8."""
    trace = read_trace(FORMATS / "trace-v1/0001.jsonl.zst")
    assert trace.complete and trace.header.kernel_pid == 100
    kinds = [event.kind for event in trace.events]
    assert kinds == [
        Kind.PROCESS, Kind.CELL, Kind.READ, Kind.READ, Kind.WRITE, Kind.RENAME, Kind.CONNECT,
        Kind.CELL, Kind.EXIT,
    ]  # fmt: skip
    assert trace.events[2].facts == Facts(1, 2, 3, 4, 5, 0o100644, 1000, 1000)
    assert trace.events[3].path == "/home/ada/\udcff" and not trace.events[3].ok
    assert trace.events[4].detail == {"preserved": "1-2-5"}
    assert [gap.pid for gap in trace.gaps] == [101]


def test_the_sample_of_a_workers_trace_is_read():
    """Of a worker on another machine: what only it can read, and Dask's own connections."""
    trace = read_trace(FORMATS / "trace-v1/0001.worker-1.jsonl")
    assert (trace.header.role, trace.header.host) == ("worker", "node1")
    assert [event.cell for event in trace.events] == [0, 2, 2, 2]
    details = [event.detail for event in trace.events[1:]]
    assert details[0] == {"preserved": "0001.worker-1-1"}
    assert details[1] == {"names": ["one.csv", "two.csv"]} and details[2]["cluster"]
    assert [gap.cell for gap in trace.gaps] == [3]


@pytest.mark.parametrize("name", ["report", "verified", "tasks", "signed"])
def test_the_text_of_a_report_is_what_it_was(name):
    """What people see, and may have in their logs."""
    value = json.loads((FORMATS / f"report-v1/{name}.json").read_bytes())
    text = report_text(from_json(Report, value, "sample")) + "\n"
    assert text == (FORMATS / f"report-v1/{name}.txt").read_text()


def test_the_explanation_of_a_cell_is_what_it_was():
    """What `why` makes of a report."""
    report = from_json(Report, json.loads((FORMATS / "report-v1/tasks.json").read_bytes()))
    assert why_text(why(report, 2)) + "\n" == (FORMATS / "report-v1/why.txt").read_text()


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        ("checkpoint-v1/0002.json", "nbrw.checkpoint"),
        ("recipe-v1/recipe.json", "nbrw.recipe"),
        ("session-v1/session.json", "nbrw.session"),
        ("audit-v1/audit.json", "nbrw.audit"),
        ("report-v1/report.json", "nbrw.report"),
        ("result-v1/result.json", "nbrw.result"),
    ],
)
def test_a_newer_version_is_refused_by_name(sample, name):
    """With both versions, and the remedy."""
    value = json.loads((FORMATS / sample).read_bytes())
    data = json.dumps({**value, "format": name, "version": 2}).encode()
    with pytest.raises(FormatError, match=rf"{name} version 2.*version 1; use a newer nbrw"):
        load_document(data, name, 1, sample)
