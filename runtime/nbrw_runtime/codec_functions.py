"""Functions of cells: stored by value, with the live namespace as their globals; their closures'
cells are shared afterwards by those that shared them.
"""

from __future__ import annotations

import dis
import re
import sys
import types
from importlib import import_module
from typing import Any

from cloudpickle import cloudpickle

from nbrw_runtime.codec_refused import Unstorable
from nbrw_runtime.dynamic_code import may_use_any_name
from nbrw_runtime.local_modules import is_local, module_of
from nbrw_runtime.names import (
    ANY_NAME,
    FORMULA_READERS,
    FRAME_READERS,
    SUBPROCESS,
    definition,
    has_wildcard,
    local_module,
    words_of,
    words_of_formula,
)

_IMPORT = dis.opmap["IMPORT_NAME"]
_KERNEL_FILE = re.compile(r"^.*/ipykernel_\d+/")


def note_origin(pickler: Any, obj: Any) -> None:
    """Whoever uses this depends on the module of the notebook's own that it is from; or, if it was
    defined in a cell, on what its definition may do.
    """
    module = module_of(obj)
    if module == "__main__" and not isinstance(obj, types.ModuleType):
        pickler.refers.add(definition(obj.__qualname__.partition(".")[0]))
    elif module == SUBPROCESS:
        pickler.refers.add(SUBPROCESS)
    elif is_local(module):
        pickler.refers.add(local_module(module))


def _reduce_function(pickler: Any, function: types.FunctionType) -> Any:
    note_origin(pickler, function)
    space = function.__globals__
    if space is pickler.context.namespace:
        pickler.refers.update(global_names(function.__code__))
        return _reduced(pickler, function, make_function, ())
    if cloudpickle._should_pickle_by_reference(function):
        return NotImplemented
    name = space.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and vars(module) is space and name != "__main__":
        # Made by a library's decorator: its globals are the library's.
        return _reduced(pickler, function, make_library_function, (name,))
    if any(value is space for value in pickler.context.namespace.values()):
        raise Unstorable(
            "a function cannot be stored whose global names are a dictionary of the notebook's"
        )
    copied = pickler._function_getnewargs(function)[1]
    return _reduced(pickler, function, make_free_function, (copied,), with_globals=True)


def _reduced(
    pickler: Any, function: types.FunctionType, make: Any, where: tuple[Any, ...],
    with_globals: bool = False,
) -> Any:  # fmt: skip
    state, slots = cloudpickle._function_getstate(function)
    slots = {**slots, "__type_params__": getattr(function, "__type_params__", ())}
    del slots["__closure__"]
    used = slots.pop("__globals__")
    if with_globals:
        slots["__globals__"] = used
    args = (function.__code__, *where, function.__closure__)
    return make, args, (state, slots), None, None, set_function


def make_function(code: types.CodeType, closure: Any) -> types.FunctionType:
    """A function whose globals are the namespace that is being restored, whatever they are then."""
    from nbrw_runtime.codec import current_load_context

    return types.FunctionType(code, current_load_context().namespace, None, None, closure)


def make_library_function(code: types.CodeType, module: str, closure: Any) -> types.FunctionType:
    """A function whose globals are those of a module."""
    return types.FunctionType(code, vars(import_module(module)), None, None, closure)


def make_free_function(
    code: types.CodeType, space: dict[str, Any], closure: Any
) -> types.FunctionType:
    """A function whose globals are a dictionary of its own."""
    space.setdefault("__builtins__", __builtins__)
    return types.FunctionType(code, space, None, None, closure)


def set_function(function: types.FunctionType, state: Any) -> None:
    """All that a function has beside code, globals and closure."""
    attributes, slots = state
    function.__dict__.update(attributes)
    slots.pop("_cloudpickle_submodules", None)  # that they were loaded is all
    function.__globals__.update(slots.pop("__globals__", {}))
    if not slots.get("__type_params__"):
        slots.pop("__type_params__", None)
    for name, value in slots.items():
        setattr(function, name, value)


def global_names(code: types.CodeType) -> set[str]:
    """The global names that a function's code, or a function inside it, mentions; one of them
    may stand for all names.
    """
    names = set(code.co_names)
    if _IMPORT in code.co_code[::2]:
        names.update([local_module(name) for name in code.co_names])  # which of them: in doubt all
    if may_use_any_name(code):
        names.add(ANY_NAME)
    if names & (FRAME_READERS | FORMULA_READERS):
        names.update(*(words_of(text) for text in code.co_consts if isinstance(text, str)))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= global_names(constant)
            continue
        if has_wildcard(constant):
            names.add("glob")
        names.update(words_of_formula(constant))
    return names


def _reduce_code(pickler: Any, code: types.CodeType) -> Any:
    if pickler.canonical:
        # Where it stands in its cell is no part of what it does.
        code = code.replace(co_filename="", co_firstlineno=1, co_linetable=b"")
    else:
        name = kernel_independent(code.co_filename)
        if name != code.co_filename:
            code = code.replace(co_filename=name)
    return cloudpickle._code_reduce(code)


def kernel_independent(path: str) -> str:
    """The name of a cell's file without the process id that the kernel gives it, which says nothing
    about the code.
    """
    return _KERNEL_FILE.sub("<cell>/", path)


def _reduce_cell(pickler: Any, cell: types.CellType) -> Any:
    # In two steps, so that what is in the cell may refer to it; cloudpickle copies the cells of a
    # function, and two that share a variable would not any more.
    try:
        contents = (cell.cell_contents,)
    except ValueError:
        return types.CellType, ()
    return types.CellType, (), contents, None, None, set_cell


def set_cell(cell: types.CellType, contents: Any) -> None:
    """Fill the cell of a closure."""
    cell.cell_contents = contents[0]


def _reduce_module(pickler: Any, module: types.ModuleType) -> Any:
    note_origin(pickler, module)
    if sys.modules.get(module.__name__) is module:
        # A new string: whether two names are one object would show in the pickle.
        return import_module, ("".join(list(module.__name__)),)
    if type(module) is not types.ModuleType:
        return NotImplemented
    inside = {key: value for key, value in vars(module).items() if key != "__builtins__"}
    return types.ModuleType, (module.__name__,), inside


HANDLERS: list[tuple[Any, Any]] = [
    (types.FunctionType, _reduce_function),
    (types.CodeType, _reduce_code),
    (types.CellType, _reduce_cell),
    (types.ModuleType, _reduce_module),
]
