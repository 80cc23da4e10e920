"""A notebook executed headless, as `jupyter execute` does it, in the directory it lies in.

    python plain.py NOTEBOOK OUT

No nbrw: this is what repeats are measured against, and what their outputs must equal.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(path: Path, out: Path) -> None:
    """Execute and write."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, resources=where).execute()
    nbformat.write(notebook, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
