"""Cells and their identity."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbrw_runtime
from nbrw_runtime.errors import UsageError
from nbrw_runtime.notebook import cell_digest, code_cells, normalise, read_notebook

LINES = [
    "x = 1", "y = [1, 2,\n     3]", "def f(a):\n    if a:\n        return a\n    return 2",
    "s = '# no comment'", "z = f'{x} # {y!r:>{x}}'", "class A:\n    b = 1", "x = x if x else -x",
    "for i in range(3):\n    print(i)", '"""text\n\n# in it\n"""', "w = a @ b",
]  # fmt: skip
PROGRAMS = st.lists(st.sampled_from(LINES), min_size=1, max_size=5).map("\n".join)
PYTHONS = sorted(
    {
        found
        for minor in range(10, 14)
        for found in (
            shutil.which(f"python3.{minor}"),
            *map(str, Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(
                f"versions/3.{minor}.*/bin/python3")),
        )
        # pyenv's own are scripts that choose a Python by the directory.
        if found and "/shims/" not in found
    }
)  # fmt: skip


def comment_out(source, words):
    """The program with a comment after every logical line, where Python allows one."""
    out = []
    for line in source.split("\n"):
        out.append(line)
        try:
            compile("\n".join(out), "cell", "exec")
        except SyntaxError:
            continue
        out[-1] = line + "  # " + words
        out.append("")
    return "\n".join(out)


@given(PROGRAMS, st.text(alphabet="ab# '\"", max_size=8))
def test_comments_and_blank_lines_do_not_count(source, words):
    """Explaining a cell does not run it again."""
    if '"""' in source:
        return
    assert cell_digest(comment_out(source, words)) == cell_digest(source)


@given(PROGRAMS)
def test_trailing_space_and_line_ends_do_not_count(source):
    """Nor a notebook that was saved on Windows."""
    if '"""' in source:
        return
    spaced = "\n\n" + source.replace("\n", "   \n") + "\n\n"
    assert cell_digest(spaced) == cell_digest(source)
    assert cell_digest(source.replace("\n", "\r\n")) == cell_digest(source)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x=1", "x  =  1"),
        ("f(a,b)", "f( a, b )"),
        ("if a:\n  b", "if a:\n        b"),
        ("x = [1,2]", "x = [\n  1,  # one\n  2\n]"),
        ("f'{x}'", "f'{x}'  # why"),
    ],
)
def test_spacing_between_tokens_does_not_count(one, other):
    """A formatter changes nothing."""
    assert cell_digest(one) == cell_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("ab", "a b"),
        ("x = 1", "x = 1\ny = 2"),
        ("'a b'", "'a  b'"),
        ("f'{x}  y'", "f'{x} y'"),
        ("f'{x:>3}'", "f'{x:>4}'"),
        ("f'{x!r}'", "f'{x}'"),
        ("'# a'", "'# b'"),
        ('"""a\n# b\n"""', '"""a\n"""'),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("!ls # a", "!ls # b"),
        ("%%bash\n# a", "%%bash\n# b"),
        ("%time x = 1", "x = 1"),
        ("x", "X"),
        ("x = 1", "x = 1.0"),
        ("not a", "nota"),
        ("", "x"),
    ],
)
def test_what_a_cell_does_counts(one, other):
    """Never a wrong result: in doubt another digest."""
    assert cell_digest(one) != cell_digest(other)


@given(st.text(max_size=60))
def test_any_text_has_an_identity(source):
    """Whatever is typed into a cell."""
    assert cell_digest(source) == cell_digest(source)
    assert normalise(source).split(":", 1)[0] in ("raw", "python")


GOLDEN = {
    "x = 1": "977c2f7e",
    "!ls": "41d680f0",
    "z = f'{x} # {y!r:>{x}}'": "0da94674",
    'if a:\n    f"""{b}\n  {c:{d}}""" \'e\'': "6aaff5af",
}


def test_digests_stay_the_same():
    """They decide what a repeat of an old image restores."""
    assert {source: cell_digest(source).hex[:8] for source in GOLDEN} == GOLDEN


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from nbrw_runtime.notebook import cell_digest
print([cell_digest(source).hex for source in eval(sys.argv[2])])
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_other_pythons_compute_the_same_digests(python):
    """The builder's Python, the notebook's and the image's may differ; 3.12 splits f-strings."""
    sources = [*LINES, *GOLDEN, 'f"{x}" f"{y:{z}}" "w"', "f'''{\n  x\n}'''", "rf'{a}\\d{{}}'"]
    argv = [python, "-I", "-c", SCRIPT, str(Path(nbrw_runtime.__file__).parent.parent)]
    said = subprocess.check_output([*argv, repr(sources)], text=True)
    assert said.strip() == str([cell_digest(source).hex for source in sources]), sys.version


def test_code_cells_are_numbered_from_1_in_order():
    """Markdown does not count, empty code cells do; sources may be lists of lines."""
    cells = code_cells(
        {
            "cells": [
                {"cell_type": "markdown", "source": "# title"},
                {"cell_type": "code", "id": "a", "source": ["x = 1\n", "y"], "metadata": {}},
                {"cell_type": "code", "source": "", "metadata": {"tags": ["t"]}},
                {"cell_type": "raw", "source": "raw"},
                {"cell_type": "code"},
            ]
        }
    )
    assert [(c.number, c.id, c.source, c.tags) for c in cells] == [
        (1, "a", "x = 1\ny", ()), (2, "", "", ("t",)), (3, "", "", ()),
    ]  # fmt: skip


def test_a_notebook_is_read(tmp_path):
    """nbformat 4, as it is."""
    value = {"cells": [], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    (tmp_path / "n.ipynb").write_text(json.dumps(value))
    assert read_notebook(tmp_path / "n.ipynb") == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a notebook"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"worksheets": [], "nbformat": 3}', "nbconvert"),
        (b'{"cells": [], "nbformat": 5}', "nbformat 5"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content, said):
    """The message names the file and what is wrong with it."""
    (tmp_path / "n.ipynb").write_bytes(content)
    with pytest.raises(UsageError, match=said) as error:
        read_notebook(tmp_path / "n.ipynb")
    assert "n.ipynb" in str(error.value)


def test_a_missing_notebook_is_refused(tmp_path):
    """Not a traceback."""
    with pytest.raises(UsageError, match="No such file"):
        read_notebook(tmp_path / "n.ipynb")
