"""`nbrw-build` on real notebooks: what can go wrong, and what is left then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from notebook_helper import command, environment, run, write_notebook

pytestmark = pytest.mark.integration
SLOW = "import time\nopen('started', 'w').close()\ntime.sleep(60)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty directory, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def build(place, *argv, **changes):
    """nbrw-build in a directory."""
    return run("nbrw-build", *argv, cwd=place, **changes)


def left(place):
    """The names in a directory, but for hidden ones."""
    return sorted(path.name for path in place.iterdir())


def one_sentence(done):
    """The error message: one line on stderr, that begins with our name."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("nbrw: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback (most recent call last)" not in done.stdout
    return lines[0]


def test_what_is_not_a_notebook_is_refused(place):
    """Exit code 2, a sentence, and nothing is written."""
    (place / "a.ipynb").write_text("not json")
    done = build(place, "a.ipynb", "-o", "a.tar")
    assert done.returncode == 2
    assert "not a notebook" in one_sentence(done)
    assert left(place) == ["a.ipynb"]


def test_a_missing_kernel_is_named(place):
    """Exit code 2 before anything runs, with the kernels that are there."""
    write_notebook(place / "a.ipynb", "1")
    done = build(place, "a.ipynb", "-o", "a.tar", "-k", "julia-1.10")
    assert done.returncode == 2
    assert "julia-1.10" in one_sentence(done)
    assert left(place) == ["a.ipynb"]


def test_an_image_that_cannot_be_written_is_refused_before_the_notebook_runs(place):
    """No hour is lost for a directory that does not exist."""
    write_notebook(place / "a.ipynb", "open('ran', 'w').close()")
    done = build(place, "a.ipynb", "-o", "nowhere/a.tar")
    assert done.returncode == 2
    assert "there is no directory nowhere" in one_sentence(done)
    assert left(place) == ["a.ipynb"]


def test_a_failing_cell_ends_the_build_and_the_next_one_goes_on_from_it(place):
    """Exit code 1 with cell and traceback; what ran before it does not run again."""
    write_notebook(place / "a.ipynb", "x = 1\nopen('log', 'a').write('one ')", "y = x / 0")
    done = build(place, "a.ipynb", "-o", "a")
    assert done.returncode == 1
    message = one_sentence(done)
    assert "cell 2 failed: ZeroDivisionError" in message
    assert "goes on from cell 2" in message
    assert "y = x / 0" in done.stderr
    assert left(place) == ["a.ipynb", "log"]
    write_notebook(
        place / "a.ipynb", "x = 1\nopen('log', 'a').write('one ')", "y = x / 2\nprint(y)"
    )
    done = build(place, "a.ipynb", "-o", "a", "--json")
    assert done.returncode == 0, done.stderr
    assert (place / "log").read_text() == "one "
    assert json.loads(done.stdout)["image"]["kind"] == "oci-dir"


def test_errors_can_be_allowed(place):
    """With --allow-errors, or a cell's tag raises-exception, the notebook goes on."""
    write_notebook(place / "a.ipynb", "1 / 0", "x = 1", "1 / 0", tags=[["raises-exception"]])
    done = build(place, "a.ipynb", "-o", "a", "--json", "--allow-errors")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert [cell["status"] for cell in cells] == ["error", "ok", "error"]


def test_a_cell_past_its_timeout_ends_the_build(place):
    """Exit code 1, naming the cell and the limit; no process stays."""
    write_notebook(place / "a.ipynb", "x = 1", SLOW)
    done = build(place, "a.ipynb", "-o", "a", "--timeout", "3")
    assert done.returncode == 1
    assert "cell 2 ran past its timeout of 3 s" in one_sentence(done)
    assert not (place / "a").exists()
    assert not processes(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_half_written(place, number):
    """Exit code 130; no image, no process; the next build goes on."""
    write_notebook(place / "a.ipynb", "x = 1", SLOW)
    child = start(place, "a.ipynb", "-o", "a")
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert "nbrw: interrupted" in errors
    assert not (place / "a").exists()
    assert not processes(place)


def test_a_killed_build_is_resumed(place):
    """SIGKILL of the builder: cells that were checkpointed are restored, the rest runs."""
    first = "open('log', 'a').write('one ')\nx = [1, 2]\ny = x"
    write_notebook(place / "a.ipynb", first, SLOW)
    child = start(place, "a.ipynb", "-o", "a")
    child.kill()
    child.communicate(timeout=60)
    for pid in processes(place):
        os.kill(pid, signal.SIGKILL)
    write_notebook(place / "a.ipynb", first, "x.append(3)\nprint(y)")
    done = build(place, "a.ipynb", "-o", "a", "--json")
    assert done.returncode == 0, done.stderr
    assert (place / "log").read_text() == "one "
    assert outputs(place)[1] == "[1, 2, 3]\n"


def test_a_changed_input_is_read_again(place):
    """A restored cell whose file has changed since would be a wrong result: it runs again."""
    (place / "in.txt").write_text("old")
    write_notebook(place / "a.ipynb", "text = open('in.txt').read()\nprint(text)", "print(text)")
    assert build(place, "a.ipynb", "-o", "a").returncode == 0
    (place / "in.txt").write_text("new")
    assert build(place, "a.ipynb", "-o", "a").returncode == 0
    assert outputs(place) == ["new\n", "new\n"]


def test_a_lost_result_is_made_again(place):
    """A file that a restored cell wrote and somebody removed is written again."""
    cells = ("open('out.txt', 'w').write('x')", "print(open('out.txt').read())")
    write_notebook(place / "a.ipynb", *cells)
    assert build(place, "a.ipynb", "-o", "a").returncode == 0
    (place / "out.txt").unlink()
    assert build(place, "a.ipynb", "-o", "a").returncode == 0
    assert (place / "out.txt").read_text() == "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a small file system, which needs root")
