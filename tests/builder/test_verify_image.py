"""How a fresh image is repeated, and what is said if it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbrw_builder import verify_image as module
from nbrw_builder.errors import HostError, ProcessError
from nbrw_builder.verify_image import VerifyRequest, verify_image
from nbrw_runtime.report import CellReport, Report, report_to_json
from nbrw_runtime.tolerance import DEFAULT, Tolerance

REPORT = Report(
    "a", "nbrw", (CellReport(1, "run", "--verify", outputs="equal"),),
    verify=True, tolerance=DEFAULT,
)  # fmt: skip


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What would be started, with a function that answers for it."""
    calls = []

    def fake(argv, **options):
        assert not list(Path(options["cwd"]).iterdir())
        calls.append((argv, options))
        return answer[0](argv)

    answer = [lambda argv: json.dumps(report_to_json(REPORT))]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "run", fake)
    return calls, answer


def test_an_image_is_repeated_in_an_empty_directory_with_an_empty_home(started, tmp_path):
    """By `nbrw run --contain`; the author's timeout and tolerance hold; nothing is left."""
    calls, _ = started
    request = VerifyRequest(Tolerance(1e-3, 0.1), 2.5, True)
    found = verify_image(Path("/i/a"), "oci-dir", request)
    assert found.holds and [cell.cell for cell in found.cells] == [1]
    ((argv, options),) = calls
    assert argv[3:] == [
        "run", "--engine", "embedded", "--contain", "/i/a", "repeat", "--verify", "--json",
        "--tolerance", "0.001,0.1", "--timeout", "2.5", "--allow-errors",
    ]  # fmt: skip
    assert options["ok"] == (0, 1, 4)
    assert options["without"] == ("NBRW_CACHE_DIR",)
    assert options["env"]["XDG_CACHE_HOME"].startswith(str(tmp_path / "nbrw"))
    assert list((tmp_path / "nbrw").iterdir()) == []


def test_a_repeat_that_could_not_begin_is_told_from_one_that_differs(started):
    """The sentence has what it said last, and that the image is there."""
    calls, answer = started

    def fail(argv):
        raise ProcessError(argv, 5, "nbrw: unpacking\nnbrw: no namespaces here\n")

    answer[0] = fail
    with pytest.raises(HostError, match="ended with 5: nbrw: no namespaces here; the image is wri"):
        verify_image(Path("a"), "oci-dir", VerifyRequest())
    answer[0] = lambda argv: "no report"
    with pytest.raises(HostError, match="printed no report; the image is written, but not verif"):
        verify_image(Path("a"), "oci-dir", VerifyRequest())
