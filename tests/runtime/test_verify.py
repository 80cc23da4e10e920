"""`repeat --verify`: what a cell that runs shows and writes, against the author's."""

from __future__ import annotations

import itertools

import pytest

from nbrw_runtime import written_files
from nbrw_runtime.checkpoint import Checkpoint, StoredFile
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.plan import Request
from nbrw_runtime.report import Report, report_text, report_to_json
from nbrw_runtime.store import DirectoryStore, StackedStore
from nbrw_runtime.tolerance import DEFAULT, Tolerance
from nbrw_runtime.workdir import WorkDirectory
from nbrw_runtime.written_files import WrittenFiles
from repeat_harness import Repeat, audit

ALL = Request(everything=True, word="--verify")


@pytest.fixture
def verified(tmp_path):
    """A function: audit cells, repeat all of them (or others), give the report of each."""
    numbers = itertools.count()

    def verify(*sources, edited=None, request=ALL, tolerance=DEFAULT, verify=True, files=None):
        recipe, store = audit(tmp_path / f"a{next(numbers)}", list(sources))
        place = tmp_path / f"r{next(numbers)}"
        return Repeat(
            place, recipe, store, edited or list(sources), request, files,
            verify=verify, tolerance=tolerance,
        ).report  # fmt: skip

    return verify


@pytest.fixture
def count(tmp_path):
    """Source that gives another number each time it runs, whoever runs it."""
    path = tmp_path / "count"
    return f"_p = {str(path)!r}\nopen(_p, 'a').write('x')\nn = len(open(_p).read())\n"


def test_cells_that_repeat_are_equal(verified):
    """Outputs and files."""
    cells = verified("x = 0.1 + 0.2\nprint(x)", "open('a.txt', 'w').write('1')\nx")
    assert [c.outputs for c in cells] == ["equal", "equal"]
    assert [c.differences for c in cells] == [(), ()]
    assert cells[0].reason == "--verify"


def test_a_cell_that_shows_another_value_each_time_is_different(verified, count):
    """The report says where; the others are equal."""
    cells = verified("print('same')", count + "print('value')\nprint(n)")
    assert [c.outputs for c in cells] == ["equal", "different"]
    assert cells[1].differences == ("stdout, line 2: `2` instead of `1`",)


def test_numbers_within_the_tolerance_are_equal(verified, count):
    """By default to nine digits; as the caller wants."""
    source = count + "print(1 + n * 1e-4)"
    assert verified(source)[0].outputs == "different"
    assert verified(source, tolerance=Tolerance(1e-3))[0].outputs == "equal"


def test_an_error_that_the_author_had_is_compared(verified, count):
    """By name and message; it is no failure."""
    assert verified("1 / 0")[0].outputs == "equal"
    (cell,) = verified(count + "raise ValueError(f'number {n}')")
    assert (cell.action, cell.outputs) == ("run", "different")
    assert "error, `ValueError: number 2` instead of `ValueError: number 1`" in cell.differences


def test_an_edited_cell_is_not_compared_and_what_it_reaches_is(verified):
    """It has no author's output; the cells after it have."""
    cells = verified("x = 1", "print(x)", "print('c')", edited=["x = 2", "print(x)", "print('c')"])
    assert [c.outputs for c in cells] == ["not compared", "different", "equal"]


def test_a_cell_that_asks_not_to_be_compared_is_not(verified, count):
    """nbval's comment; its files are compared all the same."""
    source = "# NBVAL_IGNORE_OUTPUT\n" + count + "print(n)\n"
    (cell,) = verified(source)
    assert cell.outputs == "not compared"
    assert cell.remarks == ("its outputs are not compared (nbval-ignore-output)",)
    (cell,) = verified(source + "open('a.txt', 'w').write(str(n))")
    assert cell.outputs == "different" and cell.files == ("a.txt",)


def test_restored_cells_count_as_the_authors(verified, count):
    """They are not run, so they are not compared either."""
    cells = verified(count + "print(n)", "print(5)", request=Request(start=2))
    assert [(c.action, c.outputs) for c in cells] == [("restored", "restored"), ("run", "equal")]


@pytest.mark.parametrize(
    ("source", "files", "sentence"),
    [
        ("open('a.txt', 'w').write(f'one\\n{n}')", "a.txt",
         "file a.txt: line 2: `2` instead of `1`"),
        ("open('a.csv', 'w').write(f'k,v\\na,{n / 7}')", "a.csv",
         "file a.csv: line 2, column `v`: `0.2857142857142857` instead of `0.14285714285714285`"),
        ("open('a.bin', 'wb').write(bytes([0, n]))", "a.bin", "file a.bin: its bytes differ"),
        ("n < 2 and open('a.txt', 'w').close()", "a.txt", "file a.txt: it is missing"),
        ("n < 2 or open('a.txt', 'w').close()", "a.txt",
         "file a.txt: the author's cell did not write it"),
        ("import os\nos.makedirs('d', exist_ok=True)\nopen(f'd/{n}', 'w').close()", "d/1 d/2",
         "file d/1: it is missing"),
    ],
)  # fmt: skip
def test_files_that_differ_are_named_with_what_differs(verified, count, source, files, sentence):
    """Other content, missing ones, new ones."""
    (cell,) = verified(count + source)
    assert cell.outputs == "different"
    assert cell.files == tuple(files.split())
    assert any(text.startswith(sentence) for text in cell.differences), cell.differences


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ("open('a.txt', 'w').close()", "import os\nn < 2 and os.remove('a.txt')",
         "file a.txt: it is there, and the author's cell removed it"),
        ("open('a.txt', 'w').close()", "import os\nn < 2 or os.remove('a.txt')",
         "file a.txt: it is gone, and the author's cell did not remove it"),
        ("open('a.txt', 'w').close()", "n < 2 or open('a.txt', 'w').write('b')",
         "file a.txt: the author's cell did not change it"),
    ],
)  # fmt: skip
def test_files_of_other_cells_are_watched(verified, count, first, second, sentence):
    """What a cell removes or changes, and the author's cell did not; or the reverse."""
    cells = verified(first, count + second)
    assert cells[0].outputs == "equal"
    assert sentence in cells[1].differences


