"""The launcher: a kernel that is what Jupyter would have started, with a session beside it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

import nbrw_runtime
from checkpoint_helper import latest
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.notebook import cell_digest
from nbrw_runtime.recipe import RecipeCell
from nbrw_runtime.records import from_json
from nbrw_runtime.session_file import Session, write_session

ROOT = Path(nbrw_runtime.__file__).parent.parent
LAUNCH = [sys.executable, str(ROOT / "nbrw_runtime/launch.py")]
WHAT_IT_SEES = """
import json, os, sys
print(json.dumps({
    "path": sys.path, "argv": [a for a in sys.argv if "kernel-" not in a and ".json" not in a],
    "main": [__name__, hasattr(sys.modules["__main__"], "__file__")],
    "environ": sorted(os.environ), "cwd": os.getcwd(),
    "nbrw": [m for m in sys.modules if m.split(".")[0] in ("nbrw_builder", "dill", "dask")],
    "names": sorted(n for n in globals() if not n.startswith("_")),
}))
"""


class Kernel:
    """A running kernel."""

    def __init__(self, argv, cwd):
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(argv=[*argv, "-f", "{connection_file}"])
        self.manager.shutdown_wait_time = 4
        with open(cwd / "log", "wb") as log:
            self.manager.start_kernel(cwd=str(cwd), stdout=log, stderr=log)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(60)

    def run(self, source, **options):
        """Execute; returns what it printed, and the reply."""
        texts = []

        def take(message):
            if message["msg_type"] == "stream":
                texts.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            source, output_hook=take, timeout=60, allow_stdin=False, **options
        )
        return "".join(texts), reply["content"]

    def ask(self, function, *arguments):
        """Call a function of the session, as executors do."""
        words = ", ".join(map(repr, arguments))
        code = f"__import__('nbrw_runtime.session').session.{function}({words})"
        _, reply = self.run("", silent=True, user_expressions={"answer": code})
        answer = reply["user_expressions"]["answer"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def close(self):
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def start(tmp_path):
    """Starts kernels; they end with the test."""
    kernels = []

    def begin(argv, cwd=tmp_path):
        kernels.append(Kernel(argv, cwd))
        return kernels[-1]

    yield begin
    for kernel in kernels:
        kernel.close()


def session(place, sources, mode="audit"):
    """A session file for a notebook of these cells."""
    for name in ("checkpoints", "written", "work"):
        (place / name).mkdir(exist_ok=True)
    cells = tuple(
        RecipeCell(number, "", cell_digest(source), source)
        for number, source in enumerate(sources, 1)
    )
    orders = Session(
        mode, cells, (str(place / "store"),), str(place / "checkpoints"), str(place / "work"),
        str(place / "work"), str(place / "written"),
    )  # fmt: skip
    write_session(orders, place / f"{mode}.json")
    return [*LAUNCH, "--session", str(place / f"{mode}.json")]


def checkpoint(place, number):
    """A cell's checkpoint."""
    path = place / "checkpoints" / f"{number:04d}.json"
    return from_json(Checkpoint, json.loads(path.read_bytes()), str(path))


def restored(kernel, place, *numbers):
    """Bring what these cells left into a kernel; returns the names that could not be brought."""
    wanted = latest(checkpoint(place, number) for number in numbers)
    request = {"wanted": wanted, "drop": [], "sources": [], "count": len(numbers) + 1}
    answer = kernel.ask("bring_json", json.dumps({**request, "last": max(numbers)}))
    return [name for failed in answer["failed"] for name in failed["names"]]


def test_the_notebook_sees_a_kernel_as_jupyter_starts_it(start, tmp_path):
    """sys.path, argv, the environment, __main__ and the names are the same."""
    plain = start([sys.executable, "-m", "ipykernel_launcher"])
    ours = start(session(tmp_path, [WHAT_IT_SEES]), tmp_path / "work")
    seen = [json.loads(kernel.run(WHAT_IT_SEES)[0]) for kernel in (plain, ours)]
    for value in seen:
        value["cwd"] = value["environ"] = None if value is None else value["environ"]
    for key in ("path", "argv", "main", "environ", "names", "nbrw"):
        assert seen[0][key] == seen[1][key], key


def test_a_session_checkpoints_every_cell_and_another_kernel_restores_it(start, tmp_path):
    """Across processes: values, shared objects, functions, deleted names, shown results."""
    sources = [
        "a = [1]\nb = a\nk = 3\ndef f(x):\n    return x * k\n41 + 1",
        "",
        "a.append(f(2))\ndel k\nk = 10\ngone = 1",
        "del gone",
    ]
    author = start(session(tmp_path, sources), tmp_path / "work")
    for source in sources:
        if source:
            author.run(source)
    assert author.ask("status_json")["failure"] is None
    assert checkpoint(tmp_path, 4).deleted == ("gone",)
    later = start(session(tmp_path, sources, "repeat"), tmp_path / "work")
    assert restored(later, tmp_path, 1, 3, 4) == []
    text, reply = later.run("print(a, b is a, f(1), 'gone' in globals(), Out[1])")
    assert text == "[1, 6] True 10 False 42\n"
    assert reply["execution_count"] == 4


