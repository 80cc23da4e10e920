"""`repeat` in an image, by the embedded engine: what holds, what runs, what fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nbrw_builder.image_file import open_image
from nbrw_runtime.recipe import RECIPE_PATH
from notebook_helper import environment, run, write_notebook

pytestmark = pytest.mark.integration

CELLS = (
    "import os\nimport numpy as np\nos.makedirs('plots', exist_ok=True)\n"
    "limit = 10\nx = np.arange(20.0)\nshared = [1]\nalias = shared",
    "def above(values):\n    return values[values > limit]\n"
    "found = above(x)\nopen('found.txt', 'w').write(str(len(found)))",
    "import sqlite3\nbase = sqlite3.connect(':memory:')\nnumbers = (n for n in range(5))",
    "alias.append(2)\nprint(shared, len(found), open('found.txt').read())",
    "print(next(numbers), base.execute('select 1').fetchone())",
    "open('plots/sum.txt', 'w').write(str(found.sum()))\n"
    "print(open('in.txt').read().strip(), float(found.sum()))",
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An OCI directory of a small notebook, built once; its directory has the notebook too."""
    place = tmp_path_factory.mktemp("author") / "proj"
    place.mkdir()
    (place / "in.txt").write_text("input\n")
    write_notebook(place / "small.ipynb", *CELLS)
    done = run("nbrw-build", "small.ipynb", "-o", "small", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "in.txt").unlink()
    (place / "found.txt").unlink()
    return place / "small"


@pytest.fixture
def work(tmp_path):
    """Somebody else's empty work directory."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def repeat(image, work, *argv, code=0):
    """Run `repeat --json` in an image; returns the report."""
    done = run("nbrw", "run", "--engine", "embedded", image, "repeat", *argv, "--json", cwd=work)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def fails(image, work, *argv, code, **changes):
    """Run `repeat` where it cannot work; returns its one sentence."""
    words = ("run", "--engine", "embedded", image, "repeat", *argv)
    done = run("nbrw", *words, cwd=work, **changes)
    assert done.returncode == code, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("nbrw: ")]
    lines = [line for line in lines if "unpack" not in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


def actions(report):
    """What was done with each cell."""
    return [cell["action"] for cell in report["cells"]]


def texts(work):
    """What each code cell printed, in the output notebook."""
    notebook = json.loads((work / "small.repeat.ipynb").read_text())
    return ["".join(o.get("text", "") for o in c["outputs"]) for c in notebook["cells"]]


def edited(image, work, number, source):
    """A copy of the notebook with another cell."""
    cells = list(CELLS)
    cells[number - 1] = source
    return write_notebook(work / "edited.ipynb", *cells)


def test_from_4_restores_objects_files_and_functions(image, work):
    """Aliases are one object, files are there, functions see the notebook's names."""
    report = repeat(image, work, "--from", "4")
    assert actions(report)[3:] == ["run", "run", "run"]
    assert actions(report)[:2] == ["restored", "restored"]
    assert report["equal"]
    assert texts(work)[3] == "[1, 2] 9 9\n"
    assert texts(work)[5] == "input 135.0\n"
    assert (work / "found.txt").read_text() == "9"
    assert not (work / "in.txt").exists()  # the link to the input is gone again


def test_a_directory_that_a_restored_cell_made_is_there(image, work):
    """With nothing in it yet: a cell that runs writes there."""
    report = repeat(image, work, "--from", "6")
    assert (work / "plots/sum.txt").read_text() == "135.0"
    assert report["cells"][0]["action"] == "restored"


def test_a_cell_whose_objects_could_not_be_stored_runs_again_if_they_are_needed(image, work):
    """Cell 3 made a connection and a generator, which cell 5 uses: the reason says so."""
    report = repeat(image, work, "--from", "4")
    assert actions(report)[2] == "run"
    assert "could not be stored" in report["cells"][2]["reason"]
    report = repeat(image, work, "--from", "6")
    assert actions(report) == ["restored"] * 5 + ["run"]


