"""Why a cell and its tasks ran, from the report of a repeat; where that report is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nbrw_runtime import cli
from nbrw_runtime.errors import FormatError, UsageError
from nbrw_runtime.last_report import for_notebook, last_report, output_name
from nbrw_runtime.recipe import Environment, Recipe, write_recipe
from nbrw_runtime.report import CellReport, Report, report_to_json
from nbrw_runtime.report_tasks import tasks_lines
from nbrw_runtime.task_reasons import NEW, UNKNOWN_LABEL
from nbrw_runtime.why import why, why_text

TASKS = {
    "loaded": 2, "run": 3, "needless": 1, "misses": {NEW: 3}, "saved": 1.5, "bytes": 1000,
    "labels": {
        "add": {"loaded": 2, "run": 0, "needless": 1, "misses": {}},
        "add-one": {"loaded": 0, "run": 3, "needless": 0, "misses": {NEW: 3}},
    },
    "edits": [
        {"label": "add-one", "number": 3, "difference": "global `K`: 1 -> 2", "differences": 2}
    ],
}  # fmt: skip
REPORT = Report(
    "small",
    "nbrw",
    (
        CellReport(1, "restored", "unchanged", outputs="restored", audit_seconds=1.0),
        CellReport(2, "run", "edited or new", 2.0, 3.0, "different", tasks=TASKS),
        CellReport(3, "failed", "after cell 2, which runs", 0.5, error="cell 3 failed: E"),
        CellReport(4, "skipped", "cell 3 failed"),
    ),
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "cell 1 was restored: unchanged"),
        (
            2,
            "cell 2 ran: edited or new\n"
            "  it took 2.0 s, 3.0 s in the audit; its outputs DIFFER from the author's\n"
            "  of its tasks 2 were loaded (1 kB, saved 1.5 s); 3 ran: new or edited (3)\n"
            "  task add-one: 3 ran, new or edited: global `K`: 1 -> 2; others differ otherwise\n"
            "  task add: 2 loaded, as nothing that led to them changed; "
            "1 not needed by any that ran",
        ),
        (3, "cell 3 failed: after cell 2, which runs\n  it took 0.5 s\n  cell 3 failed: E"),
        (4, "cell 4 was skipped: cell 3 failed"),
    ],
)
def test_a_cell_is_explained(cell, text):
    """What was done, why, and what of its tasks."""
    assert why_text(why(REPORT, cell)) == text


def test_a_planned_cell_is_explained():
    """Nothing was done."""
    planned = replace(REPORT, dry_run=True, cells=(CellReport(1, "run", "--from 1"),))
    assert why_text(why(planned, 1)) == "cell 1 would run: --from 1"


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("add", "add"),
        ("add-one", "add-one"),
        ("add-1a2b", "add"),
        ("('add-one-1a2b', 0)", "add-one"),
        ("('add-1a2b', 0, 1)", "add"),
    ],
)
def test_a_task_is_found_by_its_label_or_key(task, label):
    """The longest label that fits."""
    value = why(REPORT, 2, task)
    assert [found["label"] for found in value["tasks"]["labels"]] == [label]
    assert why_text(value).count("\n  task ") == 1


@pytest.mark.parametrize(
    ("cell", "task", "said"),
    [
        (5, "", "explain cell 5: the notebook that was repeated has cells 1 to 4; name one"),
        (0, "", "has cells 1 to 4"),
        (2, "ad", "it has no such task; name one of add-one, add"),
        (1, "add", "the cell was restored and started no Dask tasks; leave the task out"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(cell, task, said):
    """The remedy is in the sentence."""
    with pytest.raises(UsageError, match=said):
        why(REPORT, cell, task)


def test_reports_of_older_repeats_are_explained_as_far_as_they_go():
    """They have no labels and no sizes."""
    old = {"loaded": 2, "run": 1, "needless": 0, "misses": {NEW: 1}, "saved": 1.0}
    report = replace(REPORT, cells=(CellReport(1, "run", "edited or new", tasks=old),))
    text = why_text(why(report, 1))
    assert "of its tasks 2 were loaded (saved 1.0 s); 1 ran: new or edited (1)" in text


def test_a_new_cells_tasks_are_no_news():
    """That none of them ran in the audit goes without saying; many edits are cut short."""
    edit = {"label": "fit", "number": 4, "difference": UNKNOWN_LABEL, "differences": 1}
    assert tasks_lines({"loaded": 0, "run": 4, "misses": {NEW: 4}, "edits": [edit]}) == []
    edits = [{**edit, "label": f"f{n}", "difference": "global `K`: 1 -> 2"} for n in range(9)]
    lines = tasks_lines({"loaded": 0, "run": 36, "misses": {NEW: 36}, "edits": edits})
    assert lines[0] == "of its tasks 0 were loaded; 36 ran: new or edited (36)"
    assert len(lines) == 7 and lines[-1].startswith("4 more kinds of tasks were edited")


# -- where the report is ---------------------------------------------------------------------------


def written(place, name="small.repeat.ipynb", report=REPORT):
    """A notebook that a repeat wrote."""
    notebook = {"nbformat": 4, "cells": [], "metadata": {"nbrw": {"report": for_notebook(report)}}}
    (place / name).write_text(json.dumps(notebook))
    return place / name


def test_the_notebook_that_a_repeat_wrote_has_its_report(tmp_path):
    """But for where it is; a file by another name can be named, and so can the report itself."""
    assert (
        output_name("small") == "small.repeat.ipynb" and output_name("") == "notebook.repeat.ipynb"
    )
    written(tmp_path)
    assert last_report("small", tmp_path) == REPORT
    elsewhere = written(tmp_path, "out.ipynb", replace(REPORT, work_dir="/w", notebook="/w/x"))
    assert last_report("small", tmp_path / "none", elsewhere) == REPORT
    (tmp_path / "r.json").write_text(json.dumps(report_to_json(REPORT)))
    assert last_report("small", tmp_path, tmp_path / "r.json") == REPORT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "run `repeat` in this directory first, or name"),
        ("{", "there is no report in it; name the notebook"),
        ("[]", "there is no report in it"),
        ('{"nbformat": 4, "cells": [], "metadata": {}}', "there is no report in it"),
        ('{"format": "nbrw.report", "image": "other", "created_by": "", "cells": []}',
         "it is of a repeat of the image `other`, not of `small`"),
    ],
)  # fmt: skip
def test_a_report_that_is_missing_or_of_another_image_is_said(tmp_path, content, said):
    """With the remedy."""
    if content is not None:
        (tmp_path / "small.repeat.ipynb").write_text(content)
    with pytest.raises(UsageError, match=said):
        last_report("small", tmp_path)


def test_a_report_of_a_newer_format_is_refused(tmp_path):
    """By its version."""
    (tmp_path / "r").write_text('{"format": "nbrw.report", "version": 2}')
    with pytest.raises(FormatError, match="nbrw.report version 2"):
        last_report("small", tmp_path, tmp_path / "r")


def test_the_command_of_an_image_prints_text_or_json(tmp_path, monkeypatch, capsys):
    """And ends with 2 if there is nothing to explain."""
    recipe = Recipe({"cells": []}, (), (), Environment("/usr/bin/python3", "/"), title="small")
    (tmp_path / "recipe.json").write_bytes(write_recipe(recipe))
    monkeypatch.setenv("NBRW_RECIPE", str(tmp_path / "recipe.json"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["why", "1"]) == 2
    assert "small.repeat.ipynb: No such file or directory; run `repeat`" in capsys.readouterr().err
    written(tmp_path)
    assert cli.main(["why", "1"]) == 0
    assert capsys.readouterr().out == "cell 1 was restored: unchanged\n"
    assert cli.main(["why", "2", "add", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "add"
    with pytest.raises(SystemExit) as ended:
        cli.main(["why", "--help"])
    assert ended.value.code == 0 and "exit codes: 0 done, 2 " in capsys.readouterr().out