def test_a_cell_run_again_tells_what_it_left(start, tmp_path):
    """Equal results have the author's identities, others have not; what was brought is neither."""
    sources = ["import random\nx = [1, 2]\nother = 3", "y = random.random()\nz = [*x, 3]"]
    author = start(session(tmp_path, sources), tmp_path / "work")
    for source in sources:
        author.run(source)
    later = start(session(tmp_path, sources, "repeat"), tmp_path / "work")
    request = {"wanted": {"1": ["x", "random"]}, "drop": [], "sources": [], "count": 2}
    answer = later.ask("bring_json", json.dumps(request))
    assert answer == {"failed": [], "pending": False}
    _, reply = later.run(sources[1])
    assert reply["execution_count"] == 2
    found = later.ask("changes_json")
    left = {tuple(o["names"]): o["digest"] for o in found["objects"]}
    known = {o.names: str(o.digest) for o in checkpoint(tmp_path, 2).objects}
    assert left[("z",)] == known[("z",)] and left[("y",)] != known[("y",)]
    assert ("x",) not in left and found["deleted"] == []


def test_equal_cells_are_told_apart_by_their_order(start, tmp_path):
    """The same source twice is two cells."""
    sources = ["n = globals().get('n', 0) + 1"] * 3
    author = start(session(tmp_path, sources), tmp_path / "work")
    for source in sources:
        author.run(source)
    assert [checkpoint(tmp_path, n).cell for n in (1, 2, 3)] == [1, 2, 3]


def test_the_files_of_a_cell_are_stored_and_missing_ones_named(start, tmp_path):
    """By the list that the tracer leaves."""
    sources = ["open('out.txt', 'w').write('x')"]
    author = start(session(tmp_path, sources), tmp_path / "work")
    out, lost = str(tmp_path / "work/out.txt"), str(tmp_path / "work/lost.txt")
    value = {"written": [lost, out], "removed": ["/data/old"]}
    (tmp_path / "written/1.json").write_text(json.dumps(value))
    author.run(sources[0])
    found = checkpoint(tmp_path, 1)
    assert [stored.path for stored in found.files] == [out]
    assert found.removed == ("/data/old",)
    assert [omitted.name for omitted in found.omitted] == [f"file:{lost}"]


def test_the_state_outside_of_variables_comes_back(start, tmp_path):
    """Working directory, environment, sys.path, random generators, warnings."""
    sources = [
        "import os, sys, random, warnings\nos.mkdir('sub')\nos.chdir('sub')\n"
        "os.environ['MINE'] = 'x'\nos.environ['MY_TOKEN'] = 'secret'\n"
        "sys.path.append('/somewhere')\nrandom.seed(5)\nwarnings.simplefilter('error')",
        "first = random.random()",
    ]
    author = start(session(tmp_path, sources), tmp_path / "work")
    author.run(sources[0])
    author.run(sources[1])
    later = start(session(tmp_path, sources, "repeat"), tmp_path / "work")
    assert restored(later, tmp_path, 1) == ["<nbrw:private environ>"]
    later.run(sources[1])
    seen = (
        "print(os.getcwd(), os.environ['MINE'], sys.path[-1], first, "
        "[f[:1] for f in warnings.filters])"
    )
    assert later.run(seen)[0] == author.run(seen)[0]
    assert later.run("print(os.environ.get('MY_TOKEN'))")[0] == "None\n"
    assert "MY_TOKEN" in checkpoint(tmp_path, 1).notes[0]
    assert "secret" not in "".join(
        path.read_bytes().decode("latin1") for path in (tmp_path / "store/sha256").iterdir()
    )


def test_a_killed_kernel_leaves_whole_checkpoints(start, tmp_path):
    """Those of cells that had ended can be restored."""
    sources = ["x = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"]
    author = start(session(tmp_path, sources), tmp_path / "work")
    author.run(sources[0])
    author.client.execute(sources[1])
    deadline = time.monotonic() + 30
    while author.manager.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    later = start(session(tmp_path, sources, "repeat"), tmp_path / "work")
    assert restored(later, tmp_path, 1) == []
    assert later.run("print(x)")[0] == "1\n"


def test_the_runtime_can_be_imported_by_every_python_of_this_machine(tmp_path):
    """The pure core needs nothing but the standard library of Python 3.10 or newer."""
    found = 0
    for name in ("python3.10", "python3.11", "python3.12", "python3.13", sys.executable):
        code = "import nbrw_runtime.plan, nbrw_runtime.compare, nbrw_runtime.report"
        try:
            done = subprocess.run(
                [name, "-c", code], env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
                capture_output=True, text=True,
            )  # fmt: skip
        except FileNotFoundError:
            continue
        assert done.returncode == 0, done.stderr
        found += 1
    assert found