def test_an_edit_runs_from_the_edited_cell_on(image, work):
    """Nothing before it; comments are no edit."""
    path = edited(image, work, 4, "# only a comment\n" + CELLS[3])
    assert set(actions(repeat(image, work, path.name))) == {"restored"}
    path = edited(image, work, 6, "print('new', limit)")
    report = repeat(image, work, path.name)
    assert actions(report) == ["restored"] * 5 + ["run"]
    assert texts(work)[5] == "new 10\n"


def test_an_edit_runs_what_it_reaches_and_nothing_else(image, work):
    """A helper of cell 2 gives less: cells 4 and 6, which use its result, run; 3 and 5 do not."""
    path = edited(image, work, 2, CELLS[1].replace("> limit", "> limit + 1"))
    report = repeat(image, work, path.name)
    assert actions(report) == ["restored", "run", "restored", "run", "restored", "run"]
    assert report["cells"][5]["reason"] == "it uses `found`, which cell 2 changed"
    assert texts(work)[3] == "[1, 2] 8 8\n"
    assert texts(work)[5] == "input 124.0\n"
    planned = run("nbrw", "plan", image, work / "edited.ipynb", "--json")
    assert actions(json.loads(planned.stdout)) == actions(report)


def test_an_edit_that_changes_no_result_runs_one_cell(image, work):
    """Cell 2 leaves what it left before, so all after it is restored."""
    path = edited(image, work, 2, CELLS[1].replace("values > limit", "limit < values"))
    report = repeat(image, work, path.name)
    assert actions(report) == ["restored", "run", *["restored"] * 4]


def test_a_cell_that_moved_is_restored(image, work):
    """What it used is what it was."""
    cells = [*CELLS[:2], CELLS[5], *CELLS[2:5]]
    path = write_notebook(work / "moved.ipynb", *cells)
    report = repeat(image, work, path.name)
    assert set(actions(report)) == {"restored"}
    assert texts(work)[2] == "input 135.0\n"


def test_chosen_cells_run_and_parameters_are_set(image, work):
    """--cells runs these alone, where they leave what they left; -p adds a cell at the top."""
    report = repeat(image, work, "--cells", "1,6")
    assert actions(report) == ["run", *["restored"] * 4, "run"], report
    assert report["equal"]
    report = repeat(image, work, "-p", "unused", "3")
    assert actions(report) == ["run", *["restored"] * 6]
    assert (
        "not cells such as"
        in run(
            "nbrw", "run", "--engine", "embedded", image, "repeat", "--cells", "a", cwd=work
        ).stderr
    )


def test_a_changed_input_is_used_and_said(image, work):
    """The caller's own in.txt is not replaced; the cell that reads it runs, and says why."""
    (work / "in.txt").write_text("mine\n")
    report = repeat(image, work)
    assert actions(report) == ["restored"] * 5 + ["run"]
    assert "in.txt" in report["cells"][5]["reason"]
    assert texts(work)[5] == "mine 135.0\n"
    assert (work / "in.txt").read_text() == "mine\n"
    assert not report["equal"]


def test_a_file_of_the_callers_is_never_overwritten(image, work):
    """One that a restored cell would write stops the repeat before anything is done."""
    (work / "found.txt").write_text("precious")
    sentence = fails(image, work, "--from", "4", code=2)
    assert "found.txt" in sentence and "--work-dir" in sentence
    assert (work / "found.txt").read_text() == "precious"


def test_a_second_repeat_finds_what_the_first_left(image, work):
    """Files that a repeat made are its own to replace."""
    for _ in range(2):
        assert repeat(image, work, "--from", "4")["equal"]


def test_a_dry_run_does_nothing(image, work):
    """It says what would be done."""
    report = repeat(image, work, "--from", "4", "--dry-run")
    assert report["dry_run"] and actions(report)[3] == "run"
    assert list(work.iterdir()) == []


