"""Five notebooks of dask/dask-examples: built here, repeated from the middle at the target site.

    python tests/site/dask_examples.py CHECKOUT [--only NAME]

CHECKOUT is a clone (bare or not) of https://github.com/dask/dask-examples. Needs root, for the
site, and in this environment what the notebooks import. Prints a Markdown table; the results,
with reasons, are in `docs/compatibility.md`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from site_helper import start_site  # noqa: E402

NOTEBOOKS = ("array", "bag", "futures", "machine-learning", "dataframes/01-data-access")


def repeated(checkout: Path, name: str, place: Path) -> str:
    """Build and repeat one; its row of the table."""
    place.mkdir()
    path = place / f"{Path(name).name}.ipynb"
    show = ["git", "-C", str(checkout), "show", f"HEAD:{name}.ipynb"]
    path.write_bytes(subprocess.run(show, check=True, stdout=subprocess.PIPE).stdout)
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    middle = (len(cells) + 1) // 2
    image = place / f"{path.stem}.sif"
    build = [sys.executable, "-m", "nbrw_builder.cli", "build", path.name, "-o", image.name, "-q"]
    subprocess.run(build, cwd=place, check=True, stdin=subprocess.DEVNULL)
    there = start_site()
    shutil.copy(image, there.share)
    script = (
        'd=$(mktemp -d); cd "$d"; apptainer run "/share/$1" repeat --from "$2" --json; e=$?; '
        'cd /; rm -rf "$d"; exit $e'
    )
    words = ("bash", "-c", script, "repeat", image.name, str(middle))
    done = there.run(*words, check=False, timeout=900)
    (there.share / image.name).unlink()
    if done.returncode:
        return f"| {name} | {len(cells)} | {middle} | FAILED | {done.stderr.strip()[-300:]} |"
    report = json.loads(done.stdout)
    actions = [cell["action"] for cell in report["cells"]]
    counts = [f"{actions.count(a)} {a}" for a in ("restored", "run", "skipped") if a in actions]
    differ = ", ".join(str(c["cell"]) for c in report["cells"] if c.get("outputs") == "different")
    return f"| {name} | {len(cells)} | {middle} | {', '.join(counts)} | {differ or 'none'} |"


def main() -> None:
    """Go through the notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", help="the notebook with this name")
    options = parser.parse_args()
    print("| notebook | cells | repeated from | result | outputs that differ |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for name in NOTEBOOKS:
            if options.only in (None, name):
                place = Path(directory, Path(name).name)
                print(repeated(options.checkout, name, place), flush=True)


if __name__ == "__main__":
    main()
