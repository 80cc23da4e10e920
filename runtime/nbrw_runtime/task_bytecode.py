"""What a code object does, in canonical form: no file name, lines, docstring or comments. Pure.

Two code objects with equal canonical bytes do the same under the same Python minor version, given
equal globals, closures and defaults. Local variables keep their names: ``locals()`` shows them.
"""

from __future__ import annotations

import dis
import marshal
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_CONST = frozenset(dis.hasconst)
_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
# NOPs only keep lines apart for a debugger; caches are the interpreter's own.
_SKIPPED = frozenset({"EXTENDED_ARG", "NOP", "CACHE"})
_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES_GLOBAL = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_BETWEEN = frozenset({"PRECALL", "PUSH_NULL", "NOT_TAKEN"})
_STORES = frozenset({"STORE_ATTR", "DELETE_ATTR"})
_COPIES = frozenset({"COPY", "DUP_TOP"})
#: See ``calls`` of `CodeFacts`.
ASSIGNED = " ="
_BEFORE_CALL = frozenset({"PRECALL", "KW_NAMES"})
_BY_NAME = frozenset({"CALL_FUNCTION_KW", "CALL_KW"})
_THIS_MOMENT = ("now", "today")
# What changes an object in place: instructions, names of functions and methods, and of options.
_CHANGES = frozenset(
    {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_ATTR", "DELETE_ATTR"}
)  # fmt: skip
CHANGERS = frozenset(
    {"append", "appendleft", "add", "clear", "copyto", "delattr", "delitem", "difference_update",
     "discard", "extend", "extendleft", "fill", "fill_diagonal", "heapify", "heappop", "heappush",
     "insert", "insort", "intersection_update", "isetitem", "itemset", "move_to_end", "partition",
     "place", "pop", "popitem", "popleft", "put", "put_along_axis", "putmask", "remove", "resize",
     "reverse", "rotate", "setattr", "setdefault", "setfield", "setflags", "setitem", "shuffle",
     "sort", "symmetric_difference_update", "update", "__setattr__", "__setitem__", "__dict__"}
)  # fmt: skip
_OPTIONS = frozenset({"inplace", "out", "copy", "overwrite_a", "overwrite_b", "overwrite_x"})
_HAS_DOCSTRING = 0x4000000  # a flag since Python 3.13
# What a class body notes of its own text.
_ABOUT_TEXT = frozenset({"__firstlineno__", "__static_attributes__", "__doc__"})


@dataclass
class CodeFacts:
    """``canonical``: the bytes. The rest is of the code and of the code objects inside it.

    ``reads``: global names, in order of first use; ``writes``: those that it assigns; ``imports``:
    (module, names from it); ``attributes``: all attribute names; ``strings``: constants;
    ``calls``: (dotted path from a global or an import inside, called without an argument or with
    one that says no more), and paths that it assigns or deletes, with ``ASSIGNED`` at the end;
    ``changes``: it may change in place what it is given.
    """

    canonical: bytes
    reads: dict[str, None] = field(default_factory=dict)
    writes: dict[str, None] = field(default_factory=dict)
    imports: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    strings: list[str] = field(default_factory=list)
    calls: list[tuple[str, bool]] = field(default_factory=list)
    changes: bool = False


def code_facts(code: types.CodeType) -> CodeFacts:
    """All that this module can tell of a code object."""
    facts = CodeFacts(b"")
    out = bytearray()
    _add(code, out, facts, {})
    facts.canonical = bytes(out)
    names = {*facts.attributes, *facts.reads, *(n for _, some in facts.imports for n in some)}
    facts.changes |= not (CHANGERS.isdisjoint(names) and _OPTIONS.isdisjoint(facts.strings))
    return facts


def _add(code: types.CodeType, out: bytearray, facts: CodeFacts, imported: dict[str, str]) -> None:
    imported = dict(imported)  # local name -> dotted path of what an import bound it to
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SKIPPED]
    offsets = _positions(code)
    _note(steps, facts, imported)
    head = (
        "code", code.co_name, code.co_flags & ~_HAS_DOCSTRING, code.co_argcount,
        code.co_posonlyargcount, code.co_kwonlyargcount, code.co_names, code.co_varnames,
        code.co_freevars, code.co_cellvars, getattr(code, "co_exceptiontable", b""), len(steps),
    )  # fmt: skip
    out += marshal.dumps(head, 2)
    silent = {
        number - 1
        for number, step in enumerate(steps)
        if step.opname == "STORE_NAME" and step.argval in _ABOUT_TEXT
    }
    for number, step in enumerate(steps):
        if step.opcode in _CONST:
            value = None if number in silent else code.co_consts[step.arg or 0]
            out += marshal.dumps(step.opname, 2)
            _add_constant(value, out, facts, imported)
        elif step.opcode in _JUMPS:
            out += marshal.dumps((step.opname, offsets.get(step.argval, step.argval)), 2)
        else:
            out += marshal.dumps((step.opname, step.arg), 2)