def test_all_runs_every_cell(image, work):
    """And the outputs are the author's."""
    report = repeat(image, work, "--all")
    assert set(actions(report)) == {"run"}
    assert report["equal"]


def test_verify_runs_every_cell_and_ends_with_0_if_all_is_equal(image, work):
    """What is restored would prove nothing; --from and --cells choose less."""
    report = repeat(image, work, "--verify")
    assert set(actions(report)) == {"run"}
    assert report["equal_cells"] == [1, 2, 3, 4, 5, 6] and report["different_cells"] == []
    assert report["cells"][0]["reason"] == "--verify"
    report = repeat(image, work, "--verify", "--from", "6")
    assert report["equal_cells"] == [6]


def test_verify_ends_with_4_if_outputs_or_files_differ(image, work):
    """The edited cell has no author's output; what it reaches differs, and it is said in what."""
    path = edited(image, work, 2, CELLS[1].replace("> limit", "> limit + 1"))
    words = (path.name, "--verify", "--from", "2")
    report = repeat(image, work, *words, code=4)
    assert report["not_compared_cells"] == [2]
    assert report["different_cells"] == [4, 6]
    found, file = report["cells"][5]["differences"]
    assert found.startswith("stdout, `input 124.0` instead of `input 135.0`")
    assert file.startswith("file plots/sum.txt: ")
    assert "cells 4, 6 left differs from the author's" in fails(image, work, *words, code=4)
    assert repeat(image, work, *words, "--tolerance", "0.1", code=4)["different_cells"] == [4]
    path = edited(image, work, 6, "print('new')")
    assert repeat(image, work, *words[:2], "--cells", "6")["not_compared_cells"] == [6]
    path = edited(image, work, 5, "1 / 0")
    assert repeat(image, work, *words, code=1)["cells"][4]["action"] == "failed"


def test_a_file_that_an_edited_cell_wrote_is_no_obstacle_later(image, work):
    """It is the repeat's own, also if all cells after it were run without a look at changes."""
    path = edited(image, work, 2, CELLS[1].replace("> limit", "> limit + 1"))
    repeat(image, work, path.name, "--from", "2")
    assert (work / "found.txt").read_text() == "8"
    assert repeat(image, work, "--from", "4")["equal"]
    assert (work / "found.txt").read_text() == "9"


def test_a_tolerance_that_is_none_is_refused(image, work):
    """Exit code 2, with what it should be."""
    words = ("run", "--engine", "embedded", image, "repeat", "--verify", "--tolerance", "a")
    done = run("nbrw", *words, cwd=work)
    assert done.returncode == 2 and "RELATIVE,ABSOLUTE" in done.stderr


@pytest.mark.parametrize("number", ["0", "7", "-1"])
def test_a_cell_out_of_range_is_refused(image, work, number):
    """With the cells that there are."""
    assert "cells 1 to 6" in fails(image, work, "--from", number, code=2)
    assert list(work.iterdir()) == []


def test_what_is_not_a_notebook_is_refused(image, work):
    """Exit code 2."""
    (work / "a.ipynb").write_text("{}")
    assert "not a notebook" in fails(image, work, "a.ipynb", code=2)


def test_a_failing_cell_ends_the_repeat_with_the_notebook_written(image, work):
    """Exit code 1; later cells are skipped, earlier outputs are there."""
    path = edited(image, work, 5, "1 / 0")
    report = repeat(image, work, path.name, code=1)
    assert actions(report)[4:] == ["failed", "skipped"]
    assert "ZeroDivisionError" in report["cells"][4]["error"]
    assert texts(work)[3] == "[1, 2] 9 9\n"


def test_a_cell_past_its_timeout_ends_the_repeat(image, work):
    """Exit code 1, naming cell and limit."""
    path = edited(image, work, 6, "import time\ntime.sleep(60)")
    report = repeat(image, work, path.name, "--timeout", "2", code=1)
    assert "cell 6 ran past its timeout of 2 s" in report["cells"][5]["error"]


