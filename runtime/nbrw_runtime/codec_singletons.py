"""Objects of which a process has one, such as the generator behind ``random.seed``: a name that
holds one, or a method of it, has that of its process again. What they contain is state that lies in
no variable (`state_providers.py`); a copy would live beside it.
"""

from __future__ import annotations

import decimal
import sys
from collections.abc import Mapping
from typing import Any

#: Their types, and where they are.
_PLACES = {
    ("os", "_Environ"): (("os", "environ"), ("os", "environb")),
    ("random", "Random"): (("random", "_inst"),),
    ("numpy.random.mtrand", "RandomState"): (("numpy.random.mtrand", "_rand"),),
}
#: Those of types that the C pickler asks nobody about.
_PLAIN = (("sys", "path"), ("sys", "modules"), ("warnings", "filters"), ("dask.config", "config"))


def single_handler(kind: type) -> Any:
    """For types that have such an object; None for all else."""
    if kind is Held:
        return _reduce_held
    if kind is decimal.Context:
        return _reduce_context
    places = _PLACES.get((kind.__module__, kind.__qualname__))
    if places is None:
        return None

    def reduce(pickler: Any, obj: Any) -> Any:
        from nbrw_runtime.codec_kinds import constant

        for module, name in places:
            if getattr(sys.modules.get(module), name, None) is obj:
                return constant(pickler, obj, module, name)
        return NotImplemented

    return reduce


def _reduce_context(pickler: Any, context: decimal.Context) -> Any:
    if context is not decimal.getcontext():
        return NotImplemented
    pickler.one_for_all.add(id(context))
    return decimal.getcontext, ()


class Held:
    """Stands for a list or a dictionary of a module's."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


def _reduce_held(pickler: Any, held: Held) -> Any:
    from nbrw_runtime.codec_kinds import constant

    return constant(pickler, held, held.module, held.name)


def held_apart(objects: Mapping[str, Any]) -> dict[str, Any]:
    """The same names, with what stands for such lists and dictionaries that they hold."""
    return {name: _held(value) for name, value in objects.items()}


def _held(value: Any) -> Any:
    if type(value) is list or type(value) is dict:
        for module, name in _PLAIN:
            if getattr(sys.modules.get(module), name, None) is value:
                return Held(module, name)
    return value