def _positions(code: types.CodeType) -> dict[int, int]:
    """Offset in the bytecode -> number of the first instruction there or after that counts."""
    found: dict[int, int] = {}
    number = 0
    for step in dis.get_instructions(code):
        found[step.offset] = number
        number += step.opname not in _SKIPPED
    return found


def _add_constant(value: Any, out: bytearray, facts: CodeFacts, imported: dict[str, str]) -> None:
    if isinstance(value, types.CodeType):
        _add(value, out, facts, imported)
    elif isinstance(value, (tuple, frozenset)):
        parts = []
        for item in value:
            part = bytearray()
            _add_constant(item, part, facts, imported)
            parts.append(bytes(part))
        if isinstance(value, frozenset):
            parts.sort()
        out += marshal.dumps((type(value).__name__, len(parts)), 2)
        out += b"".join(parts)
    elif isinstance(value, slice):  # a constant since Python 3.14
        _add_constant((value.start, value.stop, value.step), out, facts, imported)
    else:
        if type(value) is str:
            facts.strings.append(value)
        out += marshal.dumps(value, 2)


def _note(steps: list[dis.Instruction], facts: CodeFacts, imported: dict[str, str]) -> None:
    module = ""
    for number, step in enumerate(steps):
        name = step.argval
        in_place = step.opname == "BINARY_OP" and step.argrepr.endswith("=")
        facts.changes |= in_place or step.opname in _CHANGES or step.opname[:8] == "INPLACE_"
        if step.opname in _READS_GLOBAL:
            facts.reads[name] = None
        elif step.opname in _WRITES_GLOBAL:
            facts.writes[name] = None
        elif step.opname in _ATTRIBUTE:
            facts.attributes.add(name)
        elif step.opname == "IMPORT_NAME":
            module = name
            facts.imports.append((module, tuple(_imported_from(steps, number))))
            _bind(steps, number, module, imported)
        elif step.opname == "IMPORT_FROM":
            _bind(steps, number, f"{module}.{name}", imported)
        root = _root(step, imported)
        if root:
            facts.calls.append(_call(steps, number, root))
            assigned = _assigned(steps, number, root)
            if assigned:
                facts.calls.append((assigned + ASSIGNED, False))


def _imported_from(steps: list[dis.Instruction], number: int) -> Iterator[str]:
    for step in steps[number + 1 :]:
        if step.opname == "IMPORT_FROM":
            yield step.argval
        elif not step.opname.startswith("STORE_"):
            return


def _bind(steps: list[dis.Instruction], number: int, path: str, imported: dict[str, str]) -> None:
    following = steps[number + 1] if number + 1 < len(steps) else None
    if following is not None and following.opname.startswith("STORE_"):
        # Since Python 3.13 one instruction may store and load.
        name = following.argval[0] if isinstance(following.argval, tuple) else following.argval
        plain = "." in path and name == path.partition(".")[0]
        imported[name] = name if plain else path


def _root(step: dis.Instruction, imported: dict[str, str]) -> str:
    """``:name`` of a global that is loaded, the path of what a local import bound, or nothing."""
    if step.opname in _READS_GLOBAL:
        return f":{step.argval}"
    if "LOAD_FAST" in step.opname or step.opname == "LOAD_DEREF":
        name = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        return imported.get(name, "")
    return ""


def _call(steps: list[dis.Instruction], number: int, path: str) -> tuple[str, bool]:
    for place, step in enumerate(steps[number + 1 :], number + 1):
        if step.opname in _ATTRIBUTE:
            path += f".{step.argval}"
        elif step.opname not in _BETWEEN:
            return path, _is_bare(path, steps[place : place + 6])
    return path, False


def _assigned(steps: list[dis.Instruction], number: int, path: str) -> str:
    """The dotted path from this root that code assigns or deletes; empty: none."""
    for place, step in enumerate(steps[number + 1 :], number + 1):
        if step.opname in _ATTRIBUTE:
            path += f".{step.argval}"
        elif step.opname in _STORES:
            return f"{path}.{step.argval}"
        elif step.opname in _COPIES:  # `path.name += 1`: read, and stored a little later
            name = steps[place + 1].argval
            later = any(s.opname == "STORE_ATTR" and s.argval == name for s in steps[place + 2 :])
            return f"{path}.{name}" if later and steps[place + 1].opname in _ATTRIBUTE else ""
        else:
            return ""
    return ""


def _is_bare(path: str, steps: list[dis.Instruction]) -> bool:
    """Whether the call that these steps make has no argument, or one that says no more: None, a
    word for this moment, or how to write the time.
    """
    first = steps[0]
    if first.opname.startswith("CALL"):
        return first.arg == 0
    if first.opname == "LOAD_CONST" and first.argval in _THIS_MOMENT:
        return True
    plain = path.endswith("strftime") and first.opname.startswith("LOAD")
    if not plain and (first.opname != "LOAD_CONST" or first.argval is not None):
        return False
    rest = [step for step in steps[1:5] if step.opname not in _BEFORE_CALL]
    if rest and rest[0].opname == "LOAD_CONST" and rest[1:] and rest[1].opname in _BY_NAME:
        del rest[0]  # the names of the arguments
    return bool(rest) and rest[0].opname.startswith("CALL") and rest[0].arg == 1
