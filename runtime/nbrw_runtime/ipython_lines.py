"""The Python in a cell that has lines of IPython's own: magics, shell lines, questions. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

#: Lines that run programs, which list and look for files as they like.
RUNS_PROGRAMS = re.compile(
    r"^[ \t]*(?:[\w.,\[\]() \t]*=[ \t]*)?(?:!|%(?:ls|ll|sx|system|sc)\b)", re.MULTILINE
)
# Lines that only IPython understands: `%magic`, `!command`, `x = %magic`, `?name`, `name??`.
_LINE = re.compile(
    r"(?P<indent>\s*)(?:(?P<left>[^=\s!%?#'\"][^=!%?#'\"]*)=\s*(?=[%!]))?"
    r"(?:%(?P<magic>\w+)(?P<rest>.*)|!.*|\?{1,2}\s*[\w.%*]+\s*|%{0,2}[\w.*]+\s*\?{1,2}\s*)\Z",
    re.DOTALL,
)
# These start a call of the rest of the line, or are the prompts of a session.
_OTHER = re.compile(r"^\s*(?:[/,;]|>>>|In \[)", re.MULTILINE)
# Magics whose line is a statement, after their options.
_MEASURING = frozenset({"timeit", "prun", "memit", "mprun", "lprun"})
_OPTIONS = re.compile(r"\s*(?:-[a-zA-Z](?:\s*[\d.]+|\s+[\w.]+(?=\s))?\s+)*")
_CELL_MAGIC = re.compile(r"\A\s*%%(?:timeit|prun|memit|mprun|lprun)\b[^\n]*")


def without_magics(source: str) -> ast.Module | None:
    """The syntax tree of a cell whose lines for IPython are left out.

    What ``%time`` and its like run stays. None: there are others, or it is no Python.
    """
    lines = list(_joined(_CELL_MAGIC.sub(_measured_cell, source)))
    indent = re.match(r"[ \t]*", next((line for line in lines if line.strip()), ""))
    if indent and indent[0]:
        lines = [line.removeprefix(indent[0]) for line in lines]
    for _ in range(len(lines) + 1):
        try:
            return ast.parse("\n".join(lines))
        except SyntaxError as problem:
            number = _line_of(lines, problem.lineno or 0)
            plain = _plain(lines[number]) if number is not None else None
            if number is None or plain is None:
                return None
            lines[number] = plain
        except (ValueError, RecursionError, MemoryError):
            return None
    return None


def has_other_lines(source: str) -> bool:
    """Whether a cell that is no Python may do something all the same: IPython may understand it."""
    return bool(_OTHER.search(source)) or any(_LINE.match(line) for line in source.split("\n"))


def _joined(source: str) -> Iterator[str]:
    # A backslash continues a magic's line, too.
    held = ""
    for line in source.split("\n"):
        if line.endswith("\\") and (held or _LINE.match(line)):
            held += line[:-1] + " "
        else:
            yield held + line
            held = ""
    if held:
        yield held


def _line_of(lines: list[str], number: int) -> int | None:
    # (A line may hold several after others were replaced.)
    for index, line in enumerate(lines):
        number -= line.count("\n") + 1
        if number <= 0:
            return index
    return None


def _measured_cell(found: re.Match[str]) -> str:
    return found[0].lstrip().replace("%%", "%", 1)


def _plain(line: str) -> str | None:
    """What a line for IPython does as Python; None if it is no such line."""
    found = _LINE.match(line)
    if found is None:
        return None
    indent, left, magic = found["indent"], found["left"], found["magic"]
    text = ""
    if magic == "time":
        text = found["rest"].strip()
    elif magic in _MEASURING:
        text = _OPTIONS.sub("", found["rest"], count=1).strip()
        # What it measures is not called for its effect.
        text = f"({text},)" if text and _is_expression(text) else text
    if left:
        text = text if text and _is_expression(text) else "None"
        return f"{indent}{left}= {text}"
    return indent + (text or "pass")


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