def test_code_that_may_use_any_name_has_all_of_them(image, work):
    """exec, eval and their like: what could not be stored is made again, with the reason."""
    path = edited(image, work, 6, "print(eval('num' + 'bers') is not None)")
    report = repeat(image, work, path.name)
    assert report["cells"][2]["action"] == "run"
    assert "could not be stored" in report["cells"][2]["reason"]
    assert texts(work)[5] == "True\n"


def test_a_name_that_was_not_stored_is_explained(image, work):
    """A cell that gets at a name unseen is told who made it, why it is missing, and a remedy."""
    source = "import sys\nget = sys.modules['__ma' + 'in__'].__getattribute__\n"
    source += "try:\n    get('num' + 'bers')\nexcept AttributeError as e:\n"
    source += "    raise NameError(\"name 'numbers' is not defined\") from e"
    path = edited(image, work, 6, source)
    report = repeat(image, work, path.name, code=1)
    error = report["cells"][5]["error"]
    assert "was made or changed by cell 5 and could not be stored" in error
    assert "--from 5" in error


def test_absolute_paths_of_the_author_work_elsewhere(tmp_path, work):
    """Where the author's directories are not: in a namespace the paths are, getcwd() too."""
    place = tmp_path / "there"
    (place / "proj").mkdir(parents=True)
    (place / "data").mkdir()
    (place / "data/in.txt").write_text("input")
    data, made = place / "data/in.txt", place / "proj/made.txt"
    write_notebook(
        place / "proj/small.ipynb",
        f"text = open({str(data)!r}).read()\nopen({str(made)!r}, 'w').write(text)",
        f"import os\nprint(open({str(data)!r}).read(), open({str(made)!r}).read(), os.getcwd())",
    )
    image = tmp_path / "image"
    done = run("nbrw-build", "small.ipynb", "-o", image, cwd=place / "proj")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place)
    report = repeat(image, work, "--from", "2")
    assert report["view"] == "namespace"
    assert report["equal"], report
    assert (work / "made.txt").read_text() == "input"
    assert not place.exists()


def test_a_directory_below_the_authors_own_serves_as_work_directory(tmp_path):
    """Though it takes that one's place: the notebook, the report and what cells write arrive."""
    place = tmp_path / "proj"
    (place / "tries/first").mkdir(parents=True)
    (place / "in.txt").write_text("input")
    write_notebook(
        place / "small.ipynb", "text = open('in.txt').read()", "open('made.txt', 'w').write(text)"
    )
    image = tmp_path / "image"
    done = run("nbrw-build", "small.ipynb", "-o", image, cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "made.txt").unlink()
    (place / "in.txt").write_text("mine, which the author's image knows nothing of")
    work = place / "tries/first"
    report = repeat(image, work, "--from", "2", "-o", "../out.ipynb", "--report", "../r.json")
    assert (report["view"], report["equal"]) == ("namespace", True)
    assert report["notebook"] == str(place / "tries/out.ipynb")
    assert json.loads((place / "tries/out.ipynb").read_text())["metadata"]["nbrw"]["equal"]
    assert json.loads((place / "tries/r.json").read_text())["equal"]
    assert sorted(path.name for path in work.iterdir()) == [".nbrw-work.json", "made.txt"]
    assert repeat(image, work)["equal"] and (work / "small.repeat.ipynb").is_file()
    assert not (place / "made.txt").exists()


