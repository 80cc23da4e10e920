"""Which global names a cell's source may use. Pure, and always an over-approximation."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nbrw_runtime.ipython_lines import RUNS_PROGRAMS, without_magics

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
# Whoever mentions one of these may use any name there is.
_DYNAMIC_NAMES = {
    "__builtins__", "__import__", "__main__", "builtins", "compile", "dir", "eval", "exec",
    "get_ipython", "globals", "importlib", "inspect", "locals", "vars",
}  # fmt: skip
#: Functions and methods that look up names in their caller's frame, by a text: pandas' ``query``
#: and ``eval``, numexpr's ``evaluate``, ``sql`` of duckdb and polars.
FRAME_READERS = frozenset({"query", "eval", "evaluate", "sql"})
#: Others whose first argument is a formula that they look up so: patsy's, formulaic's and
#: statsmodels'. (Some are functions of numbers elsewhere: they have one argument then.)
FORMULA_READERS = frozenset(
    {
        "dmatrices", "dmatrix", "from_formula", "gee", "glm", "gls", "logit", "mixedlm", "mnlogit",
        "model_matrix", "ols", "phreg", "probit", "quantreg", "rlm", "wls",
    }
)  # fmt: skip
#: The notebook, as a module.
MAIN = "__main__"
#: Functions that look for what is in their caller's module, or that run a text there.
CALLER_READERS = frozenset(
    {
        "TestProgram", "get_type_hints", "loadTestsFromModule", "loadTestsFromName",
        "run_docstring_examples", "runctx", "testmod",
    }
)  # fmt: skip
_CALLER_READING = frozenset({"unittest.main", "cProfile.run", "profile.run", "pdb.run"})
#: The module whose programs may do with files what no code shows.
SUBPROCESS = "subprocess"
#: Functions and methods that ask about a file without opening it, which no trace shows.
FILE_QUESTIONS = frozenset(
    {
        "access", "exists", "getmtime", "getsize", "is_dir", "is_file", "isdir", "isfile",
        "is_symlink", "islink", "iterdir", "lexists", "lstat", "popen", "readlink", "rglob",
        "samefile", "scandir", "stat", "system", "walk", SUBPROCESS,
    }
)  # fmt: skip
#: Those of them that list directories, which is seen where it happens in Python.
LISTERS = frozenset({"iterdir", "rglob", "scandir", "walk"})
#: Those that list directories. A text with a wildcard counts as ``glob``: libraries take them.
LISTING_WORDS = frozenset(
    {
        "fwalk", "glob", "iglob", "iterdir", "listdir", "make_archive", "popen", "rglob", "scandir",
        "system", "walk", SUBPROCESS,
    }
)  # fmt: skip
_WILDCARD = re.compile(r"[^\n]{0,400}[*?]|\.{1,2}/?\Z")
#: Those that set or read the state of a random generator without drawing from it.
GENERATOR_WORDS = frozenset(
    {"bit_generator", "get_state", "getstate", "manual_seed", "seed", "set_state", "setstate"}
)
_TELLING = FILE_QUESTIONS | GENERATOR_WORDS | LISTING_WORDS
_MODULES = "sys.modules"
# Whoever reads one of these may see the result, or the text, of any cell before.
_OUTPUTS = re.compile(r"(_{1,3}|_\d+|_i{1,3}|_i\d+|_ih|_oh|_dh|In|Out)\Z")


#: Names that begin so stand for state outside the namespace (`state_providers.py`).
PREFIX = "<nbrw:"
_LOCAL_MODULE = f"{PREFIX}module "
#: Among the names that a function refers to: it may use any.
ANY_NAME = f"{PREFIX}any name>"
_CHANGES_BY = f"{PREFIX}changes by "


# Magics that run code, or show what names there are; ``a*?`` does, too.
_DYNAMIC_MAGICS = re.compile(
    r"%(?:run|load\w*|who\w*|history|hist|psearch|recall|rerun|macro|save|notebook|store|reset\w*)"
    r"\b|^[ \t]*\??[\w.]*\*[\w.*]*\?*[ \t]*$",
    re.MULTILINE,
)
#: ``%%time`` and ``%%capture NAME``, which binds it.
_TRANSPARENT = re.compile(
    r"\A%%(?:time|capture(?:[ \t]+(?:--no-\w+[ \t]+)*([^\W\d]\w*))?)[ \t]*(?=\n)"
)


def has_wildcard(value: object) -> bool:
    """Whether a constant is a text that may stand for the files of a directory."""
    return isinstance(value, str) and _WILDCARD.match(value) is not None


def definition(name: str) -> str:
    """What functions and classes of this name refer to, whatever they are bound to."""
    return f"{PREFIX}def {name}>"


def local_module(name: str) -> str:
    """Stands for the content of a module that the notebook brings along."""
    return f"{_LOCAL_MODULE}{name}>"


def is_local_module(name: str) -> bool:
    """Whether this stands for such a module."""
    return name.startswith(_LOCAL_MODULE)


def changes_by(name: str) -> str:
    """Says that a module of the notebook's own may change what it keeps by this name in it."""
    return f"{_CHANGES_BY}{name}>"


def changed_by(name: str) -> str:
    """The name of which this says so; empty: it says something else."""
    return name[len(_CHANGES_BY) : -1] if name.startswith(_CHANGES_BY) else ""


