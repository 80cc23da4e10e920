"""matplotlib: a figure says the same in every process."""

from __future__ import annotations

import itertools
import sys
from typing import Any


def handler_of(kind: type) -> Any:
    """For transforms, paths and figures; None for all else: what is in figures pickles well."""
    for module, name, handler in (
        ("matplotlib.transforms", "TransformNode", _reduce_transform),
        ("matplotlib.path", "Path", _reduce_path),
        ("matplotlib.colors", "Colormap", _reduce_colormap),
        ("matplotlib.figure", "FigureBase", _reduce_figure),
        ("matplotlib.cbook", "CallbackRegistry", _reduce_callbacks),
    ):
        base = getattr(sys.modules.get(module), name, None)
        if base is not None and issubclass(kind, base):
            return handler
    return None


def _reduce_figure(pickler: Any, figure: Any) -> Any:
    # Figures have lists of the settings; that does not make two of them one state.
    params: Any = getattr(sys.modules["matplotlib"], "rcParams", {})
    pickler.one_for_all.update(id(value) for value in dict.values(params) if type(value) is list)
    return NotImplemented


def _reduce_callbacks(pickler: Any, registry: Any) -> Any:
    found = registry.__reduce_ex__(5)
    state: Any = found[2] if len(found) > 2 else None
    if isinstance(state, dict) and isinstance(state.get("_cid_gen"), int):
        # To say the next number it has drawn it: an object would differ each time it is looked at.
        registry._cid_gen = itertools.count(state["_cid_gen"])
    return found


def _reduce_path(pickler: Any, path: Any) -> Any:
    if not getattr(path, "_readonly", False) and id(path) not in _of_markers(pickler):
        codes = getattr(path, "_codes", None)
        if codes is not None and not codes.flags.writeable:
            # A circle's, say: those of a path that nobody changes.
            pickler.one_for_all.add(id(codes))
        return NotImplemented
    pickler.one_for_all.add(id(path))
    memory = set(pickler.memory)
    made = pickler.nested(dict(vars(path)))
    pickler.memory = memory
    return make_path, (type(path), made)


def _reduce_colormap(pickler: Any, colors: Any) -> Any:
    # The data of matplotlib's own colormaps are in all figures that use them.
    own = _values_of(pickler, "matplotlib._cm") | _values_of(pickler, "matplotlib._cm_listed")
    for data in (getattr(colors, "colors", None), getattr(colors, "_segmentdata", None)):
        if id(data) in own:
            parts = data.values() if isinstance(data, dict) else data or ()
            pickler.one_for_all.update(map(id, (data, *parts)))
    return NotImplemented


def _of_markers(pickler: Any) -> Any:
    """The ids of the paths that all figures draw ticks and markers with."""
    return _values_of(pickler, "matplotlib.markers", "MarkerStyle")


def _values_of(pickler: Any, module: str, kind: str = "") -> Any:
    """The ids of what a module has, and a class in it, if it is loaded."""
    found = pickler.kept.get(("values", module))
    if found is None:
        there = sys.modules.get(module)
        places = (there, getattr(there, kind, None) if kind else None)
        # They live as long as the module does: no other object comes to have their ids.
        found = frozenset(id(v) for p in places if p is not None for v in vars(p).values())
        pickler.kept["values", module] = found
    return found


def make_path(kind: Any, state: dict[str, Any]) -> Any:
    """A path that nobody changes."""
    path = kind.__new__(kind)
    path.__dict__.update(state)
    return path


def _reduce_transform(pickler: Any, node: Any) -> Any:
    # All that transform nothing have one matrix; that does not make two figures one state.
    nothing = getattr(sys.modules["matplotlib.transforms"], "IdentityTransform", None)
    pickler.one_for_all.add(id(getattr(nothing, "_mtx", None)))
    found = node.__reduce_ex__(5)
    state: Any = found[2] if isinstance(found, tuple) and len(found) > 2 else None
    if not isinstance(state, dict) or not isinstance(state.get("_parents"), dict):
        return found
    parents = state["_parents"]
    # Under their addresses, which mean nothing later: any keys do that no address can be.
    numbered = {-number: parent for number, parent in enumerate(parents.values(), 1)}
    return (*found[:2], {**state, "_parents": numbered}, *found[3:])


def figure_of(value: Any) -> Any:
    """The figure that an artist, or an array or list of artists, is part of; None: none."""
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        value = value.flat[0] if value.dtype.hasobject and value.size else None
    elif kind in (list, tuple):
        value = value[0] if value else None
    base = sys.modules.get("matplotlib.artist")
    if base is None or not isinstance(value, base.Artist):
        return None
    figure = value.figure
    return value if figure is None and type(value).__name__ == "Figure" else figure
