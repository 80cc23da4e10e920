"""pandas objects: the arrays inside share their memory with no other pandas object afterwards.

pandas (3, or 2 with copy-on-write) counts who uses an array, and copies before it writes; after
unpickling it would not know of a sharing, and a change to one frame would change another. An array
that only one pandas object uses is shared with numpy's (``frame.to_numpy()``) as before: pandas
writes there in place. So is what the cells of a column of objects hold.
"""

from __future__ import annotations

import sys
from typing import Any

_ATOMIC = frozenset(
    {"string", "bytes", "integer", "floating", "boolean", "decimal", "date", "datetime",
     "datetime64", "timedelta", "timedelta64", "time", "period", "empty", "complex",
     "mixed-integer-float", "categorical"}
)  # fmt: skip


def handler_of(kind: type) -> Any:
    """For the parts of frames that hold arrays; None for all else."""
    pandas = sys.modules.get("pandas")
    internals = sys.modules.get("pandas._libs.internals")
    if pandas is None or internals is None:
        return None
    try:
        if issubclass(kind, internals.Block):
            return _reduce_block
        if issubclass(kind, pandas.Index):
            return _reduce_index
        if issubclass(kind, (pandas.DataFrame, pandas.Series)):
            return _reduce_frame
        if kind.__name__ == "SingleBlockManager":
            return _reduce_manager
    except AttributeError:  # half imported
        return None
    return None


def _reduce_frame(pickler: Any, frame: Any) -> Any:
    if type(frame).__module__ != "__main__":
        # A list of the class, which each frame gives as its own.
        pickler.one_for_all.add(id(frame._metadata))
    return NotImplemented


def _is_copied_on_write() -> bool:
    import pandas

    if int(pandas.__version__.partition(".")[0]) >= 3:
        return True
    return getattr(pandas.options.mode, "copy_on_write", False) is True


def _reduce_block(pickler: Any, block: Any) -> Any:
    reduced = block.__reduce__()
    if not isinstance(reduced, tuple) or not _is_copied_on_write():
        return reduced
    make, (values, *rest) = reduced[0], reduced[1]
    if not (_is_alone(block) and _is_plain(values)):
        values = apart(pickler, values)
    return (make, (values, *(apart(pickler, part) for part in rest)), *reduced[2:])


def _reduce_manager(pickler: Any, manager: Any) -> Any:
    """What holds the values of a series: it gives them without the block that they are in."""
    reduced = manager.__reduce_ex__(5)
    state = reduced[2] if len(reduced) > 2 else None
    if not _is_copied_on_write() or not isinstance(state, tuple) or len(state) != 4:
        return reduced
    axes, arrays, items, more = state
    version, parts = next(iter(more.items()))
    if _is_plain(arrays[0]) and all(map(_is_alone, manager.blocks)):
        return reduced
    separate = {id(array): apart(pickler, array) for array in arrays}
    blocks = []
    for block in parts["blocks"]:
        values = block["values"]
        if id(values) not in separate:
            separate[id(values)] = apart(pickler, values)
        blocks.append({**block, "values": separate[id(values)]})
    values = [separate[id(array)] for array in arrays]
    return (*reduced[:2], (axes, values, items, {version: {**parts, "blocks": blocks}}))


def _is_alone(block: Any) -> bool:
    """Whether no other pandas object uses the array of a block."""
    try:
        return not block.refs.has_reference()
    except AttributeError:
        return False


def _is_plain(values: Any) -> bool:
    import numpy

    return type(values) is numpy.ndarray and values.dtype.kind != "O"


def _reduce_index(pickler: Any, index: Any) -> Any:
    reduced = index.__reduce__()
    if not isinstance(reduced, tuple) or len(reduced[1]) != 2 or type(reduced[1][1]) is not dict:
        return reduced
    make, (kind, parts) = reduced[0], reduced[1]
    separate = {
        name: [apart(pickler, p) for p in part] if type(part) is list else apart(pickler, part)
        for name, part in parts.items()
    }
    return (make, (kind, separate), *reduced[2:])


def apart(pickler: Any, values: Any) -> Any:
    """What stands for an array that shares its memory with nothing else."""
    import numpy
    import pandas

    if isinstance(values, numpy.ndarray):
        if values.dtype.kind == "O" and _holds_atoms(values):
            return pickler.nested(values)
        view = values.view()
        pickler.apart[id(view)] = view
        return view
    if isinstance(values, pandas.api.extensions.ExtensionArray):
        return pickler.nested(values)
    return values


def _holds_atoms(values: Any) -> bool:
    from pandas.api.types import infer_dtype

    # "mixed" and the like may be lists that the notebook holds elsewhere, too.
    return infer_dtype(values.ravel(order="K"), skipna=True) in _ATOMIC
