"""Objects of which a process has one, such as the generator behind ``random.seed``: a name that
holds one, or a method of it, has that of its process again. What they contain is state that lies in
no variable (`state_providers.py`); a copy would live beside it.
"""

from __future__ import annotations

import sys
from typing import Any

#: Their types, and where they are.
_PLACES = {
    ("random", "Random"): (("random", "_inst"),),
    ("numpy.random.mtrand", "RandomState"): (("numpy.random.mtrand", "_rand"),),
}


def single_handler(kind: type) -> Any:
    """For types that have such an object; None for all else."""
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