def test_a_file_that_the_caller_adds_is_seen_by_the_cells_that_list_its_directory(tmp_path, work):
    """In the working directory, too, where only imports list it otherwise; and by no other cell."""
    place = tmp_path / "proj"
    (place / "data").mkdir(parents=True)
    (place / "data/a.csv").write_text("1")
    (place / "b.txt").write_text("2")
    write_notebook(
        place / "small.ipynb",
        "import os, statistics\nfrom glob import glob\nfrom pathlib import Path",
        "found = sorted(glob('data/*.csv'))\nprint(found, open(found[0]).read())",
        "def texts():\n    return sorted(p.name for p in Path().iterdir() if p.suffix == '.txt')",
        "import wave\nprint(texts(), open('b.txt').read())",
        "print(wave.__name__, open('b.txt').read())",
    )
    done = run("nbrw-build", "small.ipynb", "-o", tmp_path / "image", "--minimal", cwd=place)
    assert done.returncode == 0, done.stderr

    def ran(*words):
        cells = repeat(tmp_path / "image", work, *words)["cells"]
        return {cell["cell"]: cell["reason"] for cell in cells if cell["action"] == "run"}

    shutil.copy(place / "small.ipynb", work / "another.ipynb")
    assert ran() == {} == ran("another.ipynb")
    (work / "z.txt").write_text("mine")
    reasons = ran()
    assert list(reasons) == [4] and "z.txt, which the author had not" in reasons[4]
    executed = json.loads((work / "small.repeat.ipynb").read_text())
    assert "['b.txt', 'z.txt'] 2" in executed["cells"][3]["outputs"][0]["text"]
    assert ran() == {}  # what it came to is kept
    (work / "z.txt").unlink()
    (work / "data").mkdir()
    (work / "data/z.csv").write_text("mine")
    assert list(ran()) == [2]
    (work / "data/z.csv").unlink()
    assert ran() == {}


def test_a_notebook_right_below_the_directory_of_temporary_files_is_repeated(tmp_path, work):
    """What lies there beside it, also of the repeat itself, is mounted anew in its view."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        write_notebook(Path(place) / "small.ipynb", "a = 1", "print(a)")
        done = run("nbrw-build", "small.ipynb", "-o", tmp_path / "image", cwd=place)
        assert done.returncode == 0, done.stderr
    report = repeat(tmp_path / "image", work, "--from", "2")
    assert (report["view"], report["equal"]) == ("namespace", True)


def test_a_corrupt_image_is_refused_before_it_is_unpacked(image, work):
    """Exit code 3: a flipped bit in a layer is found."""
    broken = work.parent / "broken"
    shutil.copytree(image, broken)
    victim = max((broken / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    cache = str(work.parent / "cache")  # where it was not unpacked before
    assert "corrupt" in fails(broken, work, "--from", "4", code=3, XDG_CACHE_HOME=cache)
    assert list(work.iterdir()) == []


@pytest.fixture
def unpacked(image, tmp_path):
    """The image's files in a directory; a function that changes its recipe."""
    root = tmp_path / "root"
    open_image(image).extract(root)
    path = root / RECIPE_PATH[1:]

    def change(edit):
        value = json.loads(path.read_bytes())
        for layer in value["layers"]:
            if layer.get("cells"):
                layer["directory"] = str(root) + layer["directory"]
        value["environment"]["python"] = sys.executable
        edit(value)
        path.chmod(0o644)
        path.write_text(json.dumps(value))
        return path

    return change