@pytest.mark.parametrize("what", ["checkpoint", "image"])
def test_a_full_disk_is_said_and_leaves_nothing(place, tmp_path, what):
    """During a checkpoint and during packing: exit code 5, a sentence, no half image."""
    write_notebook(place / "a.ipynb", "import os\ndata = os.urandom(30_000_000)", "1 + 1")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(small)], check=True)
    try:
        if what == "checkpoint":
            done = build(place, "a.ipynb", "-o", "a", XDG_CACHE_HOME=str(small))
        else:
            done = build(place, "a.ipynb", "-o", str(small / "a"))
        assert done.returncode == 5, done.stderr
        assert "full" in one_sentence(done) or "No space left" in one_sentence(done)
        assert not (place / "a").exists()
        assert not (small / "a").exists()
        assert not [path for path in small.iterdir() if "unfinished" in path.name]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_notebook_and_its_directory_are_left_as_they_were(place):
    """The file is not written to; nothing appears beside it but what the notebook itself makes."""
    path = write_notebook(place / "a.ipynb", "open('mine', 'w').close()")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert build(place, "a.ipynb", "-o", "../a").returncode == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert left(place) == ["a.ipynb", "mine"]


def test_private_files_stay_behind_and_are_named(place, tmp_path):
    """A key that the notebook reads is not in the image; the build says so."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id_ed25519").write_text("secret")
    (place / "notes.txt").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    (place / ".env").write_text("TOKEN=abc")
    cell = "import os\nfor name in (os.path.expanduser('~/.ssh/id_ed25519'), 'notes.txt', '.env'):"
    write_notebook(place / "a.ipynb", cell + "\n    open(name).read()")
    done = build(place, "a.ipynb", "-o", "a", "--json", HOME=str(home))
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    named = {path["path"]: path["reason"] for path in value["left_out"]}
    for path in (home / ".ssh/id_ed25519", place / "notes.txt", place / ".env"):
        assert str(path) in named
    data = json.loads(run("nbrw", "inspect", "--json", place / "a").stdout)["data"]
    assert not [d for d in data if d["state"] == "read"]


def test_parameters_replace_the_notebooks_defaults(place):
    """-p NAME VALUE works as papermill's does."""
    write_notebook(place / "a.ipynb", "t = 1", "print(t * 2)", tags=[["parameters"]])
    assert build(place, "a.ipynb", "-o", "a", "-p", "t", "21").returncode == 0
    assert outputs(place)[2] == "42\n"


def outputs(place, image="a"):
    """What the cells of an image printed."""
    from nbrw_builder.image_file import open_image
    from nbrw_runtime.recipe import read_recipe

    recipe = read_recipe(open_image(place / image).recipe_bytes())
    return [
        "".join(out.get("text", "") for out in cell["outputs"]) for cell in recipe.notebook["cells"]
    ]


def start(place, *argv):
    """Start a build; returns when the notebook has begun its slow cell."""
    child = subprocess.Popen(
        [*command("nbrw-build"), *argv], cwd=place, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (place / "started").exists():
        assert time.monotonic() < deadline and child.poll() is None, child.communicate()
        time.sleep(0.05)
    return child


def processes(place):
    """Kernels that still run in a directory, after a moment's patience."""
    deadline = time.monotonic() + 15
    while True:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if os.readlink(f"/proc/{name}/cwd") == str(place):
                        found.append(int(name))
                except OSError:
                    pass
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
