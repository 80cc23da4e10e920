"""Edit, repeat, edit, repeat: what a repeat computed is not computed again while it holds."""

from __future__ import annotations

import pytest

from repeat_harness import Repeat, audit, plain_run

SOURCES = ["x = [1, 2]", "y = sum(x)", "print(y)", "print('end')"]


@pytest.fixture
def twice(tmp_path):
    """Repeat one edit after the other in one directory; returns what each did, checking outputs."""

    def run(sources, *edits):
        recipe, store = audit(tmp_path / "audit", sources, {"in.txt": "1"})
        found = []
        for number, (edited, files) in enumerate(edits):
            repeat = Repeat(
                tmp_path / "work", recipe, store, edited, files={"in.txt": "1", **files},
                cache=tmp_path / "cache",
            )  # fmt: skip
            plain = plain_run(tmp_path / f"plain{number}", edited, {"in.txt": "1", **files})
            assert repeat.outputs == plain, repeat.report
            assert repeat.cache.notes == []
            found.append(repeat.actions)
        return found

    return run


def at(sources, number, text):
    """The sources with another cell."""
    return [*sources[: number - 1], text, *sources[number:]]


FIVE = at(SOURCES, 1, "x = [2, 3]")


def test_a_second_repeat_of_an_edit_runs_nothing(twice):
    """Nor does one that differs in a comment."""
    again = at(FIVE, 1, "x = [2,  3]  # five")
    assert twice(SOURCES, (FIVE, {}), (FIVE, {}), (again, {})) == ["XXXr", "rrrr", "rrrr"]


def test_a_second_edit_runs_only_what_it_reaches(twice):
    """What the first one made is restored."""
    second = at(FIVE, 3, "print(y + 1)")
    assert twice(SOURCES, (FIVE, {}), (second, {}), (FIVE, {})) == ["XXXr", "rrXr", "rrrr"]


def test_back_to_the_authors_cells_are_restored_from_the_image(twice):
    """Edits leave no trace in what was not edited."""
    assert twice(SOURCES, (FIVE, {}), (SOURCES, {})) == ["XXXr", "rrrr"]


def test_objects_that_are_shared_still_are(twice):
    """A kept result is brought as one of the audit is."""
    sources = ["a = [1]\nb = a", "c = 1", "print(a is b, a)"]
    first = at(sources, 1, "a = [2]\nb = a")
    second = at(first, 3, "a.append(5)\nprint(a is b, b)")
    assert twice(sources, (first, {}), (second, {})) == ["XrX", "rrX"]


def test_a_result_holds_while_the_file_it_read_is_the_same(twice):
    """By content, in the work directory."""
    sources = ["n = 1", "print(open('in.txt').read() * n)"]
    edit = at(sources, 1, "n = 2")
    runs = twice(sources, (edit, {}), (edit, {}), (edit, {"in.txt": "7"}), (edit, {"in.txt": "8"}),
                 (edit, {"in.txt": "7"}))  # fmt: skip
    assert runs == ["XX", "rr", "rX", "rX", "rr"]


def test_a_file_that_the_audit_did_not_know_counts(twice):
    """Also one that was looked for in vain."""
    sources = ["n = 1"]
    edit = ["try:\n    print(open('more.txt').read())\nexcept OSError:\n    print('none')"]
    runs = twice(sources, (edit, {}), (edit, {}), (edit, {"more.txt": "a"}),
                 (edit, {"more.txt": "a"}), (edit, {"more.txt": "b"}))  # fmt: skip
    assert runs == ["X", "r", "X", "r", "X"]


def test_a_written_file_comes_back_and_its_readers_are_restored(twice):
    """In the work directory, even if it was changed or removed there."""
    sources = ["n = 1", "_ = open('out.txt', 'w').write(str(n))", "print(open('out.txt').read())"]
    edit = at(sources, 1, "n = 2")
    third = at(edit, 3, "print(open('out.txt').read(), 'again')")
    runs = twice(sources, (edit, {}), (edit, {}), (third, {}), (sources, {}), (edit, {}))
    assert runs == ["XXX", "rrr", "rrX", "rrr", "rrr"]


def test_a_file_that_only_edits_write_is_replaced_by_them(twice):
    """It is the repeats' own, not the caller's."""
    first = ["_ = open('new.txt', 'w').write('1')", "print(open('new.txt').read())"]
    second = at(first, 1, "_ = open('new.txt', 'w').write('2')")
    runs = twice(SOURCES, (first, {}), (second, {}), (first, {}), (second, {}))
    assert runs == ["XX", "XX", "rr", "rr"]


@pytest.mark.parametrize(
    "source",
    [
        "exec('x = 5')",
        "x = (n for n in range(3))",
        "import atexit\natexit.register(print, end='')",
        "import os\nprint(os.path.exists('nothing'))",
        "raise ValueError(5)",
    ],
)
def test_what_nobody_could_rely_on_is_not_kept(twice, source):
    """Code that may use anything, unstorable objects, hidden effects, errors."""
    edit = at(SOURCES, 4, source)
    assert twice(SOURCES, (edit, {}), (edit, {})) == ["rrrX", "rrrX"]


def test_a_lost_blob_of_a_kept_result_runs_its_cell(twice, tmp_path):
    """And the result is kept anew."""
    sources = ["n = 1", "m = [n] * 3", "print(m)"]
    edit = at(sources, 1, "n = 2")
    third = at(edit, 3, "print(m, 3)")

    def spoil():
        for blob in (tmp_path / "cache").rglob("sha256/*"):
            blob.chmod(0o644)
            blob.write_bytes(b"x" * blob.stat().st_size)

    recipe, store = audit(tmp_path / "audit", sources)
    place, cache = tmp_path / "work", tmp_path / "cache"
    assert Repeat(place, recipe, store, edit, cache=cache).actions == "XXX"
    spoil()
    repeat = Repeat(place, recipe, store, third, cache=cache)
    assert repeat.outputs == plain_run(tmp_path / "plain", third)
    assert Repeat(place, recipe, store, third, cache=cache).actions == "rrr"


def test_what_came_of_an_effect_is_kept_until_the_effect_may_be_another(twice):
    """An effect that nothing shows is known by its cell's code, and by the files that it read."""
    sources = ["import json", "json.nbrw_k = 1", "print(json.nbrw_k)"]
    one = at(sources, 2, "json.nbrw_k = int(open('in.txt').read())")
    edits = (one, {}), (one, {}), (one, {"in.txt": "2"}), (one, {"in.txt": "2"})
    assert twice(sources, *edits) == ["rXX", "rXr", "rXX", "rXr"]


def test_a_question_about_files_in_a_function_keeps_nothing(twice):
    """As one in the cell itself does."""
    sources = ["import os\ndef there():\n    return os.path.exists('a.txt')", "n = 1", "n = 2"]
    asked = at(sources, 3, "print(there())")
    assert twice(sources, (asked, {}), (asked, {"a.txt": ""})) == ["rrX", "rrX"]


def test_whether_there_is_a_file_that_only_an_edit_makes_is_asked_again(twice):
    """Nobody looked for it by opening it."""
    asks = [
        "import os",
        "n = 1",
        "print(os.path.exists('flag.txt'))",
        "z = 1",
    ]
    makes = at(asks, 2, "n = 1\nf = open('flag.txt', 'w').close()")
    gone = [*makes[:2], "os.remove('flag.txt')", *makes[2:]]
    assert twice(asks, (makes, {}), (gone, {})) == ["rXXr", "rrXXr"]
