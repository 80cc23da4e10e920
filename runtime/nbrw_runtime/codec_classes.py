"""Classes of cells, stored by value: with their methods as they are now, their place in the order
of attributes, their slots, their metaclass; and the members of enumerations.

A class is made anew in each load, without running code of the notebook's metaclasses or
``__init_subclass__`` again: what that code did is state, and comes back as such.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

from cloudpickle import cloudpickle

from nbrw_runtime.codec_functions import note_origin
from nbrw_runtime.codec_refused import Unstorable

_BY_PYTHON = frozenset({"__dict__", "__weakref__", "_abc_impl", "__slotnames__"})
_AT_ONCE = ("__module__", "__qualname__", "__slots__", "__orig_bases__")
_HEAP = 1 << 9  # types that Python code has made
_LAST = "__firstlineno__"  # gone whenever another attribute is set


def reduce_class(pickler: Any, kind: type) -> Any:
    """A class: by its name if it can be imported, else by value."""
    note_origin(pickler, kind)
    if cloudpickle._should_pickle_by_reference(kind):
        return cloudpickle._class_reduce(kind)
    usual = cloudpickle._class_reduce(kind)
    if usual is NotImplemented or usual[0] in (type, cloudpickle._builtin_type):
        return usual
    meta = type(kind)
    if meta.__module__ == "_ctypes":
        raise Unstorable(f"{kind.__qualname__}, a type of ctypes, cannot be stored")
    if not _is_plain(meta):
        return usual
    name = None if pickler.canonical else _name_of(kind)
    at_once = {key: vars(kind)[key] for key in _AT_ONCE if key in vars(kind)}
    at_once["__qualname__"] = kind.__qualname__
    made = (meta, kind.__name__, kind.__bases__, at_once, _early(kind), name)
    return make_class, made, _state(kind, pickler.canonical), None, None, set_class


def _is_plain(meta: type) -> bool:
    """Whether ``type`` itself may make the classes of this metaclass."""
    try:
        return isinstance(type.__new__(meta, "probe", (), {}), meta)
    except TypeError:
        return False


def _is_slot(kind: type, value: Any) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is kind


def _early(kind: type) -> list[str]:
    """The names of the class' body in their order, before what Python adds to a class."""
    names = []
    for key, value in vars(kind).items():
        if key in ("__dict__", "__weakref__") and getattr(value, "__objclass__", None) is kind:
            # (Early 3.11 copies one of another class into data classes that have slots.)
            break
        if key not in _BY_PYTHON and not _is_slot(kind, value):
            # A new string: it may be one with others or not.
            names.append("".join(key))
    if names[-1:] == ["__doc__"] and kind.__doc__ is None:
        names.pop()
    return names


def _state(kind: type, canonical: bool) -> tuple[list[tuple[str, Any]], list[Any]]:
    attributes = [
        (key, value)
        for key, value in vars(kind).items()
        if key not in _BY_PYTHON and key not in _AT_ONCE and not _is_slot(kind, value)
    ]
    attributes.sort(key=lambda item: item[0] == _LAST)
    if canonical:
        attributes = [item for item in attributes if item[0] != _LAST]
    heirs: list[Any] = []
    if isinstance(kind, abc.ABCMeta):
        with contextlib.suppress(AttributeError, TypeError):
            heirs = [heir for found in abc._get_dump(kind)[0] if (heir := found()) is not None]  # type: ignore[attr-defined]
        heirs.sort(key=lambda heir: (heir.__module__, heir.__qualname__))
    return [("".join(key), value) for key, value in attributes], heirs


def make_class(
    meta: type, name: str, bases: tuple[type, ...], at_once: dict[str, Any], early: list[str],
    tracked: str | None,
) -> type:  # fmt: skip
    """An empty class, or the one that this load has made already."""
    from nbrw_runtime.codec import current_load_context

    made = current_load_context().made
    if tracked in made:
        return made[tracked]
    space = {**dict.fromkeys(early), **at_once}
    try:
        with _unnoticed(bases, only_cells=True):
            kind: Any = type.__new__(meta, name, bases, space)
    except TypeError:
        with _unnoticed(bases, only_cells=False):
            kind = type.__new__(meta, name, bases, space)
    if issubclass(meta, abc.ABCMeta):
        abc._abc_init(kind)  # type: ignore[attr-defined]
    if tracked is not None:
        made[tracked] = kind
        with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
            # What workers send back are instances of this one.
            cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[kind] = tracked
            cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[tracked] = kind
    return kind


