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
from typing import Any, TypeVar

from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import FormatError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A JSON value for a record; fields that equal their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Digest)):
        out = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item == _default(field):
                continue
            out[field.name] = to_json(item)
        return out
    if isinstance(value, Digest):
        return str(value)
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


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (inner,) = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return _decode(inner, value)
    if origin is tuple:
        args = typing.get_args(kind)
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], item) for item in value)
        if len(args) != len(value):
            raise ValueError(f"expected {len(args)} items, got {len(value)}")
        return tuple(_decode(arg, item) for arg, item in zip(args, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        inner = typing.get_args(kind)[1]
        return {key: _decode(inner, item) for key, item in value.items()}
    if kind is Digest:
        return Digest(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        hints = _hints(kind)  # type: ignore[arg-type]
        known = {
            f.name: _decode(hints[f.name], value[f.name])
            for f in dataclasses.fields(kind)
            if f.name in value
        }
        return kind(**known)  # type: ignore[operator]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
