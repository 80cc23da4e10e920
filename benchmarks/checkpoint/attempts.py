"""What is hard to bring back: cells, and a question with one right answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Attempt:
    """Cells, and an expression asked after them in another process.

    Right is what it gives at once after the cells; ``answer`` is what is right where ``between``
    does something to the recorded directory before the restore.
    """

    title: str
    cells: tuple[str, ...]
    question: str
    files: dict[str, str] = field(default_factory=dict)
    between: Callable[[Path], None] | None = None
    answer: str = ""


def _longer(place: Path) -> None:
    """Another content of the data file, of the same size and time, wherever it is."""
    for path in place.rglob("data.csv"):
        status = path.stat()
        path.write_text("7,8,9")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _lost(place: Path) -> None:
    """The written file is not there any more."""
    for path in place.rglob("out.txt"):
        path.unlink()


def _moved(place: Path) -> None:
    """All is somewhere else now."""
    target = place.with_name(place.name + "-moved")
    shutil.move(place, target)


def _flipped(place: Path) -> None:
    """A bit of the stored array is another one."""
    pattern = b"\x00\x00\x00\x00\x00\x4a\x93\x40" * 4  # 1234.5, four times
    for path in place.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        found = data.find(pattern)
        if found >= 0:
            path.chmod(0o644)
            path.write_bytes(data[: found + 6] + b"\x92" + data[found + 7 :])


ATTEMPTS = (
    Attempt(
        "names that share an object, from two cells",
        ("a = [1]", "b = {'a': a}"),
        "b['a'] is a",
    ),
    Attempt(
        "an array and a view of it",
        ("import numpy as np\nx = np.zeros(5000)", "y = x[1:3000]"),
        "[y.__setitem__(0, 7.0), float(x[1])][1]",
    ),
    Attempt(
        "an object changed through a module that holds it",
        ("import json\nx = [0]\njson.stash = x", "json.stash.append(1)"),
        "x",
    ),
    Attempt(
        "an object changed by a thread, later",
        (
            "import threading, time\nx = [0]\nthreading.Timer(0.3, x.append, [1]).start()",
            "time.sleep(0.8)",
        ),
        "x",
    ),
    Attempt(
        "a list that a cell appends to, using a function of another cell",
        (
            "settings = {}\nhistory = []",
            "def f(x):\n    return x + len(settings)",
            "settings['width'] = 2",
            "history.append(f(1))",
        ),
        "history",
    ),
    Attempt(
        "a generator, half consumed",
        ("g = (i * i for i in range(9))", "first = next(g), next(g)"),
        "next(g)",
    ),
    Attempt("names that begin with an underscore", ("_cache = {'k': 1}", "x = 1"), "_cache['k']"),
    Attempt(
        "the result of a cell, by Out", ("{'k': [1, 2]}", "x = 1"), "list(Out.values())[-1]['k']"
    ),
    Attempt(
        "the state of random",
        ("import random\nrandom.seed(3)", "x = random.random()"),
        "random.random()",
    ),
    Attempt(
        "the environment, a pandas option",
        (
            "import os\nimport pandas as pd\nos.environ['MODE'] = 'fast'",
            "pd.set_option('display.precision', 3)",
        ),
        "[os.environ.get('MODE'), pd.get_option('display.precision')]",
    ),
    Attempt(
        "the working directory",
        ("import os\nos.makedirs('sub')\nos.chdir('sub')", "x = 1"),
        "os.path.basename(os.getcwd())",
    ),
    Attempt(
        "a file that a cell wrote, lost since",
        ("open('out.txt', 'w').write('42')", "x = 1"),
        "open('out.txt').read()",
        between=_lost,
    ),
    Attempt(
        "data that changed since, same size and time",
        ("total = sum(map(int, open('data.csv').read().split(',')))",),
        "total",
        files={"data.csv": "1,2,3"},
        between=_longer,
        answer="24",
    ),
    Attempt(
        "a bit that flipped on disk",
        ("import numpy as np\nx = np.full(5000, 1234.5)", "y = 1"),
        "float(x.max() - x.min())",
        between=_flipped,
        answer="0.0",
    ),
    Attempt("a store in another place", ("x = list(range(5))", "y = 1"), "x", between=_moved),
    Attempt(
        "a class of a cell, and its instances",
        ("class P:\n    def __init__(self, x):\n        self.x = x", "p = P([3])"),
        "[p.x, isinstance(p, P)]",
    ),
)
