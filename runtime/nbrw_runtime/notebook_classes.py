"""Classes of the notebook, in results of tasks: an object that is loaded is of the class there is.

cloudpickle sends a class of ``__main__`` by value, with an id that it draws; a process that knows
the id uses the class it has. Here the id is the class's fingerprint, so that the object of an
earlier kernel is of this kernel's class, if that is the same. If it is not, the object is none of
this notebook's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

#: Ids of ours begin so.
PREFIX = "nbrw-"
_MODULE = "cloudpickle.cloudpickle"


class NotebookClasses:
    """Those of one namespace. ``fingerprint`` gives that of a class; it raises if there is none."""

    def __init__(self, namespace: Mapping[str, Any], fingerprint: Callable[[type], str]) -> None:
        self._namespace = namespace
        self._fingerprint = fingerprint

    def install(self) -> None:
        """Give cloudpickle these ids from now on. Other versions of it may have other insides."""
        global _current
        _current = self
        import cloudpickle.cloudpickle as module

        names = ("_get_or_create_tracker_id", "_lookup_class_or_track")
        if all(hasattr(module, name) for name in names) and not hasattr(module, "_nbrw"):
            module._nbrw = True
            _patch(module)

    def id_of(self, kind: Any) -> str:
        """The id of a class of the notebook; empty if it is none."""
        if not isinstance(kind, type) or kind.__module__ != "__main__":
            return ""
        known: Any = self._namespace.get(kind.__name__)
        if known is not kind:
            return ""
        try:
            return PREFIX + self._fingerprint(known)
        except Exception:
            return ""

    def find(self, name: str, number: str) -> Any:
        """The class of this name, if it has this id; or None."""
        found = self._namespace.get(name)
        return found if number and self.id_of(found) == number else None

    def why_not(self, classes: tuple[str, ...]) -> str:
        """Why objects of these classes (`TaskRecord.classes`) are none of this notebook's."""
        for text in classes:
            name, _, number = text.partition(" ")
            kind: Any = self.find(name, number)
            if kind is None or _tracked(kind) not in (None, number):
                return f"its result has an object of class `{name}`, which is not what it was"
        return ""


_current: NotebookClasses | None = None


def _tracked(kind: Any) -> str | None:
    known: Any = getattr(sys.modules.get(_MODULE), "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
    return known.get(kind)


def _patch(module: Any) -> None:
    create, lookup = module._get_or_create_tracker_id, module._lookup_class_or_track

    def _get_or_create_tracker_id(class_def: Any) -> Any:
        if _current is not None and class_def not in module._DYNAMIC_CLASS_TRACKER_BY_CLASS:
            number = _current.id_of(class_def)
            if number and number not in module._DYNAMIC_CLASS_TRACKER_BY_ID:
                return lookup(number, class_def) and number
        return create(class_def)

    def _lookup_class_or_track(class_tracker_id: Any, class_def: Any) -> Any:
        if _current is not None and str(class_tracker_id).startswith(PREFIX):
            found = _current.find(getattr(class_def, "__name__", ""), class_tracker_id)
            if found is not None and found not in module._DYNAMIC_CLASS_TRACKER_BY_CLASS:
                class_def = found
        return lookup(class_tracker_id, class_def)

    module._get_or_create_tracker_id = _get_or_create_tracker_id
    module._lookup_class_or_track = _lookup_class_or_track
