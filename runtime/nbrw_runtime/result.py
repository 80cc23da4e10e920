"""What one cell of a repeat did, kept for later repeats. Pure. `docs/format/result.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.digest import Digest, canonical_json, digest_json
from nbrw_runtime.recipe import Recipe, load_document
from nbrw_runtime.records import from_json, to_json

RESULT_FORMAT = "nbrw.result"
RESULT_VERSION = 1

# Variables that change from one login, job or container to the next and that no notebook computes
# with; names that begin so.
_VOLATILE = (
    "_", "APPTAINER_", "COLUMNS", "DBUS_", "DISPLAY", "HIST", "HOSTNAME", "INVOCATION_ID",
    "JOURNAL_STREAM", "LINES", "LS_COLORS", "NBRW_", "OLDPWD", "PROMPT_COMMAND", "PS1", "PWD",
    "PYTEST_", "SHLVL", "SINGULARITY_", "SSH_", "STY", "SUDO_", "TERM", "TMPDIR", "TMUX",
    "VSCODE_", "WAYLAND_", "WINDOWID", "XDG_",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a cell depended on, and what it did.

    ``environment`` is :func:`environment_digest`, ``key`` the digest of the cell's code and of the
    versions of what it may use (`walk.key_of`). ``inputs`` are names with their versions (None: all
    names), ``conditions`` names whose version matters beside the key, ``files`` maps paths to
    digests (None: looked for in vain), ``listings`` directories to what was in them; ``hidden``
    says what effect of the cell does not show. ``title`` and ``source`` are for people.
    """

    environment: Digest
    key: str
    checkpoint: Checkpoint
    inputs: dict[str, str | None] | None = None
    conditions: dict[str, str | None] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    listings: dict[str, str] = field(default_factory=dict)
    hidden: str = ""
    title: str = ""
    source: str = ""
    format: str = RESULT_FORMAT
    version: int = RESULT_VERSION

    @property
    def identity(self) -> Digest:
        """Of what the cell depended on: of two results with the same, the later one counts."""
        found = (self.key, self.inputs, self.conditions, self.files, self.listings)
        return digest_json([str(self.environment), *found])


def write_result(result: Result) -> bytes:
    """The document's bytes; equal results give equal bytes."""
    return canonical_json(to_json(result)) + b"\n"


def read_result(data: bytes, where: str) -> Result:
    """The result in these bytes. Raises FormatError, naming a version that is not read."""
    return from_json(Result, load_document(data, RESULT_FORMAT, RESULT_VERSION, where), where)


def environment_digest(
    recipe: Recipe, variables: Mapping[str, str] | None = None, cwd: str = "", scratch: str = ""
) -> Digest:
    """The identity of what all cells of a repeat depend on: the image's software and data, how the
    kernel is started, the environment ``variables`` it gets, and the directory it works in.

    Checkpoints and the recipe do not count, so images of edited notebooks have results in common.
    Variables that name something below ``scratch`` do not count either.
    """
    layers = [
        str(layer.diff_id)
        for layer in recipe.layers
        if not layer.cells and not layer.directory and layer.name != "recipe"
    ]
    kept = {
        name: text
        for name, text in lasting_variables(variables or {}).items()
        if not scratch or scratch not in text
    }
    return digest_json([layers, to_json(recipe.environment), sorted(kept.items()), cwd])


def lasting_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that a notebook may depend on."""
    return {name: text for name, text in variables.items() if not name.startswith(_VOLATILE)}
