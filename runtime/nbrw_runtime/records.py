"""Frozen dataclasses to JSON and back, driven by their type annotations.

Only what our documents need: str, int, float, bool, None, Digest, Enum, tuple[X, ...],
fixed tuples, dict[str, X], ``X | None`` and nested dataclasses. Unknown keys are ignored (a newer
minor writer may add some); missing keys take the field's default or raise FormatError.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError

T = TypeVar("T")
_PLAIN = frozenset({str, int, float, bool, type(None)})


def to_json(value: Any) -> Any:
    """A JSON value for a record; fields that equal their default are left out."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Digest):
        return str(value)
    if dataclasses.is_dataclass(kind):
        out = {}
        for name, default in _fields(kind):
            item = getattr(value, name)
            if item != default:
                out[name] = to_json(item)
        return out
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(kind: type[T], value: Any, where: str = "document") -> T:
    """A record of type ``kind`` from a JSON value. Raises FormatError naming the place."""
    try:
        return _decode(kind, value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(f"read {where}: not a valid {kind.__name__}: {error}") from error


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """The names of a record's fields, each with its default, to be compared with only."""
    return tuple((field.name, _default(field)) for field in dataclasses.fields(kind))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def _decode(kind: Any, value: Any) -> Any:
    return _decoder(kind)(value)


@functools.cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What decodes values of a type. Made once: documents have a hundred thousand records."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return lambda value: value
    if origin in (typing.Union, types.UnionType):
        (inner,) = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        of_inner = _decoder(inner)
        return lambda value: None if value is None else of_inner(value)
    if origin is tuple:
        return _tuple_decoder(typing.get_args(kind))
    if origin is dict:
        of_item = _decoder(typing.get_args(kind)[1])

        def of_dict(value: Any) -> Any:
            if not isinstance(value, dict):
                raise TypeError(f"expected an object, got {type(value).__name__}")
            return {key: of_item(item) for key, item in value.items()}

        return of_dict
    if kind is Digest or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return kind  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(kind):
        return _record_decoder(kind)
    return functools.partial(_plain, kind)


def _plain(kind: Any, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _tuple_decoder(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    items = [_decoder(arg) for arg in args if arg is not Ellipsis]

    def of_tuple(value: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(map(items[0], value))
        if len(args) != len(value):
            raise ValueError(f"expected {len(args)} items, got {len(value)}")
        return tuple(decode(item) for decode, item in zip(items, value, strict=True))

    return of_tuple


def _record_decoder(kind: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    made: dict[str, Callable[[Any], Any]] = {}  # late, as a record may hold others of its kind
    names = frozenset(field.name for field in dataclasses.fields(kind))

    def of_record(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        known = {}
        for name, item in value.items():
            if name in names:
                decode = made.get(name)
                if decode is None:
                    decode = made[name] = _decoder(hints[name])
                known[name] = decode(item)
        return kind(**known)

    return of_record
