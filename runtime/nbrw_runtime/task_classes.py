"""Classes in a task's fingerprint, and what is found in them only. The first parameter of the
functions here is the walker (`task_values.Walker`).
"""

from __future__ import annotations

import enum
import functools
import types
from _abc import _get_dump
from typing import Any

from nbrw_runtime.task_code import add_installed, importable_name

_OF_A_CLASS = frozenset(
    {
        "__abstractmethods__", "__dict__", "__doc__", "__firstlineno__", "__module__",
        "__qualname__", "__slotnames__", "__static_attributes__", "__weakref__", "_abc_impl",
    }
)  # fmt: skip
# What `enum` makes itself of the members and bases, which are written.
_OF_AN_ENUM = frozenset(
    {
        "_all_bits_", "_boundary_", "_flag_mask_", "_hashable_values_", "_inverted_",
        "_member_map_", "_member_names_", "_member_type_", "_new_member_", "_singles_mask_",
        "_unhashable_values_", "_unhashable_values_map_", "_use_args_", "_value2member_map_",
        "_value_repr_", "__new_member__",
    }
)  # fmt: skip
_OF_A_MEMBER = frozenset({"_inverted_", "_name_", "_sort_order_", "_value_", "__objclass__"})
_ON_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, by a class statement among others
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def add_class(walker: Any, cls: type) -> None:
    """A class: by name if it is installed, else by its bases and all that is in it."""
    if cls.__module__ == "builtins":
        walker.text("built-in class", cls.__qualname__)
        return
    name = importable_name(cls)
    own = walker.modules.is_own(cls.__module__)
    if name and not own:
        add_installed(walker, cls, cls.__module__, name)
    elif not cls.__flags__ & _ON_HEAP:  # compiled into a library that does not give it out
        walker.text("static class", cls.__qualname__, walker.modules.identity(cls.__module__))
    elif not walker.again(cls):
        with walker.within():
            walker.text("class", cls.__name__)
            if name and own:
                walker.text("own", walker.modules.content(cls.__module__))
            walker.walk(type(cls))
            for base in cls.__bases__:
                walker.walk(base)
            walker.note_class(cls)
            if issubclass(cls, enum.Enum):
                _add_enum(walker, cls)
            else:
                _add_items(walker, cls, vars(cls))
            _add_registered(walker, cls)
            walker.text("end of class")


def _add_registered(walker: Any, cls: type) -> None:
    """The classes that an abstract one counts as its own, as `isinstance` asks it."""
    if "_abc_impl" not in vars(cls):
        return
    found = [cls for cls in (reference() for reference in _get_dump(cls)[0]) if cls is not None]
    if found:
        walker.text("registered", str(len(found)))
        walker.parts(found)


def _add_items(walker: Any, cls: type, items: Any) -> None:
    for key, value in items.items():
        if key in _OF_A_CLASS or isinstance(value, _SLOTS):
            continue
        walker.text("member", key)
        if key == "__annotations__" or key.startswith("__annotate"):
            walker.guarded(value)
        else:
            walker.named(f"member of {cls.__name__}", key, value)


def _add_enum(walker: Any, cls: type[enum.Enum]) -> None:
    for name, member in cls.__members__.items():
        walker.text("member", name, member.name)
        walker.named(f"member of {cls.__name__}", name, member.value)
        more = {key: vars(member)[key] for key in vars(member) if key not in _OF_A_MEMBER}
        if more:
            walker.named(f"member of {cls.__name__}", name, more)
    boundary, inherited = (getattr(c, "_boundary_", None) for c in (cls, cls.__base__))
    if boundary is not inherited:
        walker.named(f"class {cls.__name__}", "boundary", boundary)
    items = {
        key: value
        for key, value in vars(cls).items()
        if key not in cls.__members__
        and (isinstance(value, types.FunctionType) or not _is_made_by_enum(key, value))
    }
    _add_items(walker, cls, items)


def _is_made_by_enum(name: str, value: Any) -> bool:
    made = getattr(getattr(value, "__func__", None), "__module__", "") == "enum"
    return name in _OF_AN_ENUM or made


def add_property(walker: Any, value: property) -> None:
    """A property: its functions."""
    walker.text("property")
    walker.walk((value.fget, value.fset, value.fdel))


def add_wrapping(walker: Any, value: Any) -> None:
    """A static or class method."""
    walker.text(type(value).__name__)
    walker.walk(value.__func__)


def add_cached_property(walker: Any, value: Any) -> None:
    """A cached property: its lock, where there is one, is of no account."""
    walker.text("cached property", value.attrname)
    walker.walk(value.func)


HANDLERS: dict[type, Any] = {
    property: add_property,
    staticmethod: add_wrapping,
    classmethod: add_wrapping,
    functools.cached_property: add_cached_property,
}