@dataclass(frozen=True)
class Names:
    """``used`` are identifiers that may be read or written; ``dynamic``: it may be any name.

    ``bound`` are those that are only written: what they held before does not matter. ``history``:
    it may look at results by the number of their cell.
    """

    used: frozenset[str]
    dynamic: bool = False
    bound: frozenset[str] = frozenset()
    history: bool = False


@functools.lru_cache(maxsize=8)
def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, which nobody changes; None if it is not plain Python.

    Below ``%%time`` and ``%%capture`` it may be: they run the rest of the cell as it is. The last
    few are kept, as a cell is looked at for its names and then for its effects.
    """
    try:
        return ast.parse(_seen_through(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _seen_through(source: str) -> str:
    if not source.startswith("%%"):
        return source
    return _TRANSPARENT.sub(lambda found: f"{found[1]} = 0" if found[1] else "", source)


@functools.lru_cache(maxsize=8)
def python_of(source: str) -> ast.Module | None:
    """The same; lines that only IPython understands are left out."""
    return parsed(source) or without_magics(_seen_through(source))


@functools.lru_cache(maxsize=4096)
def names_of(source: str) -> Names:
    """The names that a cell with this source may use.

    Source that is not plain Python (magics, shell escapes) uses every identifier in its text, and
    any name if it has a cell magic or ``%run``.
    """
    tree = parsed(source)
    if tree is None:
        words = frozenset(words_of(source))
        if RUNS_PROGRAMS.search(source):
            words |= {"exists", "glob"}
        dynamic = "%%" in source or _DYNAMIC_MAGICS.search(source) is not None
        tree = python_of(source)
        if tree is not None:
            inside = _names_in(tree)
            words |= inside.used
            dynamic = dynamic or inside.dynamic
        return _names(words, words, dynamic)
    return _names_in(tree)


def _names_in(tree: ast.Module) -> Names:
    read: set[str] = set()
    written: set[str] = set()
    star = False
    compared: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words, any_name = _looked_up(node)
            read |= words
            star = star or any_name
        if isinstance(node, ast.Attribute):
            if node.attr in _TELLING and _dotted(node) != "platform.system":
                read.add(node.attr)
            if node.attr == "modules":
                read.add(_MODULES)
        elif isinstance(node, ast.Constant):
            if has_wildcard(node.value):
                read.add("glob")
            read |= words_of_formula(node.value)
            star = star or (node not in compared and mentions_main(node.value))
        elif isinstance(node, ast.Name):
            (written if isinstance(node.ctx, ast.Store) else read).add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            read.add(node.target.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            read.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            star = star or any(alias.name == "*" for alias in node.names)
            star = star or getattr(node, "module", None) == MAIN
            written.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            written.add(node.name)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)):
            written.update(filter(None, [node.name]))
        elif isinstance(node, ast.MatchMapping):
            written.update(filter(None, [node.rest]))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides):
                compared.update(sides)  # `if __name__ == "__main__"` looks nothing up
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.Constant):
                read |= words_of(str(annotation.value))
    star = star or {_MODULES, "__name__"} <= read
    read.discard(_MODULES)
    return _names(frozenset(read | written), frozenset(read), star, frozenset(written - read))


def _looked_up(call: ast.Call) -> tuple[set[str], bool]:
    """The words in texts that a call looks up as names, and whether there may be others."""
    name = _name_of(call.func)
    if name in CALLER_READERS or _dotted(call.func) in _CALLER_READING:
        return set(), True
    if name in FRAME_READERS:
        texts = [found.value for found in call.args if isinstance(found, ast.Constant)]
        others = len(texts) < len(call.args) or bool(call.keywords)
    elif name in FORMULA_READERS:
        given = [*call.args, *(key.value for key in call.keywords if key.arg == "formula")]
        texts = [found.value for found in given[:1] if isinstance(found, ast.Constant)]
        others = not texts and len(call.args) + len(call.keywords) > 1
    else:
        return set(), False
    return set().union(*(words_of(str(text)) for text in texts)), others


def _name_of(function: ast.expr) -> str:
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _dotted(node: ast.expr) -> str:
    return f"{_name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def mentions_main(value: object) -> bool:
    """Whether a constant is a text that names the notebook as a module."""
    return isinstance(value, str) and MAIN in value


def words_of_formula(value: object) -> set[str]:
    """The words of a constant that may be a formula, such as ``y ~ f(x)``; of others: none."""
    if isinstance(value, str) and "~" in value and "~/" not in value:
        return words_of(value)
    return set()


def words_of(text: str) -> set[str]:
    """All identifiers in a text."""
    return set(_IDENTIFIER.findall(text))


def _names(
    used: frozenset[str],
    read: frozenset[str],
    dynamic: bool,
    bound: frozenset[str] = frozenset(),
) -> Names:
    history = any(_OUTPUTS.match(name) for name in read)
    return Names(used, dynamic or history or bool(used & _DYNAMIC_NAMES), bound, history)


def is_dynamic(names: Names, refers: Mapping[str, Iterable[str]]) -> bool:
    """Whether code that mentions these may use any name: by itself, or by a function that it calls.

    ``refers`` are the names that each name refers to: :data:`ANY_NAME` is one of those.
    """
    return names.dynamic or ANY_NAME in reach(names.used, refers)


def reach(used: Iterable[str], refers: Mapping[str, Iterable[str]]) -> set[str]:
    """These names, and those that the functions among them refer to, directly or not."""
    seen: set[str] = set()
    todo = list(used)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(refers.get(name, ()))
    return seen