def inside(recipe, work, *argv):
    """Run the image's program on its unpacked files."""
    return subprocess.run(
        [sys.executable, "-m", "nbrw_runtime", *argv], cwd=work, capture_output=True, text=True,
        env=environment(NBRW_RECIPE=str(recipe), NBRW_CACHE_DIR=str(work / ".kept")), timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("lost", ["the object", "the outputs", "the file"])
def test_a_lost_blob_is_named_and_its_cell_runs_again(unpacked, work, lost):
    """Corrupt or gone: the result is that of a whole image."""

    def edit(value):
        checkpoint = value["checkpoints"][1]
        digest = {
            "the object": next(s for s in checkpoint["objects"] if "found" in s["names"])["blob"],
            "the outputs": checkpoint["outputs"],
            "the file": checkpoint["files"][0]["digest"] if checkpoint["files"] else None,
        }[lost]
        if digest is None:
            pytest.skip("the cell writes no file")
        for layer in value["layers"]:
            blob = Path(layer.get("directory", "")) / "sha256" / digest[7:]
            if blob.is_file() and lost == "the object":
                blob.chmod(0o644)
                blob.write_bytes(b"x" + blob.read_bytes()[1:])
            elif blob.is_file():
                blob.unlink()

    done = inside(unpacked(edit), work, "repeat", "--cells", "4", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["cells"][1]["action"] == "run"
    assert "sha256:" in report["cells"][1]["reason"] and report["equal"]
    ran = [c for c in report["cells"] if c["action"] == "run"]
    assert {c.get("outputs", "not compared") for c in ran} <= {"equal", "not compared"}


@pytest.mark.parametrize("command", ["repeat", "inspect"])
def test_an_image_of_a_newer_format_is_refused(unpacked, work, command):
    """Exit code 3, naming both versions and the remedy."""
    done = inside(unpacked(lambda value: value.update(version=99)), work, command)
    assert done.returncode == 3
    assert "version 99" in done.stderr and "use a newer nbrw" in done.stderr


def test_an_input_that_the_notebook_changes_is_a_copy_in_a_repeat(tmp_path, work):
    """Read, then rewritten: the image has it as it was read, and the cell can write to it."""
    place = tmp_path / "author"
    place.mkdir()
    (place / "n.txt").write_text("1")
    source = "n = int(open('n.txt').read()) + 1\nopen('n.txt', 'w').write(str(n))\nprint(n)"
    write_notebook(place / "small.ipynb", source, "print(open('n.txt').read())")
    done = run("nbrw-build", "small.ipynb", "-o", "image", cwd=place)
    assert done.returncode == 0, done.stderr
    assert repeat(place / "image", work, "--from", "2")["equal"]
    assert texts(work)[1] == "2\n"
    other = tmp_path / "other"
    other.mkdir()
    assert repeat(place / "image", other, "--all")["equal"]
    assert texts(other) == ["2\n", "2\n"]
    assert (place / "n.txt").read_text() == "2"


def test_a_minimal_image_is_smaller_and_repeats_too(image, tmp_path, work):
    """With --minimal only the files that were used are packed, and what names their packages."""
    place = tmp_path / "author"
    place.mkdir()
    (place / "in.txt").write_text("input\n")
    write_notebook(place / "small.ipynb", *CELLS)
    done = run("nbrw-build", "small.ipynb", "-o", "image", "--minimal", cwd=place)
    assert done.returncode == 0, done.stderr
    report = repeat(place / "image", work, "--from", "4")
    assert report["equal"], report
    sizes = [
        sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        for directory in (place / "image", image)
    ]
    assert sizes[0] < 0.8 * sizes[1]


def test_a_restored_functions_source_lines_are_known(tmp_path, work):
    """For who asks for them, and in tracebacks, which are the author's."""
    (tmp_path / "author").mkdir()
    write_notebook(
        tmp_path / "author/nb.ipynb",
        "# what comes first\nlimit = 2",
        "def share(total, of):\n    # a part of it\n    return total / of\ntwice = [share, share]",
        "import inspect\nprint(inspect.getsource(twice[0]))",
        "twice[1](limit, 0)",
        tags=[[], [], [], ["raises-exception"]],
    )
    done = run("nbrw-build", "nb.ipynb", "-o", "../nb", cwd=tmp_path / "author")
    assert done.returncode == 0, done.stderr
    report = repeat(tmp_path / "nb", work, "--from", "3")
    assert actions(report) == ["restored", "restored", "run", "run"]
    assert report["equal"]
    shown, failed = json.loads((work / "nb.repeat.ipynb").read_text())["cells"][2:]
    assert "    # a part of it\n" in "".join(shown["outputs"][0]["text"])
    colour = re.compile(r"\x1b\[[0-9;]*m")
    traceback = colour.sub("", "\n".join(failed["outputs"][0]["traceback"]))
    assert "Cell In[2], line 3, in share(total, of)\n" in traceback
    assert "\n      2     # a part of it\n----> 3     return total / of\n" in traceback
