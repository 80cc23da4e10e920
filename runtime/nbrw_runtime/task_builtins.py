"""Values of Python's own types in a task's fingerprint, each by what is in it. The first parameter
of the functions here is the walker (`task_values.Walker`).
"""

from __future__ import annotations

import marshal
import types
from typing import Any

from nbrw_runtime.task_code import facts_of

_EMPTY_DICT = b"{" + (b"A" + marshal.dumps((), 2)) * 2  # as `Walker.items` writes no items


def add_tuple(walker: Any, values: Any) -> None:
    walker.out += b"("
    walker.items(values)


def add_list(walker: Any, values: Any) -> None:
    if not walker.again(values):
        walker.out += b"["
        walker.items(values)


def add_dict(walker: Any, values: Any) -> None:
    if not walker.again(values):
        if not values:  # as of most functions the attributes and annotations
            walker.out += _EMPTY_DICT
            return
        walker.out += b"{"
        walker.items(tuple(values))
        walker.items(tuple(values.values()))


def add_set(walker: Any, values: Any) -> None:
    if type(values) is set and walker.again(values):
        return
    walker.text(type(values).__name__, str(len(values)))
    walker.parts(values)


def add_bytearray(walker: Any, value: Any) -> None:
    if not walker.again(value):
        walker.text("bytearray")
        walker.walk(bytes(value))


def add_proxy(walker: Any, value: Any) -> None:
    walker.text("read only")
    walker.walk(dict(value))


def add_slice(walker: Any, value: Any) -> None:
    walker.text(type(value).__name__)
    walker.items((value.start, value.stop, value.step))


def add_singleton(walker: Any, value: Any) -> None:
    walker.text("singleton", repr(value))


def add_cell(walker: Any, cell: Any) -> None:
    if not walker.again(cell):
        walker.text("cell")
        try:
            walker.walk(cell.cell_contents)
        except ValueError:
            walker.text("empty")


def add_code(walker: Any, code: types.CodeType) -> None:
    walker.out += facts_of(code).canonical


def add_memory(walker: Any, value: memoryview) -> None:
    walker.text("memoryview", value.format)
    walker.walk((value.shape, value.tobytes()))


HANDLERS: dict[type, Any] = {
    tuple: add_tuple,
    list: add_list,
    dict: add_dict,
    set: add_set,
    frozenset: add_set,
    bytearray: add_bytearray,
    types.MappingProxyType: add_proxy,
    slice: add_slice,
    range: add_slice,
    type(NotImplemented): add_singleton,
    types.CellType: add_cell,
    types.CodeType: add_code,
    memoryview: add_memory,
}
