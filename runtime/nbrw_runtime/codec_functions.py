"""Functions, classes and code of cells: stored by value, with the live namespace as globals."""

from __future__ import annotations

import re
import sys
import types
from importlib import import_module
from typing import Any

from cloudpickle import cloudpickle

from nbrw_runtime.local_modules import is_local, module_of
from nbrw_runtime.names import FRAME_READERS, definition, local_module, words_of

_KERNEL_FILE = re.compile(r"^.*/ipykernel_\d+/")


def reduce(pickler: Any, obj: Any) -> Any:
    """How to pickle a function of the notebook's namespace or a code object; None for all else."""
    if isinstance(obj, (type, types.FunctionType, types.ModuleType)):
        brought = module_of(obj)
        if is_local(brought):
            pickler.refers.add(local_module(brought))
    if isinstance(obj, types.FunctionType):
        if obj.__globals__ is pickler.context.namespace:
            return _reduce_function(pickler, obj)
        return None
    if isinstance(obj, types.CodeType):
        return _reduce_code(obj)
    if isinstance(obj, types.ModuleType) and sys.modules.get(obj.__name__) is obj:
        # A new string: whether two names are one object would show in the pickle.
        return import_module, ("".join(list(obj.__name__)),)
    if isinstance(obj, type) and obj.__module__ == "__main__":
        pickler.refers.add(definition(obj.__qualname__.partition(".")[0]))
        _name_class(obj)
    return None


def _reduce_function(pickler: Any, function: types.FunctionType) -> Any:
    pickler.refers.update(global_names(function.__code__))
    pickler.refers.add(definition(function.__qualname__.partition(".")[0]))
    code, _, _, _, closure = pickler._function_getnewargs(function)
    state, slots = cloudpickle._function_getstate(function)
    # The globals are those of the namespace it is restored into, whatever they are then.
    slots["__globals__"] = {}
    return (
        make_function,
        (code, closure),
        (state, slots),
        None,
        None,
        cloudpickle._function_setstate,
    )


def make_function(code: types.CodeType, closure: Any) -> types.FunctionType:
    """A function whose globals are the namespace that is being restored."""
    from nbrw_runtime.codec import current_load_context

    return types.FunctionType(code, current_load_context().namespace, None, None, closure)


def global_names(code: types.CodeType) -> set[str]:
    """The global names that a function's code, or a function inside it, mentions."""
    names = set(code.co_names)
    if names & FRAME_READERS:
        names.update(*(words_of(text) for text in code.co_consts if isinstance(text, str)))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= global_names(constant)
    return names


def _reduce_code(code: types.CodeType) -> Any:
    # The kernel names a cell's file by its process id, which says nothing about the code.
    name = _KERNEL_FILE.sub("<cell>/", code.co_filename)
    if name != code.co_filename:
        code = code.replace(co_filename=name)
    return cloudpickle._code_reduce(code)


_ordinals: dict[str, int] = {}


def _name_class(kind: type) -> None:
    """Give a class an identity that is the same in every process which runs the same cells.

    cloudpickle finds by it the class that is there already, and would draw it at random.
    """
    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS
    if kind in known:
        return
    ordinal = _ordinals[kind.__qualname__] = _ordinals.get(kind.__qualname__, 0) + 1
    name = f"nbrw:{kind.__qualname__}:{ordinal}"
    while name in cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID:
        ordinal = _ordinals[kind.__qualname__] = ordinal + 1
        name = f"nbrw:{kind.__qualname__}:{ordinal}"
    with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
        known[kind] = name
        cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[name] = kind
