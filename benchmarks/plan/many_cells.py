"""A notebook of many small cells in a session that audits; prints the seconds after each cell.

python many_cells.py KIND CELLS
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1] / "checkpoint"))

import drive
import tool_nbrw
from bench_notebooks import Cell, Notebook

IMPORTS = Cell("import numpy as np", ())
MANY = "\n".join(f"v{n} = [{n}]" for n in range(10_000))


def constant(cells: int) -> list[str]:
    """The namespace stays as large as it is."""
    return [f"x{n % 10} = [{n}, 'text']" for n in range(cells)]


def growing(cells: int) -> list[str]:
    """Each cell adds ten names, and reads one of the cell before."""
    first = ["\n".join(f"v0_{index} = [{index}]" for index in range(10))]
    return first + [
        "\n".join(f"v{n}_{index} = [v{n - 1}_{index}[0] + 1]" for index in range(10))
        for n in range(1, cells)
    ]


def large(cells: int) -> list[str]:
    """10,000 names are there from the start; each cell changes one of them in place."""
    return [MANY] + [f"v{n}.append({n})" for n in range(cells)]


KINDS = {
    "the same 10 names": constant,
    "10 names more each time": growing,
    "10,000 names from the start": large,
}


def main() -> None:
    """Run the notebook."""
    kind, cells = sys.argv[1], int(sys.argv[2])
    texts = KINDS[kind](cells)
    setup = 1 + len(texts) - cells
    made = tuple(Cell(text, ()) for text in texts)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["IPYTHONDIR"] = f"{directory}/ipython"
        os.chdir(directory)
        shell = drive.make_shell()
        tool = tool_nbrw.Tool("nbrw", Path(directory))
        found = drive.record(tool, Notebook("many", kind, (IMPORTS, *made), setup), shell)
        os.chdir("/")
    sys.stdout.write(json.dumps(found["hooks"]) + "\n")


if __name__ == "__main__":
    main()
