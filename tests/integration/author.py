"""The author of the climate example: ada, whose home and environment lie in /home/ada.

Her machine is this one, seen from a mount namespace in which /home is a file system of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from notebook_helper import ROOT, command, environment

_SHELL = """
mount -t tmpfs none /home && mkdir /home/ada && mount --bind "$1" /home/ada
cd /home/ada/"$2"
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Author:
    """``home`` is where her home really is; ``cache`` her cache."""

    home: Path
    cache: Path

    @classmethod
    def make(cls, place: Path) -> Author:
        """Give her a project with the example and its data, and an environment."""
        author = cls(place / "home", place / "cache")
        (author.home / "proj").mkdir(parents=True)
        shutil.copy(ROOT / "examples/climate.ipynb", author.home / "proj")
        data = str(author.home / "proj/data/climate")
        script = str(ROOT / "examples/make_climate_data.py")
        subprocess.run([sys.executable, script, data], check=True, stdout=subprocess.DEVNULL)
        author.run("", sys.executable, "-m", "venv", "--without-pip", "env")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = author.home / "env/lib" / version / "site-packages/packages.pth"
        site.write_text(sysconfig.get_paths()["purelib"] + "\n")
        return author

    def run(self, directory: str, *argv: object) -> subprocess.CompletedProcess[str]:
        """Run a program as she would, in a directory of her home. It must succeed."""
        words = ["unshare", "--mount", "sh", "-c", _SHELL, "sh", str(self.home), directory]
        variables = environment(HOME="/home/ada", XDG_CACHE_HOME=str(self.cache))
        done = subprocess.run(
            [*words, *map(str, argv)], env=variables, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def build(self, out: str, *argv: object, notebook: str = "climate.ipynb") -> dict:
        """nbrw-build in her project; returns what --json prints. ``out`` is below ~/proj."""
        python = "/home/ada/env/bin/python"
        words = [*command("nbrw-build"), notebook, "-o", out, "-k", python, "--json", *argv]
        return json.loads(self.run("proj", *words).stdout)

    def edit_last_cell(self) -> None:
        """Change what the last cell prints."""
        path = self.home / "proj/climate.ipynb"
        notebook = json.loads(path.read_text())
        last = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][-1]
        last["source"] = ["".join(last["source"]), "\nprint('edited')"]
        path.write_text(json.dumps(notebook))


def may_mount() -> bool:
    """Whether this process may make mount namespaces, as root on most machines may."""
    return os.geteuid() == 0
