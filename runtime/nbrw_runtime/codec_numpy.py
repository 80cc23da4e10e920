"""numpy arrays that share memory, and which pandas objects are pickled apart."""

from __future__ import annotations

import sys
from typing import Any


def is_frame(obj: Any) -> bool:
    """Whether this is a pandas object that holds arrays."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return False
    try:
        return isinstance(obj, (pandas.DataFrame, pandas.Series, pandas.Index))
    except AttributeError:  # half imported
        return False


def root_of(array: Any) -> Any:
    """The array that owns the memory, or is nearest to its owner."""
    kind = type(array)
    while type(array.base) is kind:
        array = array.base
    return array


def owner_of(array: Any) -> Any:
    """The object that owns an array's memory, of whatever kind."""
    owner = array
    while (base := getattr(owner, "base", None)) is not None:
        owner = base
    return owner.obj if isinstance(owner, memoryview) else owner


def reduce_array(pickler: Any, array: Any) -> Any:
    """Note whose memory an array uses; with ``keep_views`` reduce it to a view of that."""
    root = root_of(array)
    _, users = pickler.roots.setdefault(id(root), (root, set()))
    users.add(id(array))
    pickler.memory.add(id(owner_of(array)))
    if array is root or id(root) not in pickler.keep_views or not _can_view(root, array):
        return NotImplemented
    offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    described = (root, offset, array.shape, array.strides, array.dtype)
    writeable = bool(array.flags.writeable)
    try:
        make_view(*described, writeable)
    except (ValueError, TypeError):  # memory that its root does not show in full
        return NotImplemented
    return make_view, (*described, writeable)


def _can_view(root: Any, array: Any) -> bool:
    if root.dtype.hasobject or array.dtype.hasobject or not array.size:
        return False
    return bool(root.flags.c_contiguous or root.flags.f_contiguous)


def make_view(root: Any, offset: int, shape: Any, strides: Any, dtype: Any, writeable: bool) -> Any:
    """An array on the memory of another."""
    import numpy

    flat = root.ravel(order="K").view(numpy.uint8)
    view = numpy.ndarray(shape, dtype, buffer=flat, offset=offset, strides=strides)
    if not writeable:
        view.flags.writeable = False
    return view
