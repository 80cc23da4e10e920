"""What comes back right in a new process, attempt by attempt: by Kishu, and by nbrw.

    python benchmarks/checkpoint/limits.py [--kishu PYTHON] [--only TEXT]

Each attempt's cells run in the tool; another process brings their state back and asks a question.
Kishu: `init_kishu()` and a checkout of the last commit. nbrw: a repeat of the notebook with the
question as one cell more, in another directory. Right is what a run without any tool gives.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import run
from attempts import ATTEMPTS

HERE = Path(__file__).resolve().parent
SHOWN = 110


def main() -> None:
    """Try and print; or, in a process of its own, record or ask."""
    if sys.argv[1:2] in (["record"], ["ask"]):
        child(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kishu", type=Path, help="a Python that has Kishu")
    parser.add_argument("--only", default="", help="attempts whose title contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        kishu = options.kishu or run.install_kishu(Path(directory, "kishu"))
        print("| in a new process | right | Kishu | nbrw |\n|---|---|---|---|")
        for number, attempt in enumerate(ATTEMPTS):
            if options.only not in attempt.title:
                continue
            plain, ours = outcome(sys.executable, "nbrw", number, Path(directory, f"n{number}"))
            then, theirs = outcome(str(kishu), "kishu", number, Path(directory, f"k{number}"))
            right = attempt.answer or plain
            told = verdict(right, theirs)
            if then != plain:
                told = f"the recorded run itself: {verdict(plain, then)}; restored: {told}"
            print(f"| {attempt.title} | {right} | {told} | {verdict(right, ours)} |", flush=True)


def outcome(python: str, tool: str, number: int, place: Path) -> tuple[str, str]:
    """The answer at once, and the one that the restored state gives."""
    attempt = ATTEMPTS[number]
    place.mkdir()
    for name, text in attempt.files.items():
        (place / name).write_text(text)
    first = process(python, "record", tool, number, place)
    if attempt.between:
        attempt.between(place)
    moved = place.with_name(place.name + "-moved")
    found = process(python, "ask", tool, number, moved if moved.exists() else place)
    return first, found


def process(python: str, action: str, tool: str, number: int, place: Path) -> str:
    """The answer's text."""
    paths = [os.environ.get("PYTHONPATH", ""), str(HERE.parents[1] / "runtime")]
    variables = {**os.environ, "PYTHONPATH": ":".join(path for path in paths if path)}
    command = [python, __file__, action, tool, f"{number}:{place}"]
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True)
    lines = done.stdout.decode().splitlines()
    answers = [line.removeprefix("answer: ") for line in lines if line.startswith("answer: ")]
    if answers:
        return answers[-1]
    text = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
    return f"fails: {text[-1]}"


def verdict(right: str, found: str) -> str:
    """What to print of an answer."""
    if found == right:
        return "right"
    text = found if found.startswith("fails") else f"**{found}**"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def child(action: str, tool: str, what: str) -> None:
    """Record an attempt, or bring it back and ask; prints the answer."""
    number, _, directory = what.partition(":")
    place, attempt = Path(directory), ATTEMPTS[int(number)]
    os.environ["IPYTHONDIR"] = str(place / ".ipython")
    os.chdir(place)
    module: Any = __import__(f"limits_{tool}")
    answer = getattr(module, action)(place, attempt)
    sys.stdout.write(f"\nanswer: {answer}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
