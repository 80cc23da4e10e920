"""Whether a function's code may use any global name, as a cell may that calls ``eval``. Pure.

Told from the bytecode: of a method or a local name that is called like a function of Python's own
(``re.compile``), nothing follows.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Sequence

from nbrw_runtime.names import (
    CALLER_READERS,
    FORMULA_READERS,
    FRAME_READERS,
    MAIN,
    mentions_main,
)

# Global names whose mention says so. (Without an argument `dir`, `locals` and `vars` give what is
# local to a function, and with one what is inside that.)
_GLOBALS = frozenset(
    {
        "__builtins__", "__import__", "__main__", "builtins", "compile", "eval", "exec",
        "get_ipython", "globals", "importlib",
    }
)  # fmt: skip
# Attributes: frames lead to their globals.
_FRAMES = frozenset({"_getframe", "currentframe", "f_globals", "getmodule", "stack"})
_LOADS_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_NO_STEP = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "KW_NAMES", "EXTENDED_ARG"})


def may_use_any_name(code: types.CodeType) -> bool:
    """Whether this code, without the functions inside it, may look at any global name."""
    names = set(code.co_names)
    if any(map(mentions_main, code.co_consts)):
        return True
    if MAIN in names or {"modules", "__name__"} <= names or names & CALLER_READERS:
        return True
    if names & _FRAMES and names & {"inspect", "sys", "_getframe", "currentframe", "f_globals"}:
        return True
    if names.isdisjoint(_GLOBALS | FRAME_READERS | FORMULA_READERS):
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEP]
    return any(_is_open(steps, index) for index in range(len(steps)))


def _is_open(steps: Sequence[dis.Instruction], index: int) -> bool:
    step = steps[index]
    name = step.argval
    if not isinstance(name, str):
        return False
    is_global = step.opname in _LOADS_GLOBAL
    if is_global and name in _GLOBALS:
        return True
    if not is_global and not _is_method(step):
        return False
    if name in FORMULA_READERS:
        after = steps[index + 1 : index + 3]
        given = [s for s in after[:1] if s.opname.startswith(("LOAD_CONST", "CALL"))]
        one = after[-1].opname.startswith("CALL") and after[-1].arg == 1
        return not given and not one
    if name not in FRAME_READERS:
        return False
    if name == "evaluate" and not is_global and steps[index - 1].opname not in _LOADS_GLOBAL:
        return False  # a model's: numexpr is a module
    for following in steps[index + 1 :]:
        if following.opname.startswith("CALL"):
            return False
        if not following.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            return True
    return False


def _is_method(step: dis.Instruction) -> bool:
    if step.opname == "LOAD_METHOD":
        return True
    called = sys.version_info >= (3, 12) and step.arg is not None and bool(step.arg & 1)
    return step.opname == "LOAD_ATTR" and called
