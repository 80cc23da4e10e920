"""The report of the last repeat in a directory: the notebook that it wrote has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbrw_runtime.errors import UsageError
from nbrw_runtime.recipe import load_document
from nbrw_runtime.records import from_json
from nbrw_runtime.report import REPORT_FORMAT, REPORT_VERSION, Report, report_to_json


def output_name(title: str) -> str:
    """What a repeat calls the notebook that it writes."""
    return f"{title or 'notebook'}.repeat.ipynb"


def for_notebook(report: Report) -> dict[str, Any]:
    """The report as a notebook's metadata: without where the notebook is, which may be moved."""
    value = report_to_json(report)
    return {name: item for name, item in value.items() if name not in ("notebook", "work_dir")}


def last_report(title: str, directory: Path, named: Path | None = None) -> Report:
    """The report in a file that is named, be it a notebook that a repeat wrote or what ``--report``
    wrote; without one, that of the last repeat of the image ``title`` in a directory.

    Raises UsageError (no file, no report in it, one of another image), FormatError.
    """
    path = named or directory / output_name(title)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"read {path}: {error.strerror}; run `repeat` in this directory first, or name the "
            "notebook or the report that it wrote with --report FILE"
        ) from error
    report = _read(data, path)
    if report.image != title:
        raise UsageError(
            f"read {path}: it is of a repeat of the image `{report.image}`, not of `{title}`; "
            "name another with --report FILE"
        )
    return report


def _read(data: bytes, path: Path) -> Report:
    try:
        value = json.loads(data)
        if "cells" in value and "nbformat" in value:
            value = value["metadata"]["nbrw"]["report"]
        found = value["format"]
    except (ValueError, KeyError, TypeError):
        found = None
    if found != REPORT_FORMAT:
        raise UsageError(
            f"read {path}: there is no report in it; name the notebook that `repeat` wrote, or "
            "what `repeat --report FILE` wrote"
        )
    document = load_document(json.dumps(value).encode(), REPORT_FORMAT, REPORT_VERSION, str(path))
    return from_json(Report, document, str(path))