@contextlib.contextmanager
def _unnoticed(bases: tuple[type, ...], only_cells: bool) -> Iterator[None]:
    """Without the ``__init_subclass__`` of bases: it has been run when the class was defined.

    Those of libraries do run: they may keep a register of classes in their module.
    """
    put_back = []
    for base in {found for kind in bases for found in kind.__mro__}:
        hook = vars(base).get("__init_subclass__")
        if (
            "__init_subclass__" in vars(base)
            and base.__flags__ & _HEAP
            and (base.__module__ == "__main__" or not only_cells)
        ):
            put_back.append((base, hook))
            type.__setattr__(base, "__init_subclass__", classmethod(lambda cls, **more: None))
    try:
        yield
    finally:
        for base, hook in put_back:
            type.__setattr__(base, "__init_subclass__", hook)


def set_class(kind: type, state: Any) -> None:
    """All attributes of a class, as they were."""
    attributes, heirs = state
    for name, value in attributes:
        type.__setattr__(kind, name, value)
    for heir in heirs:
        abc.ABCMeta.register(kind, heir)  # type: ignore[arg-type]


# -- names ---------------------------------------------------------------------------------------


def _name_of(kind: type) -> str:
    """An identity of a class that is the same in every process which runs the same cells.

    By it a load finds the class that a nested pickle needs too, and cloudpickle the one that a
    value from a worker is an instance of; it would draw one at random.
    """
    by_class = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS
    by_id = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    known = by_class.get(kind)
    if known is not None:
        return known
    content = [kind.__qualname__]
    for key, value in vars(kind).items():
        code = getattr(value, "__code__", None)
        content += [key, "" if code is None else code.co_code.hex()]
    start = f"nbrw:{kind.__qualname__}:{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"
    ordinal = 1
    while f"{start}:{ordinal}" in by_id:
        ordinal += 1
    with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
        by_class[kind] = f"{start}:{ordinal}"
        by_id[f"{start}:{ordinal}"] = kind
    return f"{start}:{ordinal}"


# -- members of enumerations ---------------------------------------------------------------------


def reduce_member(pickler: Any, member: Any) -> Any:
    """A member of an enumeration of a cell: with its class, whose state holds it."""
    kind = type(member)
    if cloudpickle._should_pickle_by_reference(kind):
        pickler.one_for_all.add(id(member))
        return NotImplemented
    base = kind._member_type_
    value = () if base is object else (_as(base, member),)
    return make_member, (kind, base, *value), dict(member.__dict__), None, None, set_member


def _as(base: type, member: Any) -> Any:
    if base is str:
        return str.__str__(member)
    plain: Any = base
    if base in (int, float, bytes, tuple):
        return plain.__new__(plain, member)
    raise Unstorable(f"an enumeration of {base.__qualname__} cannot be stored")


def make_member(kind: type, base: Any, *value: Any) -> Any:
    """A member without its attributes."""
    return base.__new__(kind, *value)


def set_member(member: Any, state: dict[str, Any]) -> None:
    """A member's name, value, and what the notebook gave it."""
    vars(member).update(state)


# -- variables and names of types ----------------------------------------------------------------


def _reduce_variable(pickler: Any, variable: Any) -> Any:
    if _is_in_module(variable):
        return NotImplemented
    name = variable.__name__
    if isinstance(variable, typing.TypeVar):
        flags = (variable.__covariant__, variable.__contravariant__)
        bound, constraints = variable.__bound__, variable.__constraints__
        return make_variable, (name, bound, constraints, *flags)
    return type(variable), (name,)


def make_variable(
    name: str, bound: Any, constraints: tuple[Any, ...], covariant: bool, contravariant: bool
) -> Any:
    """A type variable."""
    made = typing.TypeVar(  # type: ignore[misc]
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )
    made.__module__ = "__main__"
    return made


def _reduce_new_type(pickler: Any, kind: Any) -> Any:
    if _is_in_module(kind):
        return NotImplemented
    return typing.NewType, (kind.__name__, kind.__supertype__), dict(vars(kind))


def _is_in_module(obj: Any) -> bool:
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    found = getattr(module, obj.__name__, None)
    return found is obj and obj.__module__ != "__main__"


_VARIABLES = tuple(
    getattr(typing, name)
    for name in ("TypeVar", "ParamSpec", "TypeVarTuple")
    if hasattr(typing, name)
)
HANDLERS: list[tuple[Any, Any]] = [(_VARIABLES, _reduce_variable)]
if isinstance(typing.NewType, type):
    HANDLERS.append((typing.NewType, _reduce_new_type))