def test_other_bytes_with_the_same_content_are_remarked_on(verified, count):
    """A result within the tolerance, or written in another way."""
    (cell,) = verified(count + "w = open('a.csv', 'w').write('v\\n0.5' + '0' * n)\ndel w")
    assert cell.outputs == "equal" and cell.files == ()
    assert cell.remarks == ("file a.csv: its bytes differ, what it holds is equal",)


@pytest.fixture
def compared(tmp_path):
    """A function: a file or link that the author's cell left, somewhere, against what is there."""
    store = DirectoryStore(tmp_path / "store")
    work = WorkDirectory(tmp_path / "work", "/home/ada/proj")
    work.root.mkdir()

    def compare(path, content="author's", link="", thorough=True):
        stored = StoredFile(path, store.put((link or content).encode()), 8, link=link)
        checkpoint = Checkpoint(1, cell_digest("x"), files=(stored,))
        files = WrittenFiles(work, DEFAULT, thorough)
        files.begin()
        return files.compare(checkpoint, StackedStore([store]))

    return compare


def test_files_outside_the_working_directory_are_compared(compared, tmp_path):
    """At their own path, by --verify alone."""
    path = tmp_path / "outside.txt"
    path.write_text("author's")
    assert compared(str(path)).differences == []
    path.write_text("another")
    found = compared(str(path))
    assert found.names == [str(path)]
    assert found.differences == [f"file {path}: `another` instead of `author's`"]
    assert compared(str(path), thorough=False).differences == []


def test_a_home_of_the_authors_is_the_callers(compared, tmp_path, monkeypatch):
    """A file below ~ is looked for in the caller's home, if it is not at the author's path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = compared("/home/ada/sub/result.txt").differences
    assert found == f"file {tmp_path}/sub/result.txt: it is missing"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/result.txt").write_text("author's")
    assert compared("/home/ada/sub/result.txt").differences == []


def test_links_are_compared_by_where_they_point(compared, tmp_path):
    """Not by what is there."""
    (found,) = compared("/home/ada/proj/link", link="there").differences
    assert found == "file link: it is no link to there"
    (tmp_path / "work/link").symlink_to("there")
    assert compared("/home/ada/proj/link", link="there").differences == []


def test_names_that_tempfile_draws_are_not_compared(verified):
    """They are others each time, and nothing reads them later."""
    source = "import tempfile\nf = tempfile.NamedTemporaryFile(delete=False, dir='.', suffix='.x')"
    (cell,) = verified(source + "\nf.close()\ndel f")
    assert cell.outputs == "equal", cell


def test_caches_and_hidden_files_are_not_looked_for(verified, count):
    """They are no results."""
    source = count + "import os\nfor d in ('.c', '__pycache__'):\n    os.makedirs(d)\n"
    (cell,) = verified(source + "    n < 2 or open(d + '/f', 'w').close()")
    assert cell.outputs == "equal", cell


def test_without_verify_other_files_are_not_looked_for(verified, count):
    """A repeat looks at what the author's cell wrote."""
    (cell,) = verified(count + "if n > 1:\n    open('a.txt', 'w').close()", verify=False)
    assert cell.outputs == "equal"


def test_a_directory_with_too_many_files_is_said_to_be_not_searched(verified, monkeypatch, count):
    """What the author's cell wrote is compared all the same."""
    monkeypatch.setattr(written_files, "_MOST", 3)
    files = {f"f{number}": "" for number in range(9)}
    (cell,) = verified(count + "open('a.txt', 'w').write(str(n))", files=files)
    assert cell.outputs == "different"
    assert "--work-dir" in cell.remarks[0]


def test_the_report_of_a_verification_counts(verified, count):
    """Equal, different, not compared: as text and as JSON."""
    edited = ["print(1)", count + "print(n)", "print(3)", ""]
    cells = verified("print(1)", count + "print(n)", "print(2)", "", edited=edited)
    report = Report("t", "nbrw", tuple(cells), verify=True, tolerance=Tolerance(1e-6))
    text = report_text(report)
    assert "cell 2 differs in: stdout, `2` instead of `1`\n" in text
    assert text.endswith(
        "verified: 1 cell equal to the author's, 1 cell DIFFERENT (2), 1 cell not compared (3); "
        "numbers within 1e-06 of the larger"
    )
    value = report_to_json(report)
    assert (value["equal_cells"], value["different_cells"]) == ([1], [2])
    assert value["not_compared_cells"] == [3] and not value["equal"] and value["verify"]
    assert value["tolerance"] == {"relative": 1e-6}
